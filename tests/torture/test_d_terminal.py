"""Torture D: terminals that are attacked, close, shrink or have no features; one function a case."""

import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Sampling, Timings, Usage
from pixtral_cli.chat.message import user
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.terminal.ask.ask import answer
from pixtral_cli.terminal.ask.request import Request, build_message
from pixtral_cli.terminal.output.output import choose_output
from pixtral_cli.terminal.output.render import render
from tests.fakes import FakeEngine
from tests.server.processes import until
from tests.terminal.emulator import Terminal

ASK = [sys.executable, "-m", "pixtral_cli", "ask"]
ENDLESS = ["Go on.", "-m", "demo", "--temperature", "10", "--seed", "3", "--no-stdin"]  # noise, for thousands of tokens
DRAWING = {"TERM": "xterm-256color"}

ATTACKS = [
    "\x1b]52;c;ZXZpbA==\x07", "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\", "\x1b]0;title\x07", "\x1b]0;unended",
    "\x1b[2J", "\x1b[6n", "\x1b[31m", "\x1b[?1049h", "\x1bP$q\x1b\\", "\x1bc", "\x1b", "\x9b2J", "\x9d52;c;eA==\x9c", "\x90q\x9c",
    "a\rb", "a\bb", "\x07", "\x0e", "\x7f", "\u202eevil\u202c", "\u2066x\u2069", "\U000e0041\U000e0042", "\u200b", "\ud800",
    "[x](http://a/%1b]52;c;eA==%07)", "<http://a/%1b[2J>", "&#27;[2J", "&#x202e;", "```a\x1b[2Jb\n\x1b[2J\n```", "| \x1b[2J |\n|--|\n",
]  # fmt: skip
OURS = re.compile(rb"\x1b\[(?:\?2026[hl]|\d*[AJK]|[\d;]*m)")
ACTING = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def stream(*pieces: str) -> Iterator[Chunk]:
    return FakeEngine([list(pieces)]).stream([user("?")], Sampling())


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([*ASK, *arguments], **options)


def seconds_to_end(child: subprocess.Popen[bytes], sent: signal.Signals) -> float:
    """Until it has ended, of its own computing: the machine may be busy."""
    others, before = _ended(), spent(child)
    child.send_signal(sent)
    child.wait(120)
    return _ended() - others - before


def spent(child: subprocess.Popen[Any]) -> float:
    """Seconds of the processor that it has used so far."""
    user, system = Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _ended() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("attack", ATTACKS, ids=ascii)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_46_control_sequences_are_inert_and_what_is_saved_is_unchanged(attack: str, size: int, tmp_path: Path) -> None:
    text = f"before {attack} after"
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    for env in (DRAWING, {"TERM": "dumb"}):
        with Terminal() as terminal:
            given = render(stream(*pieces), choose_output(stdout=terminal.out, stderr=io.StringIO(), env=env))
        shown = OURS.sub(b"", terminal.raw) if env is DRAWING else terminal.raw
        assert not ACTING.search(
            shown.decode().replace("\r\n", "\n").replace("\r", "", shown.count(b"\r") * (env is DRAWING))
        )
        assert given.text == text
        assert "before" in terminal.lines[0]
    out = choose_output(stdout=io.StringIO(), stderr=io.StringIO(), env=DRAWING)
    request = Request("?", file=tmp_path / "saved")
    conversation = Conversation()
    answer(request, build_message(request, out, None), conversation, FakeEngine([pieces]), out)
    assert (tmp_path / "saved").read_bytes() == f"{text}\n".encode(errors="replace")
    assert conversation.messages[-1].text == text


def test_47_bidi_and_tag_characters_in_a_saved_block_are_reported(tmp_path: Path) -> None:
    code = 'if access != "user\u202e \u2066// admin\u2069 \u2066":\n    x = "\U000e0041"\n'
    stderr = io.StringIO()
    out = choose_output(stdout=io.StringIO(), stderr=stderr, env=DRAWING)
    request = Request("?", extract="python", file=tmp_path / "x.py")
    answer(request, build_message(request, out, None), Conversation(), FakeEngine([f"```python\n{code}```"]), out)
    assert (tmp_path / "x.py").read_text(encoding="utf-8") == code
    told = stderr.getvalue().splitlines()
    assert any(line.startswith("Warning:") and "bidirectional" in line and "line 1" in line for line in told)
    assert any(line.startswith("Warning:") and "tag" in line and "line 2" in line for line in told)


def test_48_square_brackets_are_verbatim() -> None:
    text = "Write [/] to end and [red]this[/red] or [bold]\\[x] here [link=http://a]b[/link]."
    for env in (DRAWING, {"TERM": "dumb"}):
        with Terminal(100) as terminal:
            render(stream(text), choose_output(stdout=terminal.out, stderr=io.StringIO(), env=env))
        assert terminal.lines == [text]


def test_49_a_reader_that_leaves_ends_the_answer_silently() -> None:
    child = start(*ENDLESS)
    assert child.stdout
    assert child.stderr
    assert child.stdout.read(1)
    child.stdout.close()
    assert child.wait(120) == 0
    assert child.stderr.read() == b""


