"""The run: a line for every row in order, whatever fails; the engine's own failures end it; memory is bounded."""

import json
import threading
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixtral_cli.batch import runner
from pixtral_cli.batch.input import FileLines, InputRow
from pixtral_cli.batch.journal import StreamOutput
from pixtral_cli.batch.row_reader import RowReader
from pixtral_cli.batch.runner import MAX_OUTAGES, ROWS_AHEAD, BatchPlan, BatchProgress
from pixtral_cli.chat.engine import Chunk, Engine, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import (
    ContextError,
    ImageError,
    ModelError,
    NetworkError,
    OutOfMemory,
    PixtralError,
    UsageError,
)
from tests.batch.calling import plain, read, request, write
from tests.evals.answering import Answering

SOFT = {"context": ContextError, "image": ImageError, "usage": UsageError}
HARD = {"network": NetworkError, "model": ModelError, "memory": OutOfMemory, "bug": PixtralError}


def saying(messages: Sequence[Message]) -> str:
    text = messages[-1].text
    if text in SOFT | HARD:
        raise (SOFT | HARD)[text](text)
    return f"<{text}>"


def run(
    rows: Sequence[Any], folder: Path, engine: Engine | None = None, **plan: Any
) -> tuple[list[dict[str, Any]], list[BatchProgress]]:
    """The lines and the progress of a run to its end, or to its error, which is raised with the lines so far in `lines`."""
    written: list[str] = []
    source = FileLines(write(folder / "in.jsonl", rows))
    reader = RowReader(plan.pop("sampling", Sampling()), folder=folder)
    planned = BatchPlan(reader.json_row, engine or Answering(saying), "fake", **plan)
    try:
        seen = list(runner.run_batch(planned, source.rows(), StreamOutput(written.append), total=len(rows)))
    except PixtralError as error:
        error.add_note(json.dumps(len(written)))
        raise
    return read("".join(written)), seen


def test_every_row_is_answered_and_progress_says_how_it_goes(tmp_path: Path) -> None:
    engine = Answering(saying)
    lines, seen = run([*plain(3), request("x", "usage")], tmp_path, engine, concurrency=2)
    assert [line.get("answer") for line in lines] == ["<What is 0?>", "<What is 1?>", "<What is 2?>", None]
    assert lines[3]["response"]["body"]["error"]["message"] == "usage"
    assert [(one.done, one.failed, one.failure) for one in seen] == [
        (0, 0, ""), (1, 0, ""), (2, 0, ""), (3, 0, ""), (4, 1, "usage"),
    ]  # fmt: skip
    assert (seen[0].left, seen[-1].left) == (None, 0)
    assert len(engine.asked) == 4


@given(
    st.lists(st.sampled_from(["fine", *SOFT, *HARD, "{"]), min_size=1, max_size=25),
    st.integers(1, 6),
)
@settings(max_examples=60)
def test_whatever_fails_lines_are_the_first_rows_in_order(
    tmp_path_factory: pytest.TempPathFactory, words: list[str], concurrency: int
) -> None:
    rows = [word if word == "{" else {"prompt": word} for word in words]
    folder = tmp_path_factory.mktemp("run")
    try:
        lines, _ = run(rows, folder, concurrency=concurrency)
    except PixtralError as error:
        [count] = map(int, error.__notes__)
        held = [word for word in words[count:] if word != "{"][:MAX_OUTAGES]
        assert words[count] in HARD
        assert set(held) <= set(HARD)
        assert len(held) == MAX_OUTAGES or not {"fine", *SOFT} & set(words)
        return
    assert [line["error"] is None for line in lines] == [word == "fine" for word in words]
    assert [line.get("row", number) for number, line in enumerate(lines, 1)] == list(range(1, len(rows) + 1))


def test_a_short_outage_fails_its_rows_and_a_long_one_ends_the_run_without_a_line_for_them(tmp_path: Path) -> None:
    outage = {"prompt": "network"}
    lines, _ = run([*plain(1), *[outage] * (MAX_OUTAGES - 1), *plain(1)], tmp_path)
    assert [line["error"] and line["error"]["code"] for line in lines] == [None, *["engine_unavailable"] * 4, None]
    with pytest.raises(NetworkError, match="network") as caught:
        run([*plain(2), *[outage] * MAX_OUTAGES, *plain(1)], tmp_path)
    assert caught.value.__notes__ == ["2"]


