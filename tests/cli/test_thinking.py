"""What a reasoning model thinks before its answer, through the whole program: pipes, files, JSON, exports, terminals."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.chat.engine import Chunk
from tests.fakes import FakeEngine
from tests.server.serving import Running, serving
from tests.terminal.emulator import Terminal

THOUGHTS = "Is it **red**?\nIt looks so."
ANSWER = "\n\nA red `box`.\n\n```py\nx = 1\n```\n"


def thinking(answer: str = ANSWER) -> Sequence[str | Chunk]:
    """An answer with thinking before it, in pieces."""
    pieces = [Chunk(reasoning=THOUGHTS[at : at + 5]) for at in range(0, len(THOUGHTS), 5)]
    return [*pieces, *(answer[at : at + 7] for at in range(0, len(answer), 7))]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def running(engine: FakeEngine) -> Iterator[Running]:
    with serving(engine, model="m") as running:
        yield running


class Program:
    """`pixtral` against the server of a fake engine."""

    def __init__(self, running: Running) -> None:
        self.far = ["--engine", "api", "--base-url", running.url, "-m", "m"]

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("ask", "What is it?", *self.far, "--no-stdin", *words)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pixtral_cli", *words]
        return subprocess.run(
            command, capture_output=True, check=False, encoding="utf-8", timeout=120, stdin=subprocess.DEVNULL
        )


@pytest.fixture
def program(running: Running) -> Program:
    return Program(running)


@pytest.mark.parametrize("flags", [(), ("--no-thinking",), ("--no-stream",)])
def test_a_pipe_gets_the_answer_alone(program: Program, engine: FakeEngine, flags: tuple[str, ...]) -> None:
    engine.answers = [thinking()]
    done = program.ask(*flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.lstrip("\n") == ANSWER.lstrip("\n")
    assert "looks so" not in done.stdout


@pytest.mark.parametrize("flags", [("--thinking",), ("--thinking", "--no-stream")])
def test_a_pipe_gets_it_between_marks_when_it_is_asked_for(
    program: Program, engine: FakeEngine, flags: tuple[str, ...], tmp_path: Path
) -> None:
    expected = f"[THINK]\n{THOUGHTS}\n[/THINK]\n\n{ANSWER.lstrip()}"
    engine.answers = [thinking(), thinking()]
    assert program.ask(*flags).stdout == expected
    program.ask(*flags, "-o", str(tmp_path / "answer.md"))
    assert (tmp_path / "answer.md").read_text() == expected


def test_an_answer_that_ends_within_its_thinking_has_both_marks(program: Program, engine: FakeEngine) -> None:
    engine.answers = [[Chunk(reasoning="hm ")], [Chunk(reasoning="hm ")]]
    assert program.ask("--thinking").stdout == "[THINK]\nhm \n[/THINK]\n"
    hidden = program.ask()
    assert (hidden.stdout, "answer is empty" in hidden.stderr) == ("", True)


def test_code_values_and_files_hold_none_of_it_and_stderr_does_when_it_is_asked_for(
    program: Program, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.answers = [thinking(), thinking(), thinking('{"a": 1}'), thinking('{"a": 1}'), thinking()]
    assert program.ask("-x", "py").stdout == "x = 1\n"
    shown = program.ask("-x", "py", "--thinking")
    assert (shown.stdout, THOUGHTS in shown.stderr) == ("x = 1\n", True)
    assert json.loads(program.ask("--schema", "a:int").stdout) == {"a": 1}
    valued = program.ask("--schema", "a:int", "--thinking")
    assert (json.loads(valued.stdout), THOUGHTS in valued.stderr) == ({"a": 1}, True)
    program.ask("-o", str(tmp_path / "answer.md"))
    assert (tmp_path / "answer.md").read_text().lstrip("\n") == ANSWER.lstrip("\n")


def test_json_counts_it_and_holds_it_when_it_is_asked_for(program: Program, engine: FakeEngine) -> None:
    engine.answers = [thinking(), thinking(), thinking()]
    told = json.loads(program.ask("--format", "json").stdout)
    assert (told["answer"], "reasoning" in told) == (ANSWER, False)
    assert told["usage"]["reasoning_tokens"] == len([piece for piece in thinking() if isinstance(piece, Chunk)])
    told = json.loads(program.ask("--format", "json", "--thinking").stdout)
    assert (told["answer"], told["reasoning"]) == (ANSWER, THOUGHTS)
    lines = [json.loads(line) for line in program.ask("--format", "jsonl", "--thinking").stdout.splitlines()]
    assert "".join(line.get("reasoning", "") for line in lines[:-1]) == THOUGHTS
    assert "".join(line.get("text", "") for line in lines[:-1]) == ANSWER


def test_it_is_kept_with_the_session_and_goes_back_with_the_next_question(
    program: Program, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.answers = [thinking(), "Yes."]
    program.ask()
    program.ask("-c")
    assert [message.reasoning for message in engine.seen[1][0]] == ["", THOUGHTS, ""]
    (session,) = json.loads(program.run("sessions", "--format", "json").stdout)["sessions"]
    for form in ("md", "html", "json", "jsonl"):
        without = program.run("sessions", "export", session["id"], "--format", form).stdout
        assert "A red" in without
        assert "looks so" not in without
        assert "looks so" in program.run("sessions", "export", session["id"], "--format", form, "--thinking").stdout
    assert "looks so" not in program.run("sessions", "show", session["id"]).stdout
    assert "> It looks so." in program.run("sessions", "show", session["id"], "--thinking").stdout


def test_an_export_with_it_brings_it_back(program: Program, engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers = [thinking(), "Yes."]
    program.ask()
    (session,) = json.loads(program.run("sessions", "--format", "json").stdout)["sessions"]
    file = tmp_path / "talk.json"
    program.run("sessions", "export", session["id"], "-o", str(file), "--thinking")
    name = program.run("sessions", "import", str(file)).stdout.strip()
    program.ask("--session", name)
    assert [message.reasoning for message in engine.seen[1][0]] == ["", THOUGHTS, ""]


def on_terminal(program: Program, *words: str, **env: str) -> str:
    with Terminal(80, 24) as terminal:
        environment = {**os.environ, "TERM": "xterm-256color", **env}
        words = (sys.executable, "-m", "pixtral_cli", "ask", "What is it?", *program.far, "--no-stdin", *words)
        process = terminal.run(*words, env=environment)
        assert process.wait(120) == 0
    return "\n".join(terminal.lines)


def test_a_terminal_folds_it_to_a_line_unless_set_otherwise(program: Program, engine: FakeEngine) -> None:
    engine.answers = [thinking() for _ in range(5)]
    folded = on_terminal(program)
    assert folded.startswith("Thought, 6 words")
    assert "\n\nA red box." in folded
    assert "looks so" not in folded
    shown = on_terminal(program, "--thinking")
    assert shown.startswith("Is it **red**?\nIt looks so.\n\nA red box.")
    assert on_terminal(program, PIXTRAL_THINKING="hide").startswith("A red box.")
    assert on_terminal(program, PIXTRAL_THINKING="show").startswith("Is it **red**?")
    plain = on_terminal(program, "--plain")
    assert plain.startswith("(Thought, 6 words)\n\nA red `box`.")


def test_a_setting_that_is_none_of_the_three_is_named(program: Program) -> None:
    done = program.run("config", "set", "thinking", "loud")
    assert done.returncode == 2
    assert "thinking must be show, fold or hide, not 'loud'" in done.stderr


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_help_names_the_flag(program: Program, command: str) -> None:
    assert "--no-thinking" in program.run(command, "--help").stdout


def test_a_batch_counts_it_and_leaves_it_out(program: Program, engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers = [thinking("Red.")]
    rows: Any = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "What is it?"}\n')
    done = program.run("batch", str(rows), *program.far, "-o", str(tmp_path / "out.jsonl"))
    assert done.returncode == 0, done.stderr
    (line,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert (line["answer"], line["usage"]["reasoning_tokens"]) == ("Red.", 6)
