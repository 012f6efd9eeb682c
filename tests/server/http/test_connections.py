"""Connections are counted in all and by address, given back, and refused with one line in the log a minute."""

import asyncio
import logging
import resource
from typing import Any

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


def test_by_default_it_is_half_of_the_open_files_and_512_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, total in ((1_000_000, 512), (1_026, 512), (1_024, 512), (1_000, 500)):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, files=files: (files, files))
        limits = ConnectionLimits()
        assert (limits.total, limits.by_address) == (total, total // 2)


def test_a_failure_to_accept_is_one_line_a_minute_and_any_other_the_loops_own(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now: list[float] = [0.0]
    others: list[Any] = []
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    limits, loop = ConnectionLimits(2), asyncio.new_event_loop()
    monkeypatch.setattr(loop, "default_exception_handler", others.append)
    failed = {"message": "socket.accept() out of system resource", "exception": OSError(24, "Too many open files")}
    with caplog.at_level(logging.ERROR, "pixtral.server"):
        for second in (0.0, 1.0, 59.9, 60.0, 61.0):
            now[0] = second
            limits.handle_loop_error(loop, failed)
        for other in ({"message": "accept", "exception": ValueError()}, {"message": "closing"}):
            limits.handle_loop_error(loop, other)
    loop.close()
    assert [record.message for record in caplog.records] == ["Connections cannot be accepted: Too many open files."] * 2
    assert len(others) == 2
