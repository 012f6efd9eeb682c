"""A JSON value as records, and records as CSV."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pixtral_cli.util.sanitize import clean

VALUE_COLUMN = "value"  # the column of values that are no objects
# What a spreadsheet would run: a formula may begin with a sign too, but so do numbers, telephone numbers and temperatures.
# In some countries spreadsheets take a semicolon or a tab for the end of a cell, whatever is quoted.
_CELL_ENDS = re.compile(r"([;\t\n])")
FORMULA = re.compile(r"\s*(?:[=@＝＠]|[-+－＋](?![\d\s.,:()/-]*\Z)(?=.*[(|!=@]))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Table:
    """Records, the names in them in order, and the names of what is beside the records in the value."""

    rows: Sequence[dict[str, Any]]
    columns: tuple[str, ...]
    beside: tuple[str, ...] = ()


def to_table(value: Any, schema: dict[str, Any] | None = None) -> Table:
    """A list is its items. An object is the one list of objects in it, or the one list that is all of it, or one record.

    The schema gives columns their order, and an empty list its columns.
    """
    schema = _resolved(schema or {}, schema or {})
    if isinstance(value, list):
        return _table_of_list(value, VALUE_COLUMN, schema, schema)
    if not isinstance(value, dict):
        return Table([{VALUE_COLUMN: value}], (VALUE_COLUMN,))
    lists = [name for name, item in value.items() if isinstance(item, list)]
    candidates = [name for name in lists if len(value) == 1 or _holds_objects(value[name], name, schema)]
    if len(candidates) != 1:
        return _table_of_objects([value], schema, schema)
    name = candidates[0]
    listed = _table_of_list(value[name], name, _property(schema, name, schema), schema)
    return Table(listed.rows, listed.columns, tuple(other for other in value if other != name))


def to_csv(records: Table) -> tuple[str, int]:
    """CSV with a line of names, and how many cells were given an apostrophe lest a spreadsheet take them for formulas.

    Every cell is quoted, and has nothing in it that acts on a terminal. Values other than text are as in JSON, also those
    within values; null is an empty cell.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    guarded = 0
    rows: list[list[Any]] = [[row.get(name) for name in records.columns] for row in records.rows]
    for row in [list(records.columns), *rows]:
        texts = [_cell(value) for value in row]
        cells = [
            text if isinstance(value, int | float) else _guarded(text) for value, text in zip(row, texts, strict=True)
        ]
        writer.writerow(cells)
        guarded += sum(cell != text for cell, text in zip(cells, texts, strict=True))
    return file.getvalue(), guarded


def _guarded(text: str) -> str:
    """The text with an apostrophe before each part that a spreadsheet would run."""
    first, *rest = _CELL_ENDS.split(text)
    return "".join(
        [f"'{first}" if FORMULA.match(text) else first, *(f"'{part}" if FORMULA.match(part) else part for part in rest)]
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _table_of_list(items: list[Any], name: str, schema: dict[str, Any], root: dict[str, Any]) -> Table:
    inner = _resolved(schema.get("items"), root)
    if all(isinstance(item, dict) for item in items) and (items or inner.get("properties")):
        return _table_of_objects(items, inner, root)
    return Table([{name: item} for item in items], (name,))


def _table_of_objects(rows: Sequence[dict[str, Any]], schema: dict[str, Any], root: dict[str, Any]) -> Table:
    properties = _resolved(schema, root).get("properties")
    declared = list(properties) if isinstance(properties, dict) else []
    return Table(rows, tuple(dict.fromkeys([*declared, *(name for row in rows for name in row)])))


def _holds_objects(items: list[Any], name: str, schema: dict[str, Any]) -> bool:
    if items:
        return all(isinstance(item, dict) for item in items)
    inner = _resolved(_property(schema, name, schema).get("items"), schema)
    return inner.get("type") == "object" or "properties" in inner


def _property(schema: dict[str, Any], name: str, root: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    return _resolved(properties.get(name), root) if isinstance(properties, dict) else {}


def _resolved(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """The schema to which a `$ref` into `root` refers; an empty one for any other reference."""
    for _ in range(8):
        if not isinstance(schema, dict):
            break
        if not isinstance(reference := schema.get("$ref"), str):
            return schema
        schema = root
        for step in reference.removeprefix("#").split("/")[1:]:
            schema = schema.get(step) if isinstance(schema, dict) else None
    return {}
