"""Progress of a long job: as much as fits on a terminal, notes alone where nothing can be redrawn and it is soon over."""

import io

import pytest

from pixtral_cli.terminal.output import progress_bar
from pixtral_cli.terminal.output.output import choose_output
from tests.terminal.emulator import Terminal

MORE = ["1:02:03 left", "2 failed", "1.5/s"]


@pytest.mark.parametrize(
    ("columns", "seen"),
    [
        (90, "12 of 3,000 rows · 1:02:03 left · 2 failed · 1.5/s"),
        (48, "12/3,000 · 1:02:03 left · 2 failed · 1.5/s"),
        (40, "12/3,000 · 1:02:03 left · 2 failed"),
        (26, "12/3,000 · 1:02:03 left"),
        (14, "12/3,000"),
        (7, "12/3…"),
    ],
)
def test_the_most_important_is_what_fits(columns: int, seen: str) -> None:
    with Terminal(columns) as terminal:
        out = choose_output(stdout=terminal.out, stderr=terminal.out, env={"TERM": "xterm"})
        with progress_bar.progress_bar(out, 3000, "rows") as show:
            show(12, MORE, "a note \x1b[2J")
            terminal.wait_for(seen, 10)
            assert not any(line.startswith("\x1b") for line in terminal.lines)
        terminal.wait_for("a note"[: columns - 1], 10)
        assert seen not in terminal.lines


def test_where_nothing_can_be_redrawn_a_short_job_leaves_its_notes_alone() -> None:
    stderr = io.StringIO()
    with progress_bar.progress_bar(choose_output(stdout=io.StringIO(), stderr=stderr), 10, "rows") as show:
        for done in range(11):
            show(done, MORE, "a note" if done == 4 else "")
    assert stderr.getvalue() == "a note\n"


def test_a_long_job_leaves_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr(progress_bar, "TENTH_INTERVAL", 0.0)
    with progress_bar.progress_bar(choose_output(stdout=io.StringIO(), stderr=stderr), 100, "rows") as show:
        for done in range(101):
            show(done, MORE[:1], "")
    lines = stderr.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "10 of 100 rows · 1:02:03 left"


def test_quiet_says_nothing() -> None:
    stderr = io.StringIO()
    with progress_bar.progress_bar(choose_output(stdout=io.StringIO(), stderr=stderr, quiet=True), 10, "rows") as show:
        show(10, MORE, "a note")
    assert stderr.getvalue() == ""
