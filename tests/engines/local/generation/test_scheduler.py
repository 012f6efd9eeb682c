"""Answers that several threads pull at once are computed together, and each is what it would be alone."""

import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.generation import scheduler as scheduler_module
from pixtral_cli.engines.local.generation.scheduler import Scheduler, WorkItem
from pixtral_cli.engines.local.model.decoder import Span
from pixtral_cli.errors import OutOfMemory
from tests.engines.local.checkpoints import build, image

GREEDY = Sampling(temperature=0, max_tokens=12)
IMAGES = [image(96, 40, 1), image(96, 40, 2), image(33, 70, 3)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("random"))


def engine(folder: Path, **options: Any) -> LocalEngine:
    return LocalEngine(folder, device="cpu", **{"dtype": "fp32", "prefill_chunk": 16} | options)


def text_of(who: LocalEngine, said: list[Message], sampling: Sampling = GREEDY) -> str:
    return "".join(chunk.text for chunk in who.stream(said, sampling))


def at_once(*work: Callable[[], object]) -> None:
    """All of it, each in a thread; raises what one of them raised."""
    raised: list[BaseException] = []
    start = threading.Barrier(len(work))

    def run(each: Callable[[], object]) -> None:
        try:
            start.wait(120)
            each()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    if raised:
        raise raised[0]


class Begun:
    """An answer whose prompt has been read."""

    def __init__(self, who: LocalEngine, said: list[Message], sampling: Sampling = GREEDY) -> None:
        self._stream = who.stream(said, sampling)
        self._first = next(self._stream).text

    def rest(self) -> str:
        return self._first + "".join(chunk.text for chunk in self._stream)


def test_a_forgotten_answer_that_is_collected_inside_a_lock_stops_no_other(folder: Path) -> None:
    """Python collects wherever it allocates: also where the engine holds its own locks."""
    who = engine(folder)
    runner = who.load()
    inside: list[bool] = []  # whether each answer was collected while this thread held the scheduler's lock
    raised: list[BaseException] = []
    finish = runner.scheduler.finish

    def noted(key: object) -> None:
        inside.append(runner.scheduler._lock._is_owned())  # type: ignore[attr-defined]
        finish(key)

    def forget() -> None:
        try:
            for _ in range(3):
                forgotten = who.stream([user("Hello?")], GREEDY)
                next(forgotten)
                with runner.scheduler._lock, runner.prefix_cache._lock:
                    del forgotten
        except BaseException as error:
            raised.append(error)

    runner.scheduler.finish = noted  # type: ignore[method-assign]
    thread = threading.Thread(target=forget, daemon=True)  # which a lock that is not re-entrant would stop for ever
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert (inside, raised) == ([True] * 3, [])
    runner.scheduler.finish = finish  # type: ignore[method-assign]
    assert text_of(who, [user("And now?")])


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Forward:
    """Stands before a decoder's `forward`: notes how long each step's spans are, and may `act` before each."""

    def __init__(self, who: LocalEngine, act: Callable[[Sequence[Span]], None] = lambda spans: None) -> None:
        self.steps: list[list[int]] = []
        self._act = act
        self._decoder = who.load()._decoder
        self._forward = self._decoder.forward
        self._decoder.forward = self  # type: ignore[method-assign, assignment]

    def __call__(self, states: torch.Tensor, spans: Sequence[Span], *rest: Any) -> torch.Tensor:
        self.steps.append([span.length for span in spans])
        self._act(spans)
        return self._forward(states, spans, *rest)

    def remove(self) -> None:
        self._decoder.forward = self._forward  # type: ignore[method-assign]


@contextmanager
def together(
    who: LocalEngine, count: int, act: Callable[[Sequence[Span]], None] = lambda spans: None
) -> Iterator[Forward]:
    """The first decode step is computed once `count` other answers wait for theirs, so that these share the next."""
    scheduler = who.load().scheduler
    held = threading.Event()

    def wait(spans: Sequence[Span]) -> None:
        if not held.is_set() and [span.length for span in spans] == [1]:
            held.set()
            until(lambda: len(scheduler.waiting) == count + 1)
        act(spans)

    forward = Forward(who, wait)
    yield forward
    forward.remove()


talks = st.tuples(
    st.sampled_from(["What is this?", "Why?", "x " * 60, "Is it red, " * 3]),
    st.lists(st.sampled_from(IMAGES), max_size=2),
    st.booleans(),
)
asked = st.tuples(
    talks,
    st.integers(1, 14),  # tokens
    st.sampled_from([None, None, 0, 1, 3]),  # chunks after which it is closed
    st.sampled_from([0.0, 0.0, 1.0]),
)


