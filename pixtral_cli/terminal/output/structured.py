"""An answer under a schema: checked against it, and written as JSON, CSV or a record a line."""

import json
from typing import Any, Literal

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.structured import schema as schemas
from pixtral_cli.structured.records import Table, to_csv, to_table
from pixtral_cli.structured.schema import AnswerMismatch
from pixtral_cli.terminal.output.output import Output, dumps
from pixtral_cli.terminal.output.render import Answer, as_json, cut_hint

Layout = Literal["", "csv", "records"]


def structured_text(given: Answer, sampling: Sampling, layout: Layout, out: Output, *, file: bool) -> str:
    """The whole of what leaves, its last line complete; who puts it on a terminal cleans it.

    Raises AnswerMismatch when the answer does not satisfy the schema.
    """
    assert sampling.schema is not None
    encoding = "utf-8" if file else out.stdout.encoding
    value = _checked_value(given, sampling)
    if layout:
        table = to_table(value, sampling.schema)
        if table.beside:
            out.note(f"Not in the table: {', '.join(table.beside)} (--format json has all)")
        return _csv_text(table, out) if layout == "csv" else "".join(f"{dumps(row, encoding)}\n" for row in table.rows)
    if out.format != "text":
        return dumps(as_json(given, out) | {"parsed": value}, encoding) + "\n"
    if not file and out.stdout.isatty():
        return json.dumps(value, indent=2, ensure_ascii=(encoding or "").lower() != "utf-8") + "\n"
    return dumps(value, encoding) + "\n"


def describe_schema(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    items = schema.get("items") if schema.get("type") == "array" else None
    inner = items if isinstance(items, dict) else schema
    names = ", ".join(inner.get("properties", ())) or str(inner.get("type", "any JSON"))
    return f"a list of {names}" if items else names


def _checked_value(given: Answer, sampling: Sampling) -> Any:
    assert sampling.schema is not None
    try:
        return schemas.validate(given.text, sampling.schema, cut=given.finish_reason == "length")
    except AnswerMismatch as error:
        if given.finish_reason == "length":
            error.hint = cut_hint(given, sampling.max_tokens)
        if error.hint:
            raise
        stopped = "A --stop string may have cut it: leave that out"
        hint = stopped if sampling.stop else "Whoever answered does not hold its answers to schemas"
        raise AnswerMismatch(error.message, hint) from None


def _csv_text(table: Table, out: Output) -> str:
    text, guarded = to_csv(table)
    if guarded:
        cells = "A cell begins" if guarded == 1 else f"{guarded} cells begin"
        out.note(f"{cells} like a formula; it gets an apostrophe, so that no spreadsheet runs it")
    return text
