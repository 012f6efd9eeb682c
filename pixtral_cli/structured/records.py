"""Converts a JSON value to records, and records to CSV."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pixtral_cli.util.sanitize import clean

VALUE_COLUMN = "value"  # the column of values that are no objects
# In some locales spreadsheets take a semicolon or a tab for the end of a cell, even inside quotes.
_CELL_ENDS = re.compile(r"([;\t\n])")
# A cell that a spreadsheet would run. A formula may begin with a sign, but so may numbers, telephone numbers and temperatures.
FORMULA = re.compile(r"\s*(?:[=@＝＠]|[-+－＋](?![\d\s.,:()/-]*\Z)(?=.*[(|!=@]))", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Table:
    """Records, their columns in order, and the keys of the value that hold no records."""

    rows: Sequence[dict[str, Any]]
    columns: tuple[str, ...]
    other_keys: tuple[str, ...] = ()


def to_table(value: Any, schema: dict[str, Any] | None = None) -> Table:
    """The records of a JSON value.

    The records of a list are its items. Those of an object are the items of its only list of objects, or of the list
    that is its only value; any other object is one record. The schema orders the columns, and gives an empty list its
    columns.
    """
    schema = _resolved(schema or {}, schema or {})
    if isinstance(value, list):
        return _table_of_list(value, VALUE_COLUMN, schema, schema)
    if not isinstance(value, dict):
        return Table([{VALUE_COLUMN: value}], (VALUE_COLUMN,))
    lists = [name for name, item in value.items() if isinstance(item, list)]
    candidates = [name for name in lists if len(value) == 1 or _is_list_of_objects(value[name], name, schema)]
    if len(candidates) != 1:
        return _table_of_objects([value], schema, schema)
    name = candidates[0]
    listed = _table_of_list(value[name], name, _property(schema, name, schema), schema)
    return Table(listed.rows, listed.columns, tuple(other for other in value if other != name))


def to_csv(records: Table) -> tuple[str, int]:
    """CSV with a header line, and the number of cells that got an apostrophe so that no spreadsheet runs them as formulas.

    Every cell is quoted and free of terminal control characters. Values other than strings are written as JSON; null is
    an empty cell.
    """
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    escaped = 0
    rows: list[list[Any]] = [[row.get(name) for name in records.columns] for row in records.rows]
    for row in [list(records.columns), *rows]:
        texts = [_cell(value) for value in row]
        cells = [
            text if isinstance(value, int | float) else _escape_formulas(text)
            for value, text in zip(row, texts, strict=True)
        ]
        writer.writerow(cells)
        escaped += sum(cell != text for cell, text in zip(cells, texts, strict=True))
    return file.getvalue(), escaped


def _escape_formulas(text: str) -> str:
    """The text with an apostrophe before each part that a spreadsheet would run as a formula."""
    first, *rest = _CELL_ENDS.split(text)
    return "".join(
        [f"'{first}" if FORMULA.match(text) else first, *(f"'{part}" if FORMULA.match(part) else part for part in rest)]
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return clean(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _table_of_list(items: list[Any], name: str, schema: dict[str, Any], root: dict[str, Any]) -> Table:
    item_schema = _resolved(schema.get("items"), root)
    if all(isinstance(item, dict) for item in items) and (items or item_schema.get("properties")):
        return _table_of_objects(items, item_schema, root)
    return Table([{name: item} for item in items], (name,))


def _table_of_objects(rows: Sequence[dict[str, Any]], schema: dict[str, Any], root: dict[str, Any]) -> Table:
    properties = _resolved(schema, root).get("properties")
    declared = list(properties) if isinstance(properties, dict) else []
    return Table(rows, tuple(dict.fromkeys([*declared, *(name for row in rows for name in row)])))


def _is_list_of_objects(items: list[Any], name: str, schema: dict[str, Any]) -> bool:
    if items:
        return all(isinstance(item, dict) for item in items)
    item_schema = _resolved(_property(schema, name, schema).get("items"), schema)
    return item_schema.get("type") == "object" or "properties" in item_schema


def _property(schema: dict[str, Any], name: str, root: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    return _resolved(properties.get(name), root) if isinstance(properties, dict) else {}


def _resolved(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or the target of its `$ref` in `root`; an empty schema for a reference that leads elsewhere."""
    for _ in range(8):
        if not isinstance(schema, dict):
            break
        if not isinstance(reference := schema.get("$ref"), str):
            return schema
        schema = root
        for step in reference.removeprefix("#").split("/")[1:]:
            schema = schema.get(step) if isinstance(schema, dict) else None
    return {}
