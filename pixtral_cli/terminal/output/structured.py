"""Validates an answer against its schema, and formats it as JSON, CSV or one record a line."""

import json
from typing import Any, Literal

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.structured import schema as schemas
from pixtral_cli.structured.records import Table, to_csv, to_table
from pixtral_cli.structured.schema import AnswerMismatch
from pixtral_cli.terminal.output.output import Output, dumps
from pixtral_cli.terminal.output.render import Answer, as_json, truncation_hint

Layout = Literal["", "csv", "records"]


def structured_text(answer: Answer, sampling: Sampling, layout: Layout, out: Output, *, file: bool) -> str:
    """The text to write, its last line complete. It is not sanitised for a terminal. `file`: it goes to a file.

    Raises AnswerMismatch when the answer does not satisfy the schema.
    """
    assert sampling.schema is not None
    encoding = "utf-8" if file else out.stdout.encoding
    value = _checked_value(answer, sampling)
    if layout:
        table = to_table(value, sampling.schema)
        if table.other_keys:
            out.note(f"Not in the table: {', '.join(table.other_keys)} (--format json has all)")
        return _csv_text(table, out) if layout == "csv" else "".join(f"{dumps(row, encoding)}\n" for row in table.rows)
    if out.format != "text":
        return dumps(as_json(answer, out) | {"parsed": value}, encoding) + "\n"
    if not file and out.stdout.isatty():
        return json.dumps(value, indent=2, ensure_ascii=(encoding or "").lower() != "utf-8") + "\n"
    return dumps(value, encoding) + "\n"


def describe_schema(schema: dict[str, Any]) -> str:
    """A short description of a schema, such as `a list of name, price`."""
    items = schema.get("items") if schema.get("type") == "array" else None
    item_schema = items if isinstance(items, dict) else schema
    names = ", ".join(item_schema.get("properties", ())) or str(item_schema.get("type", "any JSON"))
    return f"a list of {names}" if items else names


def _checked_value(answer: Answer, sampling: Sampling) -> Any:
    assert sampling.schema is not None
    try:
        return schemas.validate(answer.text, sampling.schema, truncated=answer.finish_reason == "length")
    except AnswerMismatch as error:
        if answer.finish_reason == "length":
            error.hint = truncation_hint(answer, sampling.max_tokens)
        if error.hint:
            raise
        stop_hint = "A --stop string may have cut it: leave that out"
        hint = stop_hint if sampling.stop else "Whoever answered does not hold its answers to schemas"
        raise AnswerMismatch(error.message, hint) from None


def _csv_text(table: Table, out: Output) -> str:
    text, escaped_cells = to_csv(table)
    if escaped_cells:
        cells = "A cell begins" if escaped_cells == 1 else f"{escaped_cells} cells begin"
        out.note(f"{cells} like a formula; it gets an apostrophe, so that no spreadsheet runs it")
    return text
