"""What a worker's clients may ask it besides answers: how long it is to be kept."""

from typing import Any

import pytest

from tests.fakes import FakeEngine
from tests.server.serving import serving


def asked(seconds: Any, **service: Any) -> tuple[int, Any]:
    with serving(FakeEngine(), trusted=True, **service) as running, running.client as client:
        reply = client.post("/v1/keep_alive", json=seconds)
    return reply.status_code, reply.json()


@pytest.mark.parametrize("seconds", [-1, -0.5, 1e11, "nan", "inf", "-inf", "long", None, [], {}])
def test_seconds_that_make_no_sense_change_nothing(seconds: Any) -> None:
    kept: list[float] = []
    status, body = asked({"seconds": seconds}, set_keep_alive=kept.append)
    assert (status, body["error"]["param"], kept) == (400, "seconds", [])


@pytest.mark.parametrize("body", [{}, [], 5, None, "seconds"])
def test_a_body_without_seconds_is_refused(body: Any) -> None:
    kept: list[float] = []
    assert asked(body, set_keep_alive=kept.append)[0] == 400
    assert kept == []


@pytest.mark.parametrize("seconds", [0, 5.5, 10**10])
def test_seconds_are_those_that_it_is_kept_from_then_on(seconds: float) -> None:
    kept: list[float] = []
    assert asked({"seconds": seconds}, set_keep_alive=kept.append) == (200, {"keep_alive": float(seconds)})
    assert kept == [seconds]


def test_one_that_ends_with_its_owner_takes_none() -> None:
    status, body = asked({"seconds": 5})
    assert (status, body["error"]["message"]) == (400, "This process ends with its owner")
