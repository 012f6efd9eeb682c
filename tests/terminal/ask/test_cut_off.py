"""Answers that are not whole: cut off by their limit or by the window, a code block without an end, stopped by Ctrl-C."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import PixtralError
from pixtral_cli.terminal.ask.ask import answer
from pixtral_cli.terminal.ask.request import Request, build_message
from pixtral_cli.terminal.output.output import Format
from tests.fakes import FakeEngine
from tests.terminal.ask.test_ask import Asked, CutOff

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def ask(asked: Asked, request: Request, engine: FakeEngine, **output: Any) -> None:
    out = replace(asked.output, **output)
    answer(request, build_message(request, out, None), Conversation(), engine, out)


@pytest.mark.parametrize(
    ("limit", "window", "told"),
    [
        (2, 1000, "The answer was cut off at 2 tokens; --max-tokens allows more"),
        (None, 3, "The answer was cut off after 2 tokens: the context window of 3 is full"),
        (900, 3, "The answer was cut off after 2 tokens: the context window of 3 is full"),
        (None, 1000, "The answer was cut off at 2 tokens by whoever answers; --max-tokens may allow more"),
    ],
)
def test_a_limit_is_told_from_the_end_of_the_window(limit: int | None, window: int, told: str) -> None:
    asked = Asked()
    ask(asked, Request("x", sampling=Sampling(max_tokens=limit)), CutOff(["A red"], context_window=window))
    assert asked.out == "A red\n"
    assert told in asked.err


@pytest.mark.parametrize(
    ("limit", "hint"), [(2, "Raise --max-tokens"), (None, "Ask for less, or raise --max-tokens where")]
)
def test_json_that_was_cut_off_says_what_lets_it_be_whole(limit: int | None, hint: str) -> None:
    with pytest.raises(PixtralError, match="cut off before its JSON") as error:
        ask(Asked(), Request("x", sampling=Sampling(max_tokens=limit, schema=SCHEMA)), CutOff(['{"a": "wor']))
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("engine", "why"),
    [(CutOff, "The answer was cut off within the code block"), (FakeEngine, "The code block of the answer has no end")],
)
def test_a_code_block_without_an_end_is_an_error_and_no_file(
    tmp_path: Path, engine: type[FakeEngine], why: str
) -> None:
    text, file = "Here:\n```html\n<p>half", tmp_path / "page.html"
    asked = Asked()
    with pytest.raises(PixtralError, match=why) as error:
        ask(asked, Request("x", extract="html", file=file), engine([text]))
    assert error.value.status == 1
    assert "page.html was not written" in error.value.message
    assert not file.exists()
    assert "<p>half" in asked.err
    asked = Asked()
    with pytest.raises(PixtralError, match=why):
        ask(asked, Request("x", extract="html"), engine([text]))
    assert asked.out == "<p>half\n"


class Stopped(FakeEngine):
    """Ctrl-C comes after its words."""

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        for word in self.answers:
            yield Chunk(str(word))
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("request_", "format", "stream"),
    [
        (Request("x", sampling=Sampling(schema=SCHEMA)), "text", True), (Request("x", extract="html"), "text", True),
        (Request("x", file=Path("never.txt")), "text", True), (Request("x"), "json", True), (Request("x"), "text", False),
    ],
)  # fmt: skip
def test_what_came_before_ctrl_c_is_told_where_answers_leave_as_a_whole(
    request_: Request, format: Format, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = Asked(format)
    with pytest.raises(KeyboardInterrupt):
        ask(asked, request_, Stopped(['{"a": ', "\x1b[2Jhalf"]), stream=stream)
    assert asked.out == ""
    assert asked.err.splitlines() == ['{"a": ␛[2Jhalf', "Stopped; the part above is what came"]
    assert list(tmp_path.iterdir()) == []
    asked = Asked(format)
    with pytest.raises(KeyboardInterrupt):
        ask(asked, request_, Stopped([]), stream=stream)
    assert asked.err == "Stopped before anything came\n"
