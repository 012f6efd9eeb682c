"""How much is searched, offered and recorded while a line is typed: each limit on both sides."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixtral_cli.terminal.repl import file_search
from pixtral_cli.terminal.repl.completion import complete_path
from pixtral_cli.terminal.repl.history import InputHistory, InputLine


def test_twenty_files_are_found_the_best_first(tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / f"a photo {number:02}").touch()
    (tmp_path / "photo").touch()
    found = file_search.search(tmp_path, "PHOTO")
    assert found == ["photo", *(f"a photo {number:02}" for number in range(19))]


@pytest.mark.parametrize(("words", "found"), [("p", False), ("ph", True), (".p", False), ("", False), ("pt", True)])
def test_two_letters_are_searched_and_hidden_files_are_not(tmp_path: Path, words: str, found: bool) -> None:
    for name in ("photo", ".photo"):
        (tmp_path / name).touch()
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "photo").touch()
    assert file_search.search(tmp_path, words) == ["photo"] * found


@pytest.mark.parametrize(("depth", "found"), [(6, True), (7, False)])
def test_six_levels_of_subfolders_are_searched(tmp_path: Path, depth: int, found: bool) -> None:
    folder = Path(*["d"] * depth)
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "photo").touch()
    assert file_search.search(tmp_path, "photo") == [str(folder / "photo")] * found


@pytest.mark.parametrize(("before", "found"), [(4_999, True), (5_000, False)])
def test_five_thousand_entries_are_read(
    tmp_path: Path, before: int, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.monotonic", lambda: 0.0)
    for number in range(before):
        (tmp_path / f"a{number}").touch()
    (tmp_path / "photo").touch()
    assert file_search.search(tmp_path, "photo") == ["photo"] * found


def test_half_a_second_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("photo 1", "photo 2", "photo 3"):
        (tmp_path / name).touch()
    times = iter([10.0, 10.1, 10.5, 10.51])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    assert file_search.search(tmp_path, "photo") == ["photo 1", "photo 2"]


def test_two_hundred_entries_of_a_folder_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(205):
        (tmp_path / f"p{number:03}.png").touch()
    assert [found.text for found in complete_path("p")] == [f"p{number:03}.png" for number in range(200)]


# The history


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "state" / "history"


def test_a_line_of_20000_characters_is_recorded_and_a_longer_one_is_not(file: Path) -> None:
    history = InputHistory(file)
    for text in ("x" * 20_000, "y" * 20_001, "", "  ", "x" * 20_000):
        history.add(InputLine(text))
    assert [line.text for line in history.lines] == ["x" * 20_000]
    assert [line.text for line in InputHistory(file).lines] == ["x" * 20_000]


def test_the_newest_2000_lines_are_read(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("\n".join(json.dumps(f"line {number}") for number in range(2_001)))
    lines = InputHistory(file).lines
    assert (len(lines), lines[0].text, lines[-1].text) == (2_000, "line 1", "line 2000")


def test_the_file_is_its_owners_alone_and_lines_that_are_none_are_passed_over(file: Path) -> None:
    InputHistory(file).add(InputLine("a secret"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    with file.open("ab") as stream:
        stream.write(b'\n{"text": "cut o')
    InputHistory(file).add(InputLine("b", ("pasted",)))
    with file.open("ab") as stream:
        stream.write(b'\n{"text": 5}\n\xff\n{"pasted": []}\n{"text": "c", "pasted": 5}')
    lines = InputHistory(file).lines
    assert [(line.text, line.pasted) for line in lines][:2] == [("a secret", ()), ("b", ("pasted",))]
    assert "cut o" not in str(lines)


def test_where_nothing_can_be_kept_lines_are_recorded_for_this_chat(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for history in (
        InputHistory(tmp_path / "file" / "history"),
        InputHistory(None),
        InputHistory(tmp_path / "h", keep=False),
    ):
        history.add(InputLine("a"))
        assert [line.text for line in history.lines] == ["a"]
    assert not (tmp_path / "h").exists()
