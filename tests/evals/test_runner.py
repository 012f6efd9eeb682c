"""Runs: recorded as they come, resumed where they stopped, the same however they were interrupted."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.chat.engine import Chunk, Cost, Engine, Sampling, Timings
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import ContextError, NetworkError, PixtralError, UsageError
from pixtral_cli.evals import datasets, run_folder, runner, task_registry
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.run_folder import Run
from pixtral_cli.evals.runner import EvalPlan
from pixtral_cli.evals.scoring.judge import Judge
from tests.evals.answering import Answering
from tests.evals.sets import folder, png

GREEDY = Sampling(temperature=0.0)
ABOUT = {"task": "demo-shapes", "model": {"name": "fake"}}


def data(folder: Path, count: int = 8) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(png())
    lines = [{"image": "a.png", "question": f"What is {i}?", "answer": str(i), "kind": "count"} for i in range(count)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def knowing(messages: Sequence[Message]) -> str:
    """Right but for row 3."""
    number = messages[-1].text.removeprefix("What is ").removesuffix("?")
    return "no idea" if number == "3" else f"It is {number}."


def plan(folder: Path, engine: Engine, **more: Any) -> EvalPlan:
    return EvalPlan(
        task_registry.get_task("demo-shapes"), datasets.open_local(folder), Prompts(), GREEDY, engine, **more
    )


def begun(folder: Path) -> Run:
    return run_folder.create_run(folder, ABOUT, 8)


def told(run: Run) -> list[dict[str, Any]]:
    """The records without what a clock says."""
    return [{name: value for name, value in record.items() if name != "seconds"} for record in run.records()]


def whole(tmp_path: Path, **more: Any) -> list[dict[str, Any]]:
    """What a run that nothing disturbs records."""
    run = begun(tmp_path / "whole")
    list(runner.run_eval(plan(data(tmp_path / "data"), Answering(knowing), **more), run))
    return told(run)


def test_every_row_is_asked_and_marked_and_progress_says_how_it_goes(tmp_path: Path) -> None:
    run, engine = begun(tmp_path / "run"), Answering(knowing)
    seen = list(runner.run_eval(plan(data(tmp_path / "data"), engine), run))
    assert [(one.done, one.total, one.failed) for one in seen] == [(i, 8, 0) for i in range(9)]
    assert seen[0].left is None
    assert seen[-1].left == 0
    assert seen[-1].score is not None
    assert seen[-1].score.mean == 7 / 8
    assert seen[-1].score.low < 7 / 8 < seen[-1].score.high
    assert engine.sampled == [GREEDY] * 8
    assert [record["scores"]["stated"] for record in run.records()] == [1, 1, 1, 0, 1, 1, 1, 1]
    assert (run.records()[0]["prompt_tokens"], run.records()[0]["completion_tokens"]) == (7, 3)
    assert run.image_file(run.records()[0]["messages"][0]["parts"][0]["image"]).exists()


class Loading(Answering):
    """Says that the weights were read for an hour before each answer."""

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        for chunk in super().stream(messages, sampling):
            yield replace(chunk, timings=Timings(load=3600.0)) if chunk.usage else chunk


def test_reading_the_weights_is_not_answering(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    list(runner.run_eval(plan(data(tmp_path / "data"), Loading(knowing)), run))
    assert {record["seconds"] for record in run.records()} == {0.0}


def test_a_run_that_stopped_goes_on_at_the_row_where_it_stopped(tmp_path: Path) -> None:
    run, folder = begun(tmp_path / "run"), data(tmp_path / "data")
    going = runner.run_eval(plan(folder, Answering(knowing)), run)
    for _ in range(4):
        next(going)
    going.close()
    with (run.folder / run_folder.ANSWERS_FILE).open("ab") as torn:
        torn.write(b'{"row": 3, "key": "3", "pla')
    again, engine = begun(tmp_path / "run"), Answering(knowing)
    seen = list(runner.run_eval(plan(folder, engine), again))
    assert seen[0].done == 3
    assert [messages[-1].text for messages in engine.asked] == [f"What is {i}?" for i in range(3, 8)]
    assert told(again) == whole(tmp_path)
    written = [json.loads(line)["row"] for line in (run.folder / run_folder.ANSWERS_FILE).read_text().splitlines()]
    assert written == list(range(8))


CHILD = """
import os, sys, threading
from pathlib import Path
from tests.evals.test_runner import Answering, begun, knowing, plan, runner
def answer(messages):
    if "5" in messages[-1].text:
        os.write(1, b"five\\n")
        threading.Event().wait()
    return knowing(messages)
for progress in runner.run_eval(plan(Path(sys.argv[1]), Answering(answer)), begun(Path(sys.argv[2])), concurrency=2):
    os.write(1, b"%d\\n" % progress.done)
