"""Values as tables: which list it is, its columns, and CSV that every reader reads back."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.structured.records import Table, to_csv, to_table
from pixtral_cli.structured.schema import parse
from pixtral_cli.util.sanitize import clean

ROWS = [{"name": "a", "n": 1}, {"name": "b", "n": 2}]


@pytest.mark.parametrize(
    ("value", "schema", "rows", "columns", "beside"),
    [
        (ROWS, None, ROWS, ("name", "n"), ()),
        ([], parse("[name, n:int]"), [], ("name", "n"), ()),
        ([], None, [], ("value",), ()),
        ({"tags": []}, parse("[tags], name"), [], ("tags",), ()),
        ([{"n": 1}, {"m": 2}], None, [{"n": 1}, {"m": 2}], ("n", "m"), ()),
        (ROWS, {"type": "array", "items": {"properties": {"n": {}, "more": {}}}}, ROWS, ("n", "more", "name"), ()),
        ([1, "a"], None, [{"value": 1}, {"value": "a"}], ("value",), ()),
        ({"items": ROWS}, None, ROWS, ("name", "n"), ()),
        ({"shop": "x", "items": ROWS, "tags": ["t"]}, None, ROWS, ("name", "n"), ("shop", "tags")),
        ({"items": [], "tags": []}, parse("items[name, n:int], [tags]"), [], ("name", "n"), ("tags",)),
        ({"tags": ["t", "u"]}, None, [{"tags": "t"}, {"tags": "u"}], ("tags",), ()),
        ({"a": ROWS, "b": ROWS}, None, [{"a": ROWS, "b": ROWS}], ("a", "b"), ()),
        ({"name": "a", "tags": ["t"]}, parse("[tags], name"), [{"name": "a", "tags": ["t"]}], ("tags", "name"), ()),
        (7, None, [{"value": 7}], ("value",), ()),
        (None, None, [{"value": None}], ("value",), ()),
    ],
)
def test_the_list_in_a_value_is_the_table(
    value: Any, schema: Any, rows: Any, columns: tuple[str, ...], beside: tuple[str, ...]
) -> None:
    assert to_table(value, schema) == Table(rows, columns, beside)


def test_columns_of_an_empty_list_are_found_behind_references() -> None:
    line = {"type": "object", "properties": {"name": {}, "n": {}}}
    schema = {
        "properties": {"items": {"$ref": "#/$defs/items"}},
        "$defs": {"items": {"items": {"$ref": "#/$defs/line"}}},
    }
    schema["$defs"]["line"] = line
    assert to_table({"items": []}, schema).columns == ("name", "n")
    assert to_table({"items": []}, {"properties": {"items": {"$ref": "#/properties/items"}}}).columns == ("items",)
    assert to_table([], {"items": {"$ref": "#/no/where"}}).columns == ("value",)


def test_values_are_written_as_in_json() -> None:
    text, guarded = to_csv(
        to_table([{"a": None, "b": True, "c": 1.5, "d": [1, "x"], "e": {"ü": 2}, "f": 'say "a, b"'}])
    )
    assert text == '"a","b","c","d","e","f"\n"","true","1.5","[1, ""x""]","{""ü"": 2}","say ""a, b"""\n'
    assert guarded == 0


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "@SUM(A1)", " =1", "＝1", "+cmd|' /C calc'!A0", "-1+cmd|' /C calc'!A0", '-HYPERLINK("http://x")',
     "=\n1", "+\u202e=1"],
)  # fmt: skip
def test_what_a_spreadsheet_would_run_is_text_to_it(cell: str) -> None:
    text, guarded = to_csv(to_table([{"a": cell, "b": "fine"}]))
    assert next(csv.DictReader(io.StringIO(text, newline="")))["a"] == f"'{clean(cell)}"
    assert guarded == 1


@pytest.mark.parametrize(
    ("cell", "guarded"),
    [
        ("a;=1+1", "a;'=1+1"), ("a\t=1", "a\t'=1"), ("a\n@x", "a\n'@x"), ("a; -1+cmd|x", "a;' -1+cmd|x"), ("\t=1", "'\t'=1"),
        ("=1;=2;b", "'=1;'=2;b"), ("-\n=1|x", "'-\n'=1|x"), ("a;-5;+49 30", "a;-5;+49 30"), ("a,=1", "a,=1"),
    ],
)  # fmt: skip
def test_a_formula_after_what_ends_a_cell_in_some_countries_is_text_too(cell: str, guarded: str) -> None:
    text, count = to_csv(to_table([{"a": cell, "b": [cell]}]))
    row = next(csv.DictReader(io.StringIO(text, newline="")))
    assert row["a"] == guarded
    assert count == (guarded != cell) + (";'=" in row["b"] or ";' -" in row["b"])
    assert ";=" not in text


def test_every_cell_is_quoted_and_a_name_that_is_a_formula_is_none_either() -> None:
    assert to_csv(to_table([{"=1+1": 1}])) == ('"\'=1+1"\n"1"\n', 1)


@pytest.mark.parametrize(
    "cell", ["-5", "+49 (30) 123-45", "-20 °C", "- two", "-", "a=b", "1-2", "a@b.example", "-3.5%"]
)
def test_numbers_telephones_and_dashes_stay_as_they_are(cell: str) -> None:
    assert to_csv(to_table([{"a": cell}])) == (f'"a"\n"{cell}"\n', 0)
    assert to_csv(to_table([{"a": -5}])) == ('"a"\n"-5"\n', 0)


@given(st.lists(st.fixed_dictionaries({"a": st.text(), "b": st.text(min_size=1)}), min_size=1, max_size=4))
def test_every_text_is_read_back_as_it_was_but_for_the_apostrophe(rows: list[dict[str, str]]) -> None:
    text, guarded = to_csv(to_table(rows))
    back = list(csv.DictReader(io.StringIO(text, newline="")))
    changed = 0
    for row, read in zip(rows, back, strict=True):
        for name, said in row.items():
            cell = clean(said)
            changed += read[name] != cell
            assert read[name].replace("'", "") == cell.replace("'", "")
    assert changed == guarded
