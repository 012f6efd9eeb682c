"""A line of the output: an answer or an error, in OpenAI's shape for a request of that shape, flat for a plain row.

Which row it answers, and how that was asked, it says itself, so that a batch can go on from its output alone. Nothing in
it but `created` comes from a clock: the same batch gives the same bytes (with SOURCE_DATE_EPOCH set, all of them).
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pixtral_cli.api import errors
from pixtral_cli.api.messages import FieldError
from pixtral_cli.batch.input import InputRow
from pixtral_cli.chat.engine import FinishReason, Usage
from pixtral_cli.errors import NetworkError, PixtralError
from pixtral_cli.structured.schema import AnswerMismatch

Shape: TypeAlias = Literal["openai", "plain"]
Encode: TypeAlias = Callable[[Mapping[str, Any]], str]

LINE_KEY = re.compile(rb'\{"(?:id": "batch_req_|row": \d+, "key": ")([0-9a-f]{32})"')
LINE_STARTS = (b'{"id": "batch_req_', b'{"row": ')
ROW_DIGITS, SETTINGS_DIGITS = 20, 12  # hexadecimal digits of a key that tell the row, and how it was asked


@dataclass(frozen=True, slots=True)
class ResultShape:
    """In which shape a row is answered, and what of it is repeated so that it can be told from others."""

    form: Shape
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """What an engine said to a row. `value` is what its JSON means, where a schema was wanted."""

    text: str
    model: str
    finish_reason: FinishReason
    usage: Usage
    value: Any = None


@dataclass(frozen=True, slots=True)
class Result:
    """A row's line, as JSON. `error` is why it failed; an `outage` is the engine's failure and not the row's.

    `asked`: the engine had it. `model` is the one that the row asked for, which need not be the one that answers.
    """

    row: int
    line: Mapping[str, Any]
    error: PixtralError | None = None
    asked: bool = True
    outage: bool = False
    model: str = ""


def encode(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False)


def row_key(row: InputRow, settings: str) -> str:
    """Names a row and how it was asked; `settings` is the digest of what holds for all rows."""
    return row.digest[:ROW_DIGITS] + settings[:SETTINGS_DIGITS]


def success(row: InputRow, named: str, label: ResultShape, answer: RowAnswer, model: str = "") -> Result:
    """The line of an answer to a row that asked for `model`."""
    if label.form == "openai":
        body = _completion(named, answer)
        response = {"status_code": 200, "request_id": f"req_{named}", "body": body}
        return Result(row.number, _openai_line(named, label, response, None), model=model)
    line: dict[str, Any] = {"answer": answer.text}
    if answer.value is not None:
        line["value"] = answer.value
    line |= {
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "usage": _token_counts(answer.usage) | {"image_tokens": answer.usage.image_tokens},
    }
    return Result(row.number, _plain_line(row, named, label, line, None))


def failure(
    row: InputRow, named: str, label: ResultShape, error: PixtralError, *, asked: bool, outage: bool = False
) -> Result:
    """The line of a row without an answer. `asked`: the engine had it already, so that it is the engine's error."""
    status, told = _error_object(error, asked)
    if label.form == "plain":
        return Result(row.number, _plain_line(row, named, label, {"answer": None}, told), error, asked, outage)
    body = {"status_code": status, "request_id": f"req_{named}", "body": {"error": told}}
    response = body if "custom_id" in label.fields else None  # what is no request has no response
    short = {"code": told["code"], "message": told["message"]}
    return Result(row.number, _openai_line(named, label, response, short), error, asked, outage)


def _error_object(error: PixtralError, asked: bool) -> tuple[int, dict[str, Any]]:
    """Status and OpenAI's error object."""
    status, kind, code = errors.API_ERRORS[errors.known_class(error)]
    if isinstance(error, NetworkError) and not asked:
        status, kind, code = errors.UNREACHABLE
    stop = "" if not error.hint or error.message.endswith((".", "!", "?")) else "."
    message = f"{error.message}{stop} {error.hint}".rstrip()
    param = None
    if isinstance(error, AnswerMismatch):
        code = "invalid_answer"
    if isinstance(error, FieldError):
        param, code = (error.field, code) if error.field else (None, "invalid_json_line")
    return status, {"message": message, "type": kind, "param": param, "code": code}


def _openai_line(named: str, label: ResultShape, response: Any, error: Any) -> dict[str, Any]:
    custom_id = label.fields.get("custom_id")
    return {"id": f"batch_req_{named}", "custom_id": custom_id, "response": response, "error": error}


def _plain_line(row: InputRow, named: str, label: ResultShape, said: Mapping[str, Any], error: Any) -> dict[str, Any]:
    return {"row": row.number, "key": named, **label.fields, **said, "error": error}


def _completion(named: str, answer: RowAnswer) -> dict[str, Any]:
    message = {"role": "assistant", "content": answer.text, "refusal": None}
    reason = "length" if answer.finish_reason == "length" else "stop"
    images = {"prompt_tokens_details": {"image_tokens": answer.usage.image_tokens}}
    return {
        "id": f"chatcmpl-{named}",
        "object": "chat.completion",
        "created": int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()),
        "model": answer.model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        "usage": _token_counts(answer.usage) | images,
    }


def _token_counts(usage: Usage) -> dict[str, int]:
    """What the answer cost. How much of it was cached hangs on what was asked before, and is left out."""
    total = usage.prompt_tokens + usage.completion_tokens
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "total_tokens": total}