def said_in(talk: tuple[str, list[Any], bool]) -> list[Message]:
    question, images, follow_up = talk
    first = user(question, images)
    return [first, assistant("Yes."), user("And then?")] if follow_up else [first]


@given(todo=st.lists(asked, min_size=2, max_size=6), rounds=st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_whatever_is_asked_at_once_is_answered_as_if_alone(folder: Path, todo: list[Any], rounds: int) -> None:
    """Different lengths, images, prefixes, ends and temperatures, some closed in the middle, some asked again."""
    alone, shared = engine(folder), engine(folder)

    def ask(talk: Any, tokens: int, closed: int | None, temperature: float) -> None:
        said, sampling = said_in(talk), Sampling(temperature, seed=7, max_tokens=tokens)
        with lock:
            alone.close()
            expected = [chunk.text for chunk in alone.stream(said, sampling)]
        for _ in range(rounds):
            stream = shared.stream(said, sampling)
            found = [chunk.text for chunk, _ in zip(stream, range(1000 if closed is None else closed), strict=False)]
            stream.close()
            assert found == expected[:closed]

    lock = threading.Lock()
    at_once(*(lambda one=one: ask(*one) for one in todo))
    assert shared.load().scheduler.idle


def test_answers_that_wait_at_the_same_time_share_their_steps(folder: Path) -> None:
    who, questions = engine(folder), [[user(f"Question {number}?")] for number in range(5)]
    expected = [text_of(engine(folder), said) for said in questions]
    found: dict[int, str] = {}
    begun = [Begun(who, said) for said in questions]
    with together(who, 4) as forward:
        at_once(*(lambda n=n: found.update({n: begun[n].rest()}) for n in range(5)))
    assert [found[number] for number in range(5)] == expected
    assert [1, 1, 1, 1] in [step[:4] for step in forward.steps]


class Spoiler:
    """Raises in a step of several answers: once, or always."""

    def __init__(self, error: type[BaseException], always: bool = False) -> None:
        self.leader: int | None = None
        self._error, self._always = error, always

    def __call__(self, spans: Sequence[Span]) -> None:
        if len(spans) > 1 and (self._always or not self.leader):
            self.leader = threading.get_ident()
            for span in spans:
                span.cache.length += 1  # as if it were cut just before its end
            raise self._error


def test_an_interrupt_ends_the_answer_of_its_own_thread_alone(folder: Path) -> None:
    who, questions = engine(folder), [[user(f"Question {number}?")] for number in range(4)]
    expected = [text_of(engine(folder), said) for said in questions]
    found: dict[int, str] = {}
    interrupted: list[int] = []

    def ask(number: int) -> None:
        try:
            found[number] = begun[number].rest()
        except KeyboardInterrupt:
            interrupted.append(threading.get_ident())

    begun = [Begun(who, said) for said in questions]
    spoiler = Spoiler(KeyboardInterrupt)
    with together(who, 3, spoiler):
        at_once(*(lambda n=n: ask(n) for n in range(4)))
    assert interrupted == [spoiler.leader]
    assert len(found) == 3
    assert all(text == expected[number] for number, text in found.items())
    assert [text_of(who, said) for said in questions] == expected


def test_where_memory_is_too_short_for_all_at_once_each_is_computed_alone(folder: Path) -> None:
    who, questions = engine(folder), [[user(f"Question {number}?")] for number in range(4)]
    found: dict[int, str] = {}
    begun = [Begun(who, said) for said in questions]
    with together(who, 3, Spoiler(torch.OutOfMemoryError, always=True)):
        at_once(*(lambda n=n: found.update({n: begun[n].rest()}) for n in range(4)))
    assert [found[number] for number in range(4)] == [text_of(engine(folder), said) for said in questions]


def test_an_answer_that_has_no_memory_left_fails_without_the_others(folder: Path) -> None:
    who = engine(folder)
    long, short = [user("x " * 200)], [[user(f"Question {number}?")] for number in range(3)]
    expected = [text_of(engine(folder), said) for said in short]
    crowded, *begun = [Begun(who, said, GREEDY) for said in (long, *short)]
    caches: list[Any] = []
    found: dict[int, str] = {}

    def full(size: int) -> None:
        raise OutOfMemory("The KV cache is full")

    def starve(spans: Sequence[Span]) -> None:
        for span in spans:
            if span.cache.length > 200 and not caches:
                caches.append(span.cache)
                span.cache._reserve = full
                span.cache._layers = [layer[:, :, : span.cache.length] for layer in span.cache._layers]

    def go_on() -> None:
        with pytest.raises(OutOfMemory, match="The KV cache is full"):
            crowded.rest()

    with together(who, 3, starve):
        at_once(go_on, *(lambda n=n: found.update({n: begun[n].rest()}) for n in range(3)))
    assert caches
    assert [found[number] for number in range(3)] == expected
    assert who.load().scheduler.idle


def test_ctrl_c_while_another_thread_computes_for_us_waits_for_no_more_than_its_step(folder: Path) -> None:
    who = engine(folder)
    ours, theirs = [user("Ours?")], [user("Theirs?", [IMAGES[0]])]
    expected = [text_of(engine(folder), said) for said in (ours, theirs)]
    begun, main = [Begun(who, said) for said in (ours, theirs)], threading.main_thread()
    scheduler, found = who.load().scheduler, list[str]()
    held, pressed = threading.Event(), threading.Event()

    def press(spans: Sequence[Span]) -> None:
        if not pressed.is_set():
            assert len(spans) == 2
            assert threading.current_thread() is worker
            pressed.set()
            signal.pthread_kill(main.ident or 0, signal.SIGINT)

    def hold() -> None:
        held.set()
        until(lambda: len(scheduler.waiting) == 2)

    forward = Forward(who, press)
    holder, worker = (
        threading.Thread(target=lambda: scheduler.run_exclusive(hold)),
        threading.Thread(target=lambda: found.append(begun[1].rest())),
    )
    holder.start()
    assert held.wait(120)
    worker.start()
    until(lambda: len(scheduler.waiting) == 1)
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            begun[0].rest()
    finally:
        signal.signal(signal.SIGINT, old)
    for thread in (holder, worker):
        thread.join(120)
    forward.remove()
    assert pressed.is_set()
    assert found == [expected[1]]
    assert text_of(who, ours) == expected[0]


def test_ctrl_c_at_random_moments_disturbs_no_other_thread(folder: Path) -> None:
    who = engine(folder)
    ours, theirs = [user("Ours?")], [[user(f"Theirs {number}? " * 8, [IMAGES[number]])] for number in range(3)]
    expected = [text_of(engine(folder), said) for said in theirs]
    mine = text_of(engine(folder), ours)
    ended, wrong = threading.Event(), []

    def others(number: int) -> None:
        while not ended.is_set():
            if (text := text_of(who, theirs[number])) != expected[number]:
                wrong.append(text)

    threads = [threading.Thread(target=others, args=(number,)) for number in range(3)]
    draw, interrupted = random.Random(0), 0
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    for thread in threads:
        thread.start()
    try:
        while interrupted < 60:
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.0002, 0.06))
                for _ in range(50):
                    text_of(who, ours)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
        assert text_of(who, ours) == mine
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        ended.set()
        for thread in threads:
            thread.join(120)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)
    assert who.load().scheduler.idle


