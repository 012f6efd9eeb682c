"""How an answer is shown: to a pipe, a program, a plain terminal, one that can draw."""

import io
import json
import os
import threading
from collections.abc import Iterator, Sequence

import pytest

from pixtral_cli.chat.engine import Chunk, Sampling, Timings, Usage
from pixtral_cli.chat.message import user
from pixtral_cli.errors import PixtralError
from pixtral_cli.terminal.output.output import Format, Output, choose_output
from pixtral_cli.terminal.output.render import Answer, render, statistics
from tests.fakes import FakeEngine
from tests.terminal.emulator import Terminal

DRAWING = {"TERM": "xterm-256color"}


def chunks(*answer: str, engine: FakeEngine | None = None) -> Iterator[Chunk]:
    engine = engine or FakeEngine([list(answer)])
    return engine.stream([user("?")], Sampling())


def piped(*answer: str, format: Format = "text", encoding: str = "utf-8") -> tuple[str, Answer]:
    raw = io.BytesIO()
    out = choose_output(
        stdout=io.TextIOWrapper(raw, encoding), stderr=io.StringIO(), format=format, model="m", env=DRAWING
    )
    answered = render(chunks(*answer), out)
    out.stdout.flush()
    return raw.getvalue().decode(encoding), answered


def on_terminal(*answer: str, columns: int = 80, rows: int = 24) -> Terminal:
    with Terminal(columns, rows) as terminal:
        render(chunks(*answer), choose_output(stdout=terminal.out, stderr=io.StringIO(), env=DRAWING))
    return terminal


def test_a_pipe_gets_the_text_and_a_last_newline() -> None:
    assert piped("**A** `red` ", "circle.")[0] == "**A** `red` circle.\n"
    assert piped("done\n")[0] == "done\n"
    assert piped("")[0] == ""


def test_each_chunk_leaves_at_once() -> None:
    reader, writer = os.pipe()
    seen: list[bytes] = []

    def watched() -> Iterator[Chunk]:
        for piece in ("one ", "two"):
            yield Chunk(piece)
            seen.append(os.read(reader, 100))
        yield Chunk(finish_reason="stop", usage=Usage(), timings=Timings())

    with os.fdopen(writer, "w") as stdout:
        render(watched(), choose_output(stdout=stdout, stderr=io.StringIO(), env=DRAWING))
    os.close(reader)
    assert seen == [b"one ", b"two"]


def test_json_is_one_object_in_the_field_s_own_names() -> None:
    text, _ = piped("A ", "circle.", format="json")
    told = json.loads(text)
    assert list(told) == ["answer", "model", "session", "usage", "timings", "finish_reason"]
    assert (told["answer"], told["model"], told["finish_reason"]) == ("A circle.", "m", "stop")
    assert set(told["usage"]) == {
        "prompt_tokens", "completion_tokens", "total_tokens", "image_tokens", "cached_tokens",
        "reasoning_tokens",
    }  # fmt: skip
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]
    assert told["timings"]["ttft"] == 0.25


def test_jsonl_is_one_object_a_chunk_and_the_last_as_in_json() -> None:
    lines = [json.loads(line) for line in piped("A ", "circle.", format="jsonl")[0].splitlines()]
    assert lines[:-1] == [{"text": "A "}, {"text": "circle."}]
    assert lines[-1] == json.loads(piped("A ", "circle.", format="json")[0])


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_json_means_the_very_text_in_any_encoding_and_holds_nothing_that_acts(encoding: str) -> None:
    hostile = "\x1b]52;c;eA==\x07 \x9b2J é 日 🎉 \u202e \U000e0041 \ud800 \r\n"
    text, answer = piped(hostile, format="json", encoding=encoding)
    assert json.loads(text)["answer"] == answer.text == hostile
    assert text.strip().isprintable()
    assert ("日" in text) == (encoding == "utf-8")


def test_what_an_encoding_lacks_is_replaced() -> None:
    assert piped("é 日 🎉", encoding="cp1252")[0] == "é ? ?\n"
    assert piped("é", encoding="ascii")[0] == "?\n"


def test_an_answer_without_streaming_comes_whole() -> None:
    stdout = io.StringIO()
    before: list[str] = []

    def watched() -> Iterator[Chunk]:
        yield Chunk("one ")
        before.append(stdout.getvalue())
        yield Chunk("two", "stop", Usage(), Timings())

    render(watched(), choose_output(stdout=stdout, stderr=io.StringIO(), stream=False, env=DRAWING))
    assert before == [""]
    assert stdout.getvalue() == "one two\n"


def test_a_terminal_shows_markdown() -> None:
    terminal = on_terminal("# Title\n\nA **bo", "ld** `word`.\n\n- one\n- two\n\n```html\n<p>hi</p>\n``", "`\n")
    assert terminal.lines == ["Title", "", "A bold word.", "", " • one", " • two", "", "html", "<p>hi</p>"]
    row = terminal.screen.buffer[2]
    assert [row[column].bold for column in (0, 2, 5, 7)] == [False, True, True, False]


def test_nothing_that_an_answer_says_vanishes() -> None:
    said = "<b>html</b> &lt;x&gt; <http://a.b> ![alt](http://c.d) [r]\n\n[r]: http://e.f\n\n<div>\nblock\n</div>"
    shown = " ".join(on_terminal(said).lines)
    for word in ("<b>html</b>", "&lt;x&gt;", "<http://a.b>", "alt", "http://c.d", "[r]: http://e.f", "<div>", "block"):
        assert word in shown


