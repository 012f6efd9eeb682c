"""Connections are counted in all and by address, given back, and refused with one line in the log a minute."""

import logging

import pytest

from pixtral_cli.server.http.connections import ConnectionLimits


def test_one_address_may_hold_half_of_all_connections() -> None:
    limits = ConnectionLimits(4)
    assert [limits.enter("10.0.0.1") for _ in range(3)] == [True, True, False]
    assert [limits.enter("10.0.0.2") for _ in range(3)] == [True, True, False]
    assert not limits.enter("10.0.0.3")
    limits.leave("10.0.0.1")
    assert limits.enter("10.0.0.3")


def test_on_a_unix_socket_only_the_sum_counts() -> None:
    limits = ConnectionLimits(4)
    assert [limits.enter(None) for _ in range(5)] == [True] * 4 + [False]


def test_an_address_that_has_left_is_forgotten() -> None:
    limits = ConnectionLimits(4)
    for number in range(1000):
        assert limits.enter(f"10.0.{number // 250}.{number % 250}")
        limits.leave(f"10.0.{number // 250}.{number % 250}")
    assert len(limits._open) == 0


def test_refusals_are_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    limits = ConnectionLimits(2)
    with caplog.at_level(logging.ERROR, "pixtral.server"):
        for _ in range(100):
            limits.enter("10.0.0.1")
    assert [record.message for record in caplog.records] == ["Too many connections are open; new ones are closed."]
