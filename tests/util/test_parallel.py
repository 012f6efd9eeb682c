"""Work in threads: in order, no more than asked for at a time, ended from outside, errors in their place."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.util.durations import format_clock
from pixtral_cli.util.parallel import Cancellation, Cancelled, ProgressRate, map_in_order


@given(st.lists(st.integers()), st.integers(1, 9), st.integers(1, 9))
def test_results_come_in_the_order_of_their_items(items: list[int], workers: int, ahead: int) -> None:
    assert list(map_in_order(lambda item: item * 2, items, workers=workers, max_pending=ahead)) == [
        2 * item for item in items
    ]


def test_items_are_worked_on_at_the_same_time_and_the_last_may_be_first() -> None:
    together, first = threading.Barrier(4, timeout=120), threading.Event()

    def work(item: int) -> int:
        together.wait()
        if item == 3:
            first.set()
        assert first.wait(120)
        return item

    assert list(map_in_order(work, range(4), workers=4, max_pending=4)) == [0, 1, 2, 3]


def test_no_more_are_taken_than_may_lie_ahead_of_a_slow_one() -> None:
    taken: list[int] = []
    slow, done = threading.Event(), threading.Semaphore(0)

    def source() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    def work(item: int) -> int:
        if item == 0:
            assert slow.wait(120)
        done.release()
        return item

    made = map_in_order(work, source(), workers=3, max_pending=8)
    results: list[int] = []
    reader = threading.Thread(target=lambda: results.append(next(made)))
    reader.start()
    for _ in range(7):  # all that may be taken, but for the slow one
        assert done.acquire(timeout=120)
    assert len(taken) == 8
    slow.set()
    reader.join(120)
    assert results + list(made) == list(range(100))


def test_a_source_that_makes_wait_holds_up_no_result() -> None:
    more = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        assert more.wait(120)
        yield 2

    made = map_in_order(lambda item: item, source(), workers=2, max_pending=4)
    assert next(made) == 1
    more.set()
    assert list(made) == [2]


def test_errors_of_work_and_source_are_raised_in_their_place() -> None:
    def source() -> Iterator[int]:
        yield from (1, 2, 0, 4)

    made = map_in_order(lambda item: 8 // item, source(), workers=2, max_pending=4)
    assert [next(made), next(made)] == [8, 4]
    with pytest.raises(ZeroDivisionError):
        next(made)

    def broken() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    made = map_in_order(lambda item: item, broken(), workers=2, max_pending=4)
    assert next(made) == 1
    with pytest.raises(OSError, match="gone"):
        next(made)


def test_closing_takes_no_more_and_leaves_no_thread() -> None:
    taken: list[int] = []

    def source() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    before = threading.active_count()
    made = map_in_order(lambda item: item, source(), workers=3, max_pending=6)
    next(made)
    made.close()
    assert len(taken) <= 7
    assert threading.active_count() == before


def test_a_stop_ends_the_streams_that_are_watched_and_those_to_come() -> None:
    stop, closed = Cancellation(), []

    def stream() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            closed.append(True)

    with stop.watching(stream()) as watched:
        assert next(watched) == 0
        stop.cancel()
        assert list(watched) == []
        with pytest.raises(Cancelled):
            stop.check()
    with pytest.raises(Cancelled), stop.watching(stream()) as watched:
        raise AssertionError("it began")


def test_a_pace_counts_what_came_since_it_began() -> None:
    now = 100.0
    pace = ProgressRate(50, 10, clock=lambda: now)
    assert (pace.rate(10), pace.seconds_left(10)) == (None, None)
    now = 110.0
    assert (pace.rate(30), pace.seconds_left(30), pace.seconds_left(50)) == (2.0, 10.0, 0.0)
    assert ProgressRate(None, clock=lambda: now).seconds_left(5) is None


@pytest.mark.parametrize(("seconds", "said"), [(0.4, "0:00"), (7, "0:07"), (200, "3:20"), (3723, "1:02:03")])
def test_a_clock(seconds: float, said: str) -> None:
    assert format_clock(seconds) == said
