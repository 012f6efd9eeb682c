"""A server that listens on every address answers to addresses and to its own names, and to no other site's."""

import pytest

from pixtral_cli.server.http.access import AccessRules
from pixtral_cli.server.serve import ServeOptions
from tests.fakes import FakeEngine
from tests.server.serving import serving


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("192.0.2.7", 200), ("192.0.2.7:8000", 200), ("[2001:db8::1]", 200), ("[2001:db8::1]:8000", 200), ("localhost", 200),
        ("box.lan", 200), ("evil.example", 403), ("192.0.2.7.evil.example", 403), ("1.evil", 403), ("", 403), ("box.lan.evil", 403),
    ],
)  # fmt: skip
def test_on_every_address_it_answers_to_addresses_and_its_own_names_alone(host: str, status: int) -> None:
    rules = ServeOptions(host="0.0.0.0", api_key="k", allowed_hosts=("box.lan",)).rules()
    with serving(FakeEngine(), rules=rules) as running, running.client as client:
        headers = {"Host": host, "Authorization": "Bearer k"}
        assert client.get("/v1/models", headers=headers).status_code == status


def test_on_one_address_no_other_is_answered_to() -> None:
    with serving(FakeEngine(), rules=AccessRules()) as running, running.client as client:
        assert client.get("/v1/models", headers={"Host": "192.0.2.7"}).status_code == 403
