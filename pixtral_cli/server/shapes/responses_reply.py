"""Writes replies of OpenAI's Responses API: the response object, or a stream of events numbered from 0."""

import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import BaseModel

from pixtral_cli.chat import engine
from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.streaming import NAMED_EVENTS
from pixtral_cli.server.openai.requests import EngineRequest
from pixtral_cli.server.shapes.responses_schema import (
    InputTokensDetails,
    OutputTokensDetails,
    Response,
    ResponsesRequest,
    ResponseUsage,
)

Event = dict[str, Any]
Kind = Literal["message", "reasoning", "function_call"]
PREFIXES: dict[Kind, str] = {"message": "msg", "reasoning": "rs", "function_call": "fc"}
TEXT_EVENTS: dict[Kind, str] = {
    "message": "response.output_text",
    "reasoning": "response.reasoning_text",
    "function_call": "response.function_call_arguments",
}


class ResponsesReply:
    """Writes one response. Its output items are in order: reasoning (if the model thinks), message, function calls."""

    framing = NAMED_EVENTS

    def __init__(self, request: ResponsesRequest, model: str, engine_request: EngineRequest, _: int) -> None:
        self._response = _new_response(request, model, engine_request.sampling)
        self._output: list[dict[str, Any]] = []
        self._text = ""  # the text of the open item
        self._open: Kind | None = None
        self._number = 0
        self._call = -1  # the index of the open call

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """See `Reply`: the response object."""
        for chunk in chunks:
            self.piece(chunk)
        return self._response.model_dump()

    def begin(self) -> list[Event]:
        """See `Reply`: the events of a response without output."""
        return [
            self._event("response.created", response=self._response.model_dump()),
            self._event("response.in_progress", response=self._response.model_dump()),
        ]

    def piece(self, chunk: Chunk) -> list[Event]:
        """See `Reply`."""
        return [*self._chunk_events(chunk), *(self._end_events(chunk) if chunk.finish_reason else ())]

    def error(self, error: ApiError) -> list[Event]:
        """See `Reply`: the events of a failed response."""
        failed = {"status": "failed", "error": {"code": "server_error", "message": error.message}}
        response = self._response.model_dump() | failed | {"output": self._output}
        return [
            self._event("error", code=error.code, message=error.message, param=error.param),
            self._event("response.failed", response=response),
        ]

    def _chunk_events(self, chunk: Chunk) -> Iterator[Event]:
        if chunk.reasoning:
            yield from self._write("reasoning", chunk.reasoning)
        if chunk.text:
            yield from self._write("message", chunk.text)
        for piece in chunk.tool_calls:
            if piece.index != self._call:
                self._call = piece.index
                yield from self._close_item("completed")
                yield from self._open_item("function_call", call_id=piece.id, name=piece.name, arguments="")
            if piece.arguments:
                yield from self._write("function_call", piece.arguments)

    def _end_events(self, chunk: Chunk) -> Iterator[Event]:
        truncated = chunk.finish_reason == "length"
        if not any(item["type"] in ("message", "function_call") for item in self._output):
            yield from self._write("message", "")  # an empty answer is a message, too
        yield from self._close_item("incomplete" if truncated else "completed")
        end = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        done = end if truncated else {"status": "completed", "completed_at": int(time.time())}
        usage = _usage(chunk.usage or engine.Usage())
        self._response = Response.model_validate(
            {**self._response.model_dump(), **done, "output": self._output, "usage": usage}
        )
        name = "response.incomplete" if truncated else "response.completed"
        yield self._event(name, response=self._response.model_dump())

    def _write(self, kind: Kind, text: str) -> Iterator[Event]:
        if self._open != kind:
            yield from self._close_item("completed")
            yield from self._open_item(kind)
        self._text += text
        if not text:
            return
        if kind == "function_call":
            yield self._call_event("delta", delta=text)
        else:
            yield self._part_event(f"{TEXT_EVENTS[kind]}.delta", delta=text, **_logprobs(kind))

    def _open_item(self, kind: Kind, **fields: Any) -> Iterator[Event]:
        self._open, self._text = kind, ""
        item: dict[str, Any] = {"id": f"{PREFIXES[kind]}_{uuid.uuid4().hex}", "type": kind, "status": "in_progress"}
        if kind == "message":
            item |= {"role": "assistant", "content": []}
        elif kind == "reasoning":
            item |= {"summary": [], "content": []}
        self._output.append(item | fields)
        yield self._item_event("response.output_item.added")
        if kind != "function_call":
            yield self._part_event("response.content_part.added", part=_content_part(kind, ""))

    def _close_item(self, status: str) -> Iterator[Event]:
        kind, self._open = self._open, None
        if kind == "function_call":
            self._output[-1] |= {"status": status, "arguments": self._text}
            yield self._call_event("done", arguments=self._text, name=self._output[-1]["name"])
        elif kind:
            part = _content_part(kind, self._text)
            yield self._part_event(f"{TEXT_EVENTS[kind]}.done", text=self._text, **_logprobs(kind))
            yield self._part_event("response.content_part.done", part=part)
            self._output[-1] |= {"status": status, "content": [part]}
        if kind:
            yield self._item_event("response.output_item.done")

    def _call_event(self, end: str, **more: Any) -> Event:
        place = {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}
        return self._event(f"{TEXT_EVENTS['function_call']}.{end}", **place, **more)

    def _item_event(self, kind: str) -> Event:
        return self._event(kind, output_index=len(self._output) - 1, item=dict(self._output[-1]))

    def _part_event(self, kind: str, **more: Any) -> Event:
        place = {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1, "content_index": 0}
        return self._event(kind, **place, **more)

    def _event(self, kind: str, **more: Any) -> Event:
        number, self._number = self._number, self._number + 1
        return {"type": kind, "sequence_number": number, **more}


def _content_part(kind: Kind, text: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _logprobs(kind: Kind) -> dict[str, Any]:
    return {"logprobs": []} if kind == "message" else {}


def _new_response(request: ResponsesRequest, model: str, sampling: Sampling) -> Response:
    format = request.text.format if request.text else None
    text = {"format": format.model_dump(by_alias=True, exclude_none=True) if format else {"type": "text"}}
    return Response(
        id=f"resp_{uuid.uuid4().hex}",
        created_at=int(time.time()),
        status="in_progress",
        instructions=request.instructions,
        max_output_tokens=request.max_output_tokens,
        max_tool_calls=request.max_tool_calls,
        metadata=request.metadata or {},
        model=model,
        output=[],
        parallel_tool_calls=request.parallel_tool_calls is not False,
        prompt_cache_key=request.prompt_cache_key,
        reasoning={"effort": None, "summary": None},
        safety_identifier=request.safety_identifier,
        service_tier="default",
        temperature=sampling.temperature,
        text=text,
        tool_choice=_plain(request.tool_choice) or "auto",
        tools=[
            {"parameters": None, "strict": True, **tool.model_dump(exclude_none=True)} for tool in request.tools or ()
        ],
        top_p=sampling.top_p,
        user=request.user,
    )


def _plain(choice: Any) -> Any:
    return choice.model_dump() if isinstance(choice, BaseModel) else choice


def _usage(usage: engine.Usage) -> dict[str, Any]:
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputTokensDetails(cached_tokens=usage.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputTokensDetails(reasoning_tokens=usage.reasoning_tokens),
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
    ).model_dump()