def test_a_last_outage_fails_its_rows_if_anything_was_answered_and_is_raised_if_nothing_was(tmp_path: Path) -> None:
    lines, _ = run([*plain(1), {"prompt": "network"}], tmp_path)
    assert [line["error"] is None for line in lines] == [True, False]
    with pytest.raises(NetworkError) as caught:
        run(["{", {"prompt": "network"}], tmp_path)
    assert caught.value.__notes__ == ["1"]


def test_rows_that_were_not_asked_hide_no_outage(tmp_path: Path) -> None:
    with pytest.raises(NetworkError) as caught:
        run([*plain(1), *[{"prompt": "network"}, "{"] * MAX_OUTAGES, *plain(1)], tmp_path)
    assert caught.value.__notes__ == ["1"]
    lines, _ = run([*[{"prompt": "network"}, "{", {"prompt": "usage"}] * MAX_OUTAGES], tmp_path)
    assert [line["error"]["code"] for line in lines[:3]] == [
        "engine_unavailable",
        "invalid_json_line",
        "invalid_request",
    ]


def test_what_every_row_would_fail_of_is_raised_before_any_does(tmp_path: Path) -> None:
    class Missing(Answering):
        loaded, doing = 0.0, ""

        def load(self) -> None:
            raise ModelError("there are no weights")

    engine = Missing(saying)
    with pytest.raises(ModelError):
        run(plain(3), tmp_path, engine)
    assert not engine.asked


def test_weights_are_not_loaded_for_no_rows(tmp_path: Path) -> None:
    class Missing(Answering):
        loaded, doing = 0.0, ""

        def load(self) -> None:
            raise ModelError("there are no weights")

    plan = BatchPlan(RowReader(Sampling()).json_row, Missing(saying), "fake")
    assert [one.done for one in runner.run_batch(plan, [], StreamOutput(print))] == [0]


