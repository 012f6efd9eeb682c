"""What the server says of itself is true: generated requests against its own description."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from pixtral_cli.server.openai.openapi import description
from tests.fakes import Agreeing
from tests.server.serving import Running, serving


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with serving(Agreeing()) as running:
        yield running


schema = schemathesis.openapi.from_dict(description())


@schema.parametrize()
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_generated_requests_get_what_the_description_says(case: "schemathesis.Case[Any]", running: Running) -> None:
    response = case.call(base_url=running.url)
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_schema_conformance,
            negative_data_rejection,
        ],
    )
