"""Watching pictures: what counts as a change, and that a bad moment is waited out."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image as PILImage

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.ask import ask, watch
from pixtral_cli.terminal.ask.request import Request, build_message
from pixtral_cli.terminal.output.output import Output, choose_output
from tests.fakes import FakeEngine


def steps(*actions: Callable[[], object]) -> Callable[[float], None]:
    """A clock that does one thing at each wait, and then sees the user press Ctrl-C."""
    left = list(actions)

    def wait(_: float) -> None:
        if not left:
            raise KeyboardInterrupt
        left.pop(0)()

    return wait


def nothing() -> None:
    pass


def test_a_change_is_reported_once_it_has_come_to_rest(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"1")
    wait = steps(nothing, lambda: file.write_bytes(b"22"), lambda: file.write_bytes(b"333"), nothing, nothing)
    told = watch.changes([file], wait)
    next(told)
    assert file.read_bytes() == b"333"
    with pytest.raises(KeyboardInterrupt):
        next(told)


def test_a_file_that_is_replaced_and_missing_for_a_moment_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"1")
    wait = steps(file.unlink, nothing, lambda: file.write_bytes(b"2"), nothing)
    next(watch.changes([file], wait))
    assert file.read_bytes() == b"2"


def test_without_a_file_there_is_nothing_to_watch() -> None:
    with pytest.raises(UsageError, match="--watch watches picture files"):
        watch.watched_files(["-", "https://example.org/a.png", "data:image/png;base64,AAAA"])


def test_each_change_is_answered_anew_and_a_broken_picture_is_waited_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.png"
    paint(file, "red")

    def changes(_: object) -> Iterator[None]:
        file.write_bytes(b"not yet")
        yield
        paint(file, "blue")
        yield
        raise KeyboardInterrupt

    monkeypatch.setattr(watch, "changes", changes)
    engine = FakeEngine(["red", "blue"])
    request = Request("What colour?", [str(file)], piped="piped")
    out = quiet_output()
    with pytest.raises(KeyboardInterrupt):
        ask.watch(request, build_message(request, out, None), Conversation(), engine, out)
    assert capsys.readouterr().out.split() == ["red", "blue"]
    shown = [messages[-1] for messages, _ in engine.seen]
    assert len(engine.seen[1][0]) == 1
    assert shown[0].images[0].sha256 != shown[1].images[0].sha256
    assert shown[1].text == "What colour?\n\npiped"


def test_a_terminal_is_told_what_is_watched_and_when_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.png"
    paint(file, "red")

    def changes(_: object) -> Iterator[None]:
        paint(file, "blue")
        yield
        raise KeyboardInterrupt

    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(watch, "changes", changes)
    out = Output(io.StringIO(), Screen())
    request, engine = Request("What colour?", [str(file)], piped=""), FakeEngine(["red", "blue"])
    with pytest.raises(KeyboardInterrupt):
        ask.watch(request, build_message(request, out, None), Conversation(), engine, out)
    assert isinstance(out.stderr, Screen)
    watching, changed = out.stderr.getvalue().splitlines()
    assert watching == "Watching a.png; Ctrl-C ends"
    assert re.fullmatch(r"\d\d:\d\d:\d\d, changed:", changed)


def paint(file: Path, colour: str) -> None:
    png = io.BytesIO()
    PILImage.new("RGB", (32, 32), colour).save(png, "PNG")
    file.write_bytes(png.getvalue())


def quiet_output() -> Output:
    return choose_output(quiet=True)