def test_a_schema_makes_an_answer_a_value_and_one_that_breaks_it_a_failure(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answers = {"right": '{"n": 1}', "wrong": '{"n": "x"}', "cut": '{"n'}

    class Cut(Answering):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            reason = "length" if messages[-1].text == "cut" else "stop"
            yield Chunk(answers[messages[-1].text], reason)

    rows = [{"prompt": word} for word in answers]
    lines, _ = run(rows, tmp_path, Cut(saying), sampling=Sampling(schema=schema))
    assert (lines[0]["answer"], lines[0]["value"], lines[0]["error"]) == ('{"n": 1}', {"n": 1}, None)
    assert "does not satisfy the schema" in lines[1]["error"]["message"]
    assert "was cut off before its JSON was complete" in lines[2]["error"]["message"]
    assert lines[2]["error"]["code"] == "invalid_answer"


def test_a_number_that_was_cut_off_is_no_answer_for_more_digits_may_have_followed(tmp_path: Path) -> None:
    class Cut(Answering):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            yield Chunk("2", "length")

    [line], _ = run(plain(1), tmp_path, Cut(saying), sampling=Sampling(schema={"type": "integer"}))
    assert (line["answer"], line["value"], line["error"]["code"]) == (None, None, "invalid_answer")


def test_a_bug_of_ours_fails_its_row_and_ends_no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def buggy(messages: Sequence[Message]) -> str:
        if messages[-1].text == "bug":
            raise KeyError("bug")
        return saying(messages)

    rows = [*plain(1), {"prompt": "bug"}, *plain(1)]
    lines, seen = run(rows, tmp_path, Answering(buggy))
    assert [line["error"] and line["error"]["code"] for line in lines] == [None, "internal_error", None]
    assert seen[2].failure == "Internal error: KeyError"
    with pytest.raises(PixtralError, match="KeyError") as caught:
        run([*plain(1), *[{"prompt": "bug"}] * MAX_OUTAGES, *plain(1)], tmp_path, Answering(buggy))
    assert caught.value.__notes__ == ["1"]  # every answer fails of it: it is the engine's
    monkeypatch.setenv("PIXTRAL_DEBUG", "1")
    with pytest.raises(KeyError, match="bug"):
        run(rows, tmp_path, Answering(buggy))


def test_many_rows_that_a_bug_keeps_from_being_asked_end_no_batch_either(tmp_path: Path) -> None:
    def opened(row: InputRow) -> Any:
        if row.number > 1:
            raise OverflowError("int too large to convert to float")
        return RowReader(Sampling()).json_row(row)

    written: list[str] = []
    source = FileLines(write(tmp_path / "in.jsonl", plain(9)))
    list(runner.run_batch(BatchPlan(opened, Answering(saying), "fake"), source.rows(), StreamOutput(written.append)))
    codes = [line["error"] and line["error"]["code"] for line in read("".join(written))]
    assert codes == [None, *["internal_error"] * 8]


def test_the_output_is_begun_once_there_is_a_row_and_an_engine(tmp_path: Path) -> None:
    class Loading(Answering):
        loaded, doing = 0.0, ""

        def load(self) -> None:
            told.append("loaded")

    told: list[str] = []
    plan = BatchPlan(RowReader(Sampling()).json_row, Loading(saying), "fake")
    rows = FileLines(write(tmp_path / "in.jsonl", plain(1))).rows()
    list(runner.run_batch(plan, [], StreamOutput(told.append), ready=lambda: told.append("ready")))
    assert told == []
    list(
        runner.run_batch(plan, rows, StreamOutput(lambda line: told.append("line")), ready=lambda: told.append("ready"))
    )
    assert told == ["loaded", "ready", "line"]


def test_the_model_that_a_row_names_is_reported_when_it_is_another(tmp_path: Path) -> None:
    _, seen = run([request("a", model="gpt-4o"), request("b", model="fake"), *plain(1)], tmp_path)
    assert [one.model for one in seen[1:]] == ["gpt-4o", "fake", ""]


def test_a_thousand_rows_keep_their_order_in_bounded_memory(tmp_path: Path) -> None:
    """Each row holds 100 kB: all of them would be 100 MB, a window of 16 at most is a few."""
    chance, inside, most, lock = Random(1), 0, 0, threading.Lock()
    first = threading.Barrier(8, timeout=120)  # the first eight are asked at once, or not at all

    def answer(messages: Sequence[Message]) -> str:
        nonlocal inside, most
        with lock:
            inside, most = inside + 1, max(most, inside + 1)
            pause = chance.random() / 1000 + (0.2 if chance.random() < 0.005 else 0)
        if int(messages[-1].text[:12].rstrip("x")) < 8:
            first.wait()
        time.sleep(pause)  # stands for the computing, of which some rows need much more
        with lock:
            inside -= 1
        return messages[-1].text[:12].rstrip("x")

    with (tmp_path / "in.jsonl").open("w") as file:
        file.writelines(json.dumps({"prompt": f"{number}x{'x' * 100_000}"}) + "\n" for number in range(1000))
    taken = given = 0

    def rows() -> Iterator[InputRow]:
        nonlocal taken
        for row in FileLines(tmp_path / "in.jsonl").rows():
            taken += 1
            assert taken - given <= ROWS_AHEAD * 8 + 1
            yield row

    class Forgetful(Answering):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            yield Chunk(self.answer(messages), "stop")

    answers: list[str] = []
    plan = BatchPlan(RowReader(Sampling()).json_row, Forgetful(answer), "fake", concurrency=8)
    tracemalloc.start()
    for _ in runner.run_batch(
        plan, rows(), StreamOutput(lambda line: answers.append(json.loads(line)["answer"])), total=1000
    ):
        given = len(answers)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answers == [str(number) for number in range(1000)]
    assert most == 8
    assert peak < 20_000_000


def test_closing_a_run_stops_every_answer_in_the_making(tmp_path: Path) -> None:
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)

    class Endless(Answering):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            if messages[-1].text == "What is 0?":
                yield Chunk("done", "stop")
                return
            begun.release()
            try:
                while True:
                    time.sleep(0.001)
                    yield Chunk("again ")
            finally:
                ended.release()

    source = FileLines(write(tmp_path / "in.jsonl", plain(9)))
    written: list[str] = []
    plan = BatchPlan(RowReader(Sampling()).json_row, Endless(saying), "fake", concurrency=3)
    going = runner.run_batch(plan, source.rows(), StreamOutput(written.append))
    assert [next(going).done, next(going).done] == [0, 1]
    for _ in range(3):
        assert begun.acquire(timeout=120)
    going.close()
    for _ in range(3):
        assert ended.acquire(timeout=120)
    assert len(written) == 1
