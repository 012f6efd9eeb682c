"""The line itself: the editor, what is called back, what a broken history file does, and what is read without drawing."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from pixtral_cli.errors import PixtralError
from pixtral_cli.terminal.desktop import editor
from pixtral_cli.terminal.repl.completion import Suggestion
from pixtral_cli.terminal.repl.history import MAX_LENGTH, InputHistory, InputLine
from pixtral_cli.terminal.repl.prompt import Prompt
from tests.server.processes import until


def test_the_editor_is_the_user_s_own_with_its_arguments(tmp_path: Path) -> None:
    assert editor.editor_command({"EDITOR": "code --wait"}) == ["code", "--wait"]
    assert editor.editor_command({"EDITOR": "vi", "VISUAL": "emacs -nw"}) == ["emacs", "-nw"]
    with pytest.raises(PixtralError, match="cannot be run"):
        editor.edit_text("text", {"EDITOR": str(tmp_path / "none")})


def test_lines_are_called_back_from_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    file = tmp_path / "state" / "lines.jsonl"
    recall = InputHistory(file)
    for line in (
        InputLine("one"),
        InputLine("two\nlines", ("two\nlines",)),
        InputLine("two\nlines", ("two\nlines",)),
        InputLine(" "),
    ):
        recall.add(line)
    recall.add(InputLine("x" * (MAX_LENGTH + 1)))
    assert InputHistory(file).lines == [InputLine("one"), InputLine("two\nlines", ("two\nlines",))]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_history_file_that_is_torn_or_nonsense_loses_no_other_line(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_bytes(json.dumps("one").encode() + b'\n{"text": 1}\nnot json\n\xff\xfe\n{"text": "tw')
    recall = InputHistory(file)
    recall.add(InputLine("three"))
    assert [line.text for line in InputHistory(file).lines] == ["one", "three"]


def test_history_that_cannot_be_written_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recall = InputHistory(tmp_path / "file" / "lines.jsonl")
    recall.add(InputLine("one"))
    assert recall.lines == [InputLine("one")]


def test_a_chat_that_is_not_logged_adds_nothing_to_the_history(tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    InputHistory(file).add(InputLine("before"))
    unlogged = InputHistory(file, keep=False)
    unlogged.add(InputLine("secret"))
    assert [line.text for line in unlogged.lines] == ["before", "secret"]
    assert "secret" not in file.read_text()


def test_tab_takes_nothing_before_all_that_fits_is_known(tmp_path: Path) -> None:
    """The second find comes a second and a half after the first: the line is looked at three times a second."""
    searched: list[str] = []

    def suggest(before: str) -> Iterator[Suggestion]:
        searched.append(before)
        yield Suggestion("pics.png", len(before))
        time.sleep(1.5)
        yield Suggestion("pictures.png", len(before))

    with create_pipe_input() as pipe:
        prompt = Prompt(InputHistory(tmp_path / "lines"), suggest, lambda *_: "", input=pipe, output=DummyOutput())

        def taken() -> bool:
            """Both are known, or one was taken before they were."""
            state = prompt._buffer.complete_state
            return prompt._buffer.text.startswith("pics") and (state is None or len(state.completions) == 2)

        def press() -> None:
            try:
                until(taken, 60)
            finally:
                pipe.send_text("\t\r")

        pressing = threading.Thread(target=press)
        pressing.start()
        pipe.send_text("pi\t")
        line = prompt.read()
        pressing.join(60)
    assert line.text == "pictures.png"  # the second of two, not what fits the first
    assert searched == ["pi"]