def test_chunks_and_steps_alternate_while_both_are_queued() -> None:
    scheduler: Scheduler[WorkItem] = Scheduler()
    order: list[str] = []

    def step(key: int) -> None:
        scheduler.run_batched(WorkItem(key), lambda batch: order.append(f"step of {len(batch)}"))

    threads = [
        threading.Thread(target=lambda: scheduler.run_exclusive(lambda: order.append("chunk"))) for _ in range(3)
    ]
    threads += [threading.Thread(target=step, args=(key,)) for key in range(4)]

    def start() -> None:
        for thread in threads:
            thread.start()
        until(lambda: len(scheduler.exclusive) == 4 and len(scheduler.waiting) == 4)

    scheduler.run_exclusive(start)
    for thread in threads:
        thread.join(120)
    assert order == ["step of 4", "chunk", "chunk", "chunk"]
    assert scheduler.idle


def test_a_step_waits_a_moment_for_those_of_the_last_and_never_for_one_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "pixtral_cli.engines.local.generation.scheduler.REJOIN_FRACTION", 1000
    )  # the moment is long, for a busy machine
    scheduler: Scheduler[WorkItem] = Scheduler()
    sizes: list[int] = []
    late = threading.Event()

    def compute(batch: Sequence[WorkItem]) -> None:
        sizes.append(len(batch))
        late.wait(0.1)

    def steps(key: int, count: int) -> None:
        for _ in range(count):
            scheduler.run_batched(WorkItem(key), compute)
        scheduler.finish(key)

    threads = [threading.Thread(target=steps, args=(key, 3 if key else 5)) for key in range(4)]

    def start() -> None:
        for thread in threads:
            thread.start()
        until(lambda: len(scheduler.waiting) == 4)

    scheduler.run_exclusive(start)
    for thread in threads:
        thread.join(120)
    assert sizes == [4, 4, 4, 1, 1]


