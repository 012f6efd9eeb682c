"""The JSON schema in a request's `response_format`: checked and compiled before the request is queued."""

import asyncio
import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pixtral_cli.engines.local.generation.grammar import compile_schema, is_compiled
from pixtral_cli.engines.local.generation.schema_process import Cancelled
from pixtral_cli.errors import UsageError
from pixtral_cli.server.http.errors import ApiError, queue_full
from pixtral_cli.server.openai.request_schema import ResponseFormat
from pixtral_cli.structured.schema_check import check
from pixtral_cli.structured.schema_limits import check_limits, is_simple

MAX_CHARACTERS = 40_000
MAX_COMPILING = 4  # large schemas at a time
FIELD = "response_format"
_pool = ThreadPoolExecutor(MAX_COMPILING, "schema")  # separate, so that requests without a large schema do not wait
_compiling = 0


async def response_schema(requested: ResponseFormat | None, *, trusted: bool = False) -> dict[str, Any] | None:
    """The schema, or None for a text. `trusted`: the client has checked it, and the engine will compile it.

    Raises ApiError 400 for a schema that is invalid or cannot be enforced, 503 while too many large ones are compiled.
    """
    schema = _requested_schema(requested)
    if schema is None or trusted:
        return schema
    try:
        if len(json.dumps(schema)) > MAX_CHARACTERS:
            raise UsageError(
                f"The schema is larger than {MAX_CHARACTERS // 1000} kB",
                "Leave out descriptions, or ask in several requests",
            )
        check_limits(schema)
        if is_simple(schema):
            await asyncio.to_thread(lambda: compile_schema(check(schema)))
        elif not is_compiled(schema):
            await _compile_large(schema)
    except (UsageError, RecursionError) as error:
        why = error.message if isinstance(error, UsageError) else "The schema nests too deep"
        raise ApiError(400, f"{FIELD}: {why}.", param=FIELD, code="invalid_json_schema") from None
    return schema


def _requested_schema(requested: ResponseFormat | None) -> dict[str, Any] | None:
    if requested is None or requested.type == "text":
        return None
    if requested.type == "json_object":
        return {"type": "object"}
    if requested.json_schema is None:
        field = f"{FIELD}.json_schema"
        raise ApiError(400, f"Missing required parameter: {field}", param=field, code="missing_required_parameter")
    schema = requested.json_schema.schema_
    return {"type": "object"} if schema is None else schema


async def _compile_large(schema: dict[str, Any]) -> None:
    """Compile a schema that is not simple; cancelling the request cancels it. Raises UsageError, ApiError 503."""
    global _compiling
    if _compiling >= MAX_COMPILING:
        raise queue_full(5)
    cancelled = threading.Event()
    _compiling += 1
    work = asyncio.get_running_loop().run_in_executor(_pool, compile_schema, schema, cancelled)
    try:
        await asyncio.shield(work)
    finally:
        cancelled.set()
        with contextlib.suppress(Cancelled, UsageError):
            await work
        _compiling -= 1