"""


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    folder = data(tmp_path / "data")
    command = [sys.executable, "-c", CHILD, str(folder), str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as child:
        try:
            assert child.stdout is not None
            seen: set[str] = set()
            while not {"five", "7"} <= seen:  # all but row 5 are told to be done
                seen.add(next(child.stdout).strip())
        finally:
            child.kill()
    run = begun(tmp_path / "run")
    assert run.done() == {0, 1, 2, 3, 4, 6, 7}
    engine = Answering(knowing)
    list(runner.run_eval(plan(folder, engine), run))
    assert len(engine.asked) == 1
    assert told(run) == whole(tmp_path)


@pytest.mark.parametrize("concurrency", [2, 5, 20])
def test_asking_several_at_a_time_changes_nothing(tmp_path: Path, concurrency: int) -> None:
    run = begun(tmp_path / "run")
    list(runner.run_eval(plan(data(tmp_path / "data"), Answering(knowing)), run, concurrency=concurrency))
    assert told(run) == whole(tmp_path)


def test_rows_are_asked_at_the_same_time(tmp_path: Path) -> None:
    together = threading.Barrier(4, timeout=120)

    def answer(messages: Sequence[Message]) -> str:
        together.wait()
        return knowing(messages)

    assert (
        len(
            list(
                runner.run_eval(
                    plan(data(tmp_path / "data"), Answering(answer)), begun(tmp_path / "run"), concurrency=4
                )
            )
        )
        == 9
    )


def test_the_seed_draws_the_rows(tmp_path: Path) -> None:
    folder = data(tmp_path / "data", 100)
    drawn = [plan(folder, Answering(knowing), limit=10, seed=seed).rows() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] == sorted(drawn[0])
    assert drawn[0] != drawn[2]
    assert len(set(drawn[0])) == 10


def test_a_question_that_does_not_fit_counts_as_wrong_and_is_asked_again(tmp_path: Path) -> None:
    def answer(messages: Sequence[Message]) -> str:
        if "2" in messages[-1].text:
            raise ContextError("too long")
        return knowing(messages)

    run, folder = begun(tmp_path / "run"), data(tmp_path / "data")
    last = list(runner.run_eval(plan(folder, Answering(answer)), run))[-1]
    assert (last.done, last.failed) == (8, 1)
    assert (run.records()[2]["error"], run.records()[2]["scores"]) == ("too long", {"stated": 0.0})
    engine = Answering(knowing)
    list(runner.run_eval(plan(folder, engine), run))
    assert len(engine.asked) == 1
    assert told(run) == whole(tmp_path)


def test_a_damaged_picture_fails_its_row_alone(tmp_path: Path) -> None:
    folder = data(tmp_path / "data", 2)
    (folder / "bad.png").write_bytes(png()[:40])
    text = (folder / "rows.jsonl").read_text()
    (folder / "rows.jsonl").write_text(text.replace("a.png", "bad.png", 1))
    run = begun(tmp_path / "run")
    last = list(runner.run_eval(plan(folder, Answering(knowing)), run))[-1]
    assert (last.done, last.failed) == (2, 1)
    assert "bad.png" in run.records()[0]["error"]


def test_a_lost_server_ends_the_run_and_keeps_what_there_is(tmp_path: Path) -> None:
    def answer(messages: Sequence[Message]) -> str:
        if "4" in messages[-1].text:
            raise NetworkError("gone")
        return knowing(messages)

    run = begun(tmp_path / "run")
    with pytest.raises(NetworkError, match="gone"):
        list(runner.run_eval(plan(data(tmp_path / "data"), Answering(answer)), run))
    assert run.done() >= {0, 1, 2, 3}
    assert 4 not in run.done()


class Endless:
    """Never comes to the end of what it says, until it is told to."""

    def __init__(self) -> None:
        self.begun, self.closed = threading.Event(), threading.Event()

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> "Endless":
        self.begun.set()
        return self

    def __iter__(self) -> "Endless":
        return self

    def __next__(self) -> Chunk:
        self.closed.wait(120)
        raise StopIteration

    def close(self) -> None:
        self.closed.set()

    def measure(self, messages: Sequence[Message], tools: object = ()) -> Cost:
        return Cost(1, 100)


def test_a_judge_that_is_writing_is_stopped_with_the_run(tmp_path: Path) -> None:
    judge, run = Endless(), run_folder.create_run(tmp_path / "run", ABOUT, 2)

    def answer(messages: Sequence[Message]) -> str:
        if "Write" in messages[0].text:
            judge.begun.wait(120)
            raise NetworkError("gone")
        return "2"

    data = datasets.open_local(folder("mt-bench", tmp_path / "data"))
    judged = EvalPlan(
        task_registry.get_task("mt-bench"), data, Prompts(), GREEDY, Answering(answer), Judge(judge, "", 10)
    )
    with pytest.raises(NetworkError, match="gone"):
        list(runner.run_eval(judged, run, concurrency=2))
    assert judge.closed.is_set()
    assert run.records() == []


def test_rows_of_another_task_are_refused_by_the_column(tmp_path: Path) -> None:
    folder = data(tmp_path / "data")
    (folder / "rows.jsonl").write_text('{"image": "a.png", "query": "?"}\n')
    with pytest.raises(UsageError, match="Row 0 is not a row of demo-shapes: column 'question' is missing"):
        list(runner.run_eval(plan(folder, Answering(knowing)), begun(tmp_path / "run")))


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    with run.lock(), pytest.raises(PixtralError, match="Another process"):
        list(runner.run_eval(plan(data(tmp_path / "data"), Answering(knowing)), run))


def test_a_folder_with_another_run_is_not_touched(tmp_path: Path) -> None:
    begun(tmp_path / "run").append([])
    with pytest.raises(UsageError, match="another run"):
        run_folder.create_run(tmp_path / "run", {**ABOUT, "seed": 2}, 8)


@pytest.mark.parametrize("image", ["a" * 64 + "/../../../x", "../" + "a" * 64, "a" * 64 + "\n", "A" * 64, "a" * 63])
def test_the_name_of_an_image_in_a_record_leads_nowhere_else(tmp_path: Path, image: str) -> None:
    run = begun(tmp_path / "run")
    list(runner.run_eval(plan(data(tmp_path / "data"), Answering(knowing)), run))
    file = run.folder / "answers.jsonl"
    kept = run.records()[0]["messages"][0]["parts"][0]["image"]
    file.write_text(file.read_text().replace(kept, json.dumps(image)[1:-1]))
    with pytest.raises(UsageError, match="line 1 is damaged"):
        run.records()
