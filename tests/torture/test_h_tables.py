"""Torture H: answers that would run as formulas in the spreadsheet that opens them."""

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.batch.csv_rows import answers_as_csv
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.terminal.ask.request import Request
from tests.terminal.output.test_structured import ask

LIST = Request("Read it.", sampling=Sampling(schema={"type": "array"}))

PIECES = [
    "=", "+", "-", "@", "＝", "＋", ";", "\t", "\n", "\r", " ", ",", '"', "'", "1", "a", "=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0",
    '=HYPERLINK("http://evil/")', "-2+3+cmd|' /C calc'!A0", "\u202e", "\x1b", "5;", "-5", "\u200b", "\u00a0",
]  # fmt: skip
hostile = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


def runs(cell: str) -> bool:
    """Whether a spreadsheet may take a cell for a formula."""
    start = cell.lstrip()
    if start[:1] in ("+", "-", "＋", "－"):
        return bool(re.search("[A-Za-z].*[(|!=@]|[(|!=@].*[A-Za-z]", start, re.DOTALL))
    return start[:1] in ("=", "@", "＝", "＠")


def check(text: str) -> None:
    """No cell runs: as its quotes say, and where a semicolon, a tab or a line's end ends it whatever is quoted."""
    rows = list(csv.reader(io.StringIO(text, newline="")))
    for cell in (cell for row in rows for cell in row):
        for part in (cell, *re.split("[;\t\n]", cell)):
            assert not runs(part), (part, text)
    again = io.StringIO()
    csv.writer(again, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    assert text == again.getvalue()  # every cell is in quotes
    assert not re.search("[\0-\x08\x0b-\x1f\x7f\u202a-\u202e]", text)


@given(st.lists(st.fixed_dictionaries({"a": hostile, "b": st.one_of(hostile, st.lists(hostile, max_size=2), st.integers())}), min_size=1, max_size=3))  # fmt: skip
def test_no_cell_of_an_answer_runs_whatever_ends_a_cell(rows: list[dict[str, object]]) -> None:
    check(ask(json.dumps(rows), LIST, layout="csv").out)


@given(answer=hostile, said=hostile, name=hostile, value=hostile)
def test_no_cell_of_a_batch_runs_its_rows_own_columns_included(answer: str, said: str, name: str, value: str) -> None:
    line = {"row": 1, "metadata": {"prompt": said, name or "x": value}, "answer": answer, "value": {name or "x": value}}
    failed = {"row": 2, "metadata": {"prompt": said}, "error": {"message": answer}}
    text, _ = answers_as_csv([json.dumps(line).encode(), json.dumps(failed).encode()])
    check(text)


@pytest.mark.parametrize("said", ["=1+1", "a;=1+1", "a\t@x", "x\n=2", "a; -1+cmd|x"])
def test_a_file_that_is_written_is_guarded_and_the_user_told(tmp_path: Path, said: str) -> None:
    asked = ask(json.dumps([{"colour": said}]), replace(LIST, file=tmp_path / "out.csv"), layout="csv")
    check((tmp_path / "out.csv").read_text())
    assert "it gets an apostrophe" in asked.err
