"""Torture H: numbers in a schema that are far beyond what a grammar counts to."""

import json
from typing import Any

import pytest

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.errors import PixtralError
from pixtral_cli.models.names import demo_folder
from pixtral_cli.structured.schema import validate


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(demo_folder(), device="cpu")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "multipleOf": 7, "minimum": 10**14},
        {"type": "integer", "multipleOf": 9973, "minimum": 10**14},
        {"type": "integer", "multipleOf": 7, "minimum": 10**14, "maximum": 10**14 + 1},
        {"type": "integer", "multipleOf": 7, "exclusiveMinimum": -(10**14), "maximum": -(10**13)},
        {"type": "number", "multipleOf": 0.3, "minimum": 1e14},
        {"type": "number", "multipleOf": 0.07, "minimum": -1e14, "maximum": 1e14},
        {"type": "integer", "minimum": 10**300},
        {"type": "integer", "minimum": 10**14, "maximum": 10**15},
        {"type": "number", "minimum": 1e300, "multipleOf": 1e-300},
    ],
    ids=json.dumps,
)
def test_a_number_beyond_all_counting_is_held_to_or_refused_in_one_line(
    engine: LocalEngine, schema: dict[str, Any]
) -> None:
    said, reason = "", None
    try:
        for chunk in engine.stream([user("A number?")], Sampling(temperature=0, max_tokens=60, schema=schema)):
            said, reason = said + chunk.text, chunk.finish_reason
        if reason == "stop":
            validate(said, schema)
    except PixtralError as error:
        assert error.status in (1, 2)
        assert len(error.message) <= 120
        assert error.message.isprintable()
