"""The output line of a row: in OpenAI's batch format for a row in that format, a flat object for a plain row.

A line holds the digests of its row and of the settings, so that a batch can be resumed from its output alone. Only
`created` depends on the time: the same batch gives the same bytes (with SOURCE_DATE_EPOCH set, all of them).
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from pixtral_cli.api import errors
from pixtral_cli.api.logprobs import to_json
from pixtral_cli.api.messages import FieldError
from pixtral_cli.batch.input import InputRow
from pixtral_cli.chat.engine import Usage
from pixtral_cli.chat.whole_answer import WholeAnswer
from pixtral_cli.errors import NetworkError, PixtralError
from pixtral_cli.structured.schema import AnswerMismatch

Shape: TypeAlias = Literal["openai", "plain"]
Encode: TypeAlias = Callable[[Mapping[str, Any]], str]

LINE_KEY = re.compile(rb'\{"(?:id": "batch_req_|row": \d+, "key": ")([0-9a-f]{32})"')
LINE_STARTS = (b'{"id": "batch_req_', b'{"row": ')
ROW_DIGITS, SETTINGS_DIGITS = 20, 12  # hexadecimal digits of a key for the row, and for the settings


@dataclass(frozen=True, slots=True)
class ResultShape:
    """The format of a row's output line, and the fields of the row that are repeated in it."""

    form: Shape
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RowAnswer:
    """An engine's answers to a row, the usage of all. `value`: the parsed JSON, if a schema was asked for, of the one there is."""

    answers: Sequence[WholeAnswer]
    model: str
    usage: Usage
    value: Any = None


@dataclass(frozen=True, slots=True)
class Result:
    """The output line of a row. `error`: why it failed; `outage`: the engine failed, not the row.

    `asked`: the row reached the engine. `model`: the model that the row names, which need not be the one that answers.
    """

    row: InputRow
    line: Mapping[str, Any]
    error: PixtralError | None = None
    asked: bool = True
    outage: bool = False
    model: str = ""


def encode(line: Mapping[str, Any]) -> str:
    """A line as JSON, without its newline."""
    return json.dumps(line, ensure_ascii=False)


def row_key(row: InputRow, settings: str) -> str:
    """The key of a row: digits of its digest and of `settings`, the digest of the settings that all rows share."""
    return row.digest[:ROW_DIGITS] + settings[:SETTINGS_DIGITS]


def success(row: InputRow, key: str, shape: ResultShape, answer: RowAnswer, model: str = "") -> Result:
    """The result of a row that was answered; `model`: the one that the row names."""
    if shape.form == "openai":
        body = _completion(key, answer)
        response = {"status_code": 200, "request_id": f"req_{key}", "body": body}
        return Result(row, _openai_line(key, shape, response, None), model=model)
    first, *others = answer.answers
    line: dict[str, Any] = {"answer": first.text}
    if answer.value is not None:
        line["value"] = answer.value
    line |= {"model": answer.model, "finish_reason": first.finish_reason}
    if first.logprobs:
        line["logprobs"] = to_json(first.logprobs)
    if others:
        line["answers"] = [_plain_answer(one) for one in answer.answers]
    line |= {
        "usage": _token_counts(answer.usage)
        | {"image_tokens": answer.usage.image_tokens, "reasoning_tokens": answer.usage.reasoning_tokens},
    }
    return Result(row, _plain_line(row, key, shape, line, None))


def _plain_answer(one: WholeAnswer) -> dict[str, Any]:
    logprobs = {"logprobs": to_json(one.logprobs)} if one.logprobs else {}
    return {"answer": one.text, "finish_reason": one.finish_reason, **logprobs}


def failure(
    row: InputRow,
    key: str,
    shape: ResultShape,
    error: PixtralError,
    *,
    asked: bool,
    outage: bool = False,
    structured: bool = False,
) -> Result:
    """The result of a row that failed; it has the fields of a success, with null. `structured`: a schema was asked for.

    `asked`: the row reached the engine, so the error is the engine's.
    """
    status, error_object = _error_object(error, asked)
    no_answer = {
        "answer": None,
        **({"value": None} if structured else {}),
        "model": None,
        "finish_reason": None,
        "usage": None,
    }
    if shape.form == "plain":
        return Result(row, _plain_line(row, key, shape, no_answer, error_object), error, asked, outage)
    body = {"status_code": status, "request_id": f"req_{key}", "body": {"error": error_object}}
    response = body if "custom_id" in shape.fields else None  # a line that is no request gets no response
    short = {"code": error_object["code"], "message": error_object["message"]}
    return Result(row, _openai_line(key, shape, response, short), error, asked, outage)


def _error_object(error: PixtralError, asked: bool) -> tuple[int, dict[str, Any]]:
    """The HTTP status and the error object that OpenAI's API would answer with."""
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


def _openai_line(key: str, shape: ResultShape, response: Any, error: Any) -> dict[str, Any]:
    custom_id = shape.fields.get("custom_id")
    return {"id": f"batch_req_{key}", "custom_id": custom_id, "response": response, "error": error}


def _plain_line(
    row: InputRow, key: str, shape: ResultShape, answer_fields: Mapping[str, Any], error: Any
) -> dict[str, Any]:
    return {"row": row.number, "key": key, **shape.fields, **answer_fields, "error": error}


def _completion(key: str, answer: RowAnswer) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": one.text, "refusal": None},
            "logprobs": to_json(one.logprobs),
            "finish_reason": "length" if one.finish_reason == "length" else "stop",
        }
        for index, one in enumerate(answer.answers)
    ]
    details = {
        "prompt_tokens_details": {"image_tokens": answer.usage.image_tokens},
        "completion_tokens_details": {"reasoning_tokens": answer.usage.reasoning_tokens},
    }
    return {
        "id": f"chatcmpl-{key}",
        "object": "chat.completion",
        "created": int(os.environ.get("SOURCE_DATE_EPOCH") or time.time()),
        "model": answer.model,
        "choices": choices,
        "usage": _token_counts(answer.usage) | details,
    }


def _token_counts(usage: Usage) -> dict[str, int]:
    """OpenAI's token counts, without cached tokens, which differ from run to run."""
    total = usage.prompt_tokens + usage.completion_tokens
    return {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens, "total_tokens": total}