class CheckedLock:
    """A scheduler's lock that checks the scheduler's invariants whenever it is released for good."""

    def __init__(self, scheduler: Scheduler[Any]) -> None:
        self._lock, self._scheduler, self._depth = scheduler._lock, scheduler, 0
        self.broken: list[str] = []

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._check()
        self._lock.release()

    def _check(self) -> None:
        scheduler = self._scheduler
        queued, leader = [*scheduler.exclusive, *scheduler.waiting], scheduler._leader
        if any(not item.done for item in queued) and leader is None:
            self.broken.append("work is queued and nobody leads")
        if leader and all(item is not leader for item in queued):
            self.broken.append("the leader is not queued")
        if any(item.removed for item in [*queued, *scheduler.running]):
            self.broken.append("a thread has left its item behind")
        if scheduler.running and all(item is not leader for item in scheduler.running):
            self.broken.append("a batch runs that is not the leader's")


@pytest.mark.parametrize("seed", range(3))
def test_the_invariants_hold_while_threads_step_read_fail_and_end(seed: int) -> None:
    scheduler: Scheduler[WorkItem] = Scheduler()
    lock = scheduler._lock = CheckedLock(scheduler)  # type: ignore[assignment]
    computing = threading.Lock()
    counts = dict.fromkeys(range(6), 0)

    def compute(batch: Sequence[WorkItem], draw: random.Random) -> None:
        assert computing.acquire(blocking=False), "two threads compute at once"
        try:
            time.sleep(draw.choice([0, 0, 0.0005]))
            if draw.random() < 0.1:
                raise KeyboardInterrupt
            for item in batch:
                counts[item.key] += 1  # type: ignore[index]
        finally:
            computing.release()

    def answer(key: int) -> None:
        draw, steps = random.Random(seed * 100 + key), 0
        while steps < 60:
            try:
                if draw.random() < 0.2:
                    scheduler.run_exclusive(lambda: compute([], draw))
                scheduler.run_batched(WorkItem(key), lambda batch: compute(batch, draw))
                steps += 1
            except KeyboardInterrupt:
                continue
            if draw.random() < 0.1:
                scheduler.finish(key)
        assert counts[key] >= 60

    at_once(*(lambda key=key: answer(key) for key in counts))
    assert not lock.broken  # type: ignore[attr-defined]
    assert scheduler.idle


def interrupted_at(moment: int, work: Callable[[], object]) -> bool:
    """Whether Ctrl-C at the `moment`-th point of `scheduler` at which Python looks for one came before the work's end."""
    left = moment

    def look(frame: Any, event: str, _: object) -> None:
        nonlocal left
        if event in ("call", "c_return") and frame.f_code.co_filename == scheduler_module.__file__:
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

    sys.setprofile(look)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def test_ctrl_c_at_every_moment_of_a_turn_leaves_it_to_the_others() -> None:
    def compute(batch: Sequence[WorkItem]) -> None:
        pass

    works: list[Callable[[Scheduler[WorkItem]], object]] = [
        lambda scheduler: scheduler.run_exclusive(lambda: None),
        lambda scheduler: scheduler.run_batched(WorkItem("ours"), compute),
    ]
    for work in works:
        moment = 1
        while True:
            scheduler: Scheduler[WorkItem] = Scheduler()
            scheduler.run_batched(WorkItem("theirs"), compute)
            other = threading.Thread(
                target=lambda scheduler=scheduler: scheduler.run_batched(WorkItem("theirs"), compute), daemon=True
            )
            follow = threading.Thread(
                target=lambda scheduler=scheduler: scheduler.run_exclusive(lambda: None), daemon=True
            )
            if not interrupted_at(moment, lambda scheduler=scheduler, work=work: work(scheduler)):
                break
            for thread in (other, follow):
                thread.start()
                thread.join(120)
                assert not thread.is_alive(), f"the turn is lost by Ctrl-C at moment {moment}"
            assert scheduler.idle
            moment += 1
        assert moment > 5