def test_wide_characters_and_narrow_windows() -> None:
    terminal = on_terminal("日本語のテキストは幅が広い。", "そして長い。🎉 ok\n", columns=20, rows=6)
    assert "".join(line.replace(" ", "") for line in terminal.lines) == "日本語のテキストは幅が広い。そして長い。🎉ok"
    assert len(terminal.lines) == 3


def test_a_long_answer_ends_up_whole_in_the_scrollback() -> None:
    paragraphs = [f"Paragraph {number} has some words." for number in range(100)]
    code = [f"line {number}" for number in range(60)]
    answer = "\n\n".join(paragraphs) + "\n\n```\n" + "\n".join(code) + "\n```\n"
    terminal = on_terminal(*(answer[start : start + 7] for start in range(0, len(answer), 7)), rows=10)
    assert terminal.lines == [line for one in paragraphs for line in (one, "")] + code


def test_a_block_taller_than_the_window_ends_up_whole() -> None:
    words = [f"word{number}" for number in range(300)]
    terminal = on_terminal(*(f"{word} " for word in words), columns=30, rows=6)
    assert " ".join(terminal.lines).split() == words


@pytest.mark.parametrize(
    ("env", "plain", "drawn"),
    [
        ({"TERM": "xterm"}, False, True),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "dumb"}, False, False),
        ({}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, False, True),
    ],
)
def test_only_a_terminal_that_draws_is_drawn_on(env: dict[str, str], plain: bool, drawn: bool) -> None:
    with Terminal() as terminal:
        render(chunks("**A** circle."), choose_output(stdout=terminal.out, stderr=terminal.out, plain=plain, env=env))
    assert (b"\x1b" in terminal.raw) == drawn
    assert terminal.lines == ["A circle." if drawn else "**A** circle."]


class Interrupting(FakeEngine):
    """Ctrl-C comes while it computes."""

    def stream(self, messages: Sequence[object], sampling: Sampling) -> Iterator[Chunk]:  # type: ignore[override]
        yield Chunk("A part")
        raise KeyboardInterrupt


@pytest.mark.parametrize("env", [DRAWING, {"TERM": "dumb"}])
def test_an_interrupted_answer_stays_on_the_screen_on_a_line_of_its_own(env: dict[str, str]) -> None:
    with Terminal() as terminal:
        out = choose_output(stdout=terminal.out, stderr=io.StringIO(), env=env)
        with pytest.raises(KeyboardInterrupt):
            render(chunks(engine=Interrupting()), out)
        out.write("next")
    assert terminal.lines == ["A part", "next"]
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pixtral")] == []


def test_a_listener_that_goes_stops_the_computing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    engine = FakeEngine([["word "] * 1000])
    with open(writer, "w", closefd=False) as stdout:
        with pytest.raises(BrokenPipeError):
            render(chunks(engine=engine), choose_output(stdout=stdout, stderr=io.StringIO(), env=DRAWING))
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)
    os.close(writer)
    assert engine.closed == 1


@pytest.mark.parametrize("format", ["text", "json", "jsonl"])
def test_a_full_disk_is_one_error_and_stops_the_computing(format: Format) -> None:
    engine = FakeEngine([["word "] * 10])
    stdout = open("/dev/full", "w")  # noqa: PTH123, SIM115
    with pytest.raises(PixtralError, match="No space left on device"):
        render(chunks(engine=engine), choose_output(stdout=stdout, stderr=io.StringIO(), format=format, env=DRAWING))
    assert engine.closed == (format != "json")
    with pytest.raises(OSError):
        stdout.close()


def test_a_spinner_turns_while_nothing_comes_and_leaves_no_trace() -> None:
    with Terminal() as terminal:
        out = choose_output(stdout=terminal.out, stderr=terminal.out, model="demo", env=DRAWING)

        def slow() -> Iterator[Chunk]:
            terminal.wait_for("demo is at work")
            yield Chunk("A circle.", "stop", Usage(), Timings())

        render(slow(), out)
    assert terminal.lines == ["A circle."]


def test_no_spinner_where_it_would_disturb() -> None:
    with Terminal() as terminal:
        assert choose_output(stdout=terminal.out, stderr=terminal.out, env=DRAWING).spinner
        assert not choose_output(stdout=terminal.out, stderr=terminal.out, env=DRAWING, quiet=True).spinner
        assert not choose_output(stdout=terminal.out, stderr=terminal.out, env=DRAWING, plain=True).spinner
        assert not choose_output(stdout=terminal.out, stderr=io.StringIO(), env=DRAWING).spinner


def test_statistics_say_what_was_counted_and_timed() -> None:
    usage = Usage(prompt_tokens=1234, completion_tokens=11, image_tokens=1000, cached_tokens=200)
    timings = Timings(load=1.5, ttft=0.5, decode=2.0, total=4.0, peak_memory=3 * 2**30)
    assert statistics(Answer("x", "stop", usage, timings), 128_000).splitlines() == [
        "prompt 1,234 tokens (1,000 of images, 200 reused), answer 11; 1,245 of 128,000 of the context window used",
        "load 1.50 s, first token 0.50 s, 5.0 tokens/s, total 4.00 s, peak memory 3.00 GiB",
    ]


def test_notes_are_one_harmless_line_and_silent_when_quiet() -> None:
    stderr = io.StringIO()
    Output(io.StringIO(), stderr).note("file \x1b[2J\n.png")
    Output(io.StringIO(), stderr, quiet=True).note("unheard")
    assert stderr.getvalue() == "file \\x1b[2J\\n.png\n"