def test_50_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        child = start("Who are you?", "-m", "demo", stdout=full)
        _, err = child.communicate(timeout=120)
    assert child.returncode == 1
    assert err == b"pixtral: The answer cannot be written: No space left on device. Write it to a file: -o FILE\n"


def mapped(child: subprocess.Popen[bytes], name: str) -> None:
    """Wait until the child has that file in its memory."""
    maps = Path(f"/proc/{child.pid}/maps")
    until(lambda: child.poll() is not None or name in maps.read_text())
    assert child.poll() is None


@pytest.mark.parametrize(("moment", "words"), [("libtorch", 0), ("_safetensors_rust", 10_000)])
def test_51_ctrl_c_while_loading_and_prefilling(moment: str, words: int, tmp_path: Path) -> None:
    times = []
    (tmp_path / "words").write_text("word " * words)
    for _ in range(3):  # the machine may be busy: the best of three counts
        with (tmp_path / "words").open() as stdin:
            child = start("Say it all again.", "-m", "demo", stdin=stdin)
            mapped(child, moment)
            times.append(seconds_to_end(child, signal.SIGINT))
        out, err = child.communicate()
        assert (child.returncode, out, err) == (130, b"", b"")
        if times[-1] <= 0.5:
            return
    raise AssertionError(f"Ctrl-C took {times} s")


def test_51_ctrl_c_while_decoding_and_saving(home: Path) -> None:
    times = []
    for turn in range(1, 4):
        child = start(*ENDLESS)
        assert child.stdout
        assert child.stderr
        part = child.stdout.read(1)
        times.append(seconds_to_end(child, signal.SIGINT))
        part += child.stdout.read()
        assert (child.returncode, child.stderr.read()) == (130, b"")
        assert part.endswith(b"\n")
        sessions = Sessions(home / "pixtral" / "data")
        assert len(sessions.list()) == turn
        question, partial = sessions.load(sessions.newest().id).messages
        assert question.text == "Go on."
        assert partial.interrupted
        assert partial.text
        if times[-1] <= 0.5:
            return
    raise AssertionError(f"Ctrl-C took {times} s")


def test_51_ctrl_c_typed_at_the_terminal_leaves_the_part_and_nothing_else() -> None:
    with Terminal() as terminal:
        child = terminal.run(*ASK, *ENDLESS, "-n", stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm"})
        until(lambda: bool(terminal.lines) or child.poll() is not None)
        terminal.type(b"\x03")
        assert child.wait(120) == 130
        assert child.stderr
        assert child.stderr.read() == b""
        os.write(terminal.descriptor, b"$ ")
    assert terminal.lines[-1] == "$"
    assert "^C" not in terminal.lines[-2]


def test_52_a_window_that_shrinks_to_twenty_columns_or_goes_away(home: Path) -> None:
    words = [f"word{number}" for number in range(60)]
    with Terminal(80, 24) as terminal:

        def shrinking() -> Iterator[Chunk]:
            yield from (Chunk(f"{word} ") for word in words[:5])
            terminal.wait_for("word4")
            terminal.resize(20, 10)
            terminal.screen.resize(10, 20)
            yield from (Chunk(f"{word} ") for word in words[5:])
            yield Chunk("", "stop", Usage(), Timings())

        render(shrinking(), choose_output(stdout=terminal.out, stderr=io.StringIO(), env=DRAWING))
    assert " ".join(terminal.lines).split() == words
    assert max(map(len, terminal.lines)) < 20

    with Terminal(20, 10) as terminal:
        child = terminal.run(*ASK, *ENDLESS, stderr=subprocess.PIPE, env={**os.environ, "TERM": "xterm"})
        until(lambda: bool(terminal.lines) or child.poll() is not None)
        child.send_signal(signal.SIGHUP)
        assert child.wait(120) == 129
        assert child.stderr
        assert child.stderr.read() == b""
    assert Sessions(home / "pixtral" / "data").newest().messages == 2


@pytest.mark.parametrize("env", [{"NO_COLOR": "1", "TERM": "xterm"}, {"TERM": "dumb"}])
def test_53_no_escape_where_it_is_disabled_and_no_crash_where_letters_are_missing(env: dict[str, str]) -> None:
    with Terminal() as terminal:
        child = terminal.run(*ASK, "Who are you?", "-v", "-n", env={**os.environ, **env})
        assert child.wait(120) == 0
    assert b"\x1b" not in terminal.raw
    assert any("I am" in line for line in terminal.lines)
    raw = io.BytesIO()
    stdout = io.TextIOWrapper(raw, "cp1252")
    render(
        stream("naïve → 日本 \x1b[31m\n"), choose_output(stdout=stdout, stderr=io.StringIO(), env={**DRAWING, **env})
    )
    assert raw.getvalue() == "naïve ? ?? ?[31m\n".encode("cp1252")
    dry = ["x", "-m", "demo", "--dry-run", "--format", "json"]
    child = start(*dry, env={**os.environ, **env, "PYTHONIOENCODING": "cp1252"})
    out, err = child.communicate(timeout=120)
    assert (json.loads(out)["model"], err) == ("demo", b"")
