"""What a client is told of an engine's error, which may name files of the server's machine."""

import pytest

from pixtral_cli.errors import ContextError, ModelError, PixtralError, UsageError
from tests.fakes import FakeEngine
from tests.server.serving import serving

SECRET = "/home/somebody/models/weights: Input/output error"


@pytest.mark.parametrize("trusted", [False, True])
@pytest.mark.parametrize(
    ("error", "public"), [(ModelError, "The model cannot answer."), (PixtralError, "The server cannot answer.")]
)
def test_only_those_who_are_trusted_are_told_names_of_files(
    trusted: bool, error: type[PixtralError], public: str
) -> None:
    with serving(FakeEngine([error(SECRET, "Look there")]), trusted=trusted) as running, running.client as client:
        reply = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert reply.status_code == 500
    assert reply.json()["error"]["message"] == (SECRET if trusted else public)
    assert ("Look there" in reply.text) == trusted
    assert (SECRET in reply.text) == trusted


@pytest.mark.parametrize("error", [UsageError, ContextError])
def test_what_a_client_did_wrong_it_is_told(error: type[PixtralError]) -> None:
    with serving(FakeEngine([error("Too many words")])) as running, running.client as client:
        reply = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "hi"}]})
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "Too many words")
