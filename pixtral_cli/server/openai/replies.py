"""Builds the replies of `/v1/chat/completions` from an answer's chunks, whole or as a stream."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from pixtral_cli.chat import engine, tools
from pixtral_cli.chat.tools import ToolCallCollector
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.streaming import DATA_EVENTS
from pixtral_cli.server.openai.reply_schema import (
    Choice,
    Completion,
    FinishReason,
    FunctionCall,
    Logprobs,
    ResponseMessage,
    ToolCall,
    Usage,
)


class ReplyBuilder:
    """Builds the JSON objects of one reply, which share id, time and model.

    `usage`: where the usage is in a stream: in a chunk of its own (apart), in the last chunk (last) or nowhere.
    """

    framing = DATA_EVENTS

    def __init__(self, model: str, *, usage: Literal["apart", "last", "nowhere"] = "nowhere") -> None:
        self._usage = usage
        self._started: set[int] = set()  # answers whose role has been sent
        self._common: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, chunks: Sequence[engine.Chunk]) -> dict[str, Any]:
        """The complete reply as one object."""
        last = chunks[-1]
        count = 1 + max(chunk.index for chunk in chunks)
        choices = [_choice(index, [chunk for chunk in chunks if chunk.index == index]) for index in range(count)]
        usage = Usage.of(last.usage or engine.Usage())
        return Completion(choices=choices, usage=usage, timings=_timings(last), **self._common).model_dump()

    def begin(self) -> list[dict[str, Any]]:
        """Nothing: `piece` sends the role of each answer before its first chunk."""
        return []

    def piece(self, chunk: engine.Chunk) -> list[dict[str, Any]]:
        """The objects for a chunk: the answer's role before its first one, the finish reason after its last one."""
        objects = []
        if chunk.index not in self._started:
            self._started.add(chunk.index)
            objects.append(self._chunk(chunk, {"role": "assistant", "content": ""}))
        if chunk.reasoning:
            objects.append(self._chunk(chunk, {"reasoning_content": chunk.reasoning}))
        if chunk.text or chunk.logprobs:
            logprobs = Logprobs.of(chunk.logprobs)
            objects.append(self._chunk(chunk, {"content": chunk.text}, logprobs))
        if chunk.tool_calls:
            objects.append(
                self._chunk(chunk, {"tool_calls": [_call_delta(piece) for piece in _merged(chunk.tool_calls)]})
            )
        return [*objects, *self._last(chunk)] if chunk.finish_reason else objects

    def error(self, error: ApiError) -> list[dict[str, Any]]:
        """OpenAI's error object."""
        return [error.body]

    def _last(self, chunk: engine.Chunk) -> list[dict[str, Any]]:
        """The object with the finish reason; with that of the last answer, timings and usage."""
        last = self._chunk(chunk, {}, reason=_finish_reason(chunk))
        if chunk.stop:
            last["choices"][0]["stop_reason"] = chunk.stop
        if chunk.usage is None:
            return [last]
        last["timings"] = _timings(chunk)
        usage = {"usage": Usage.of(chunk.usage).model_dump()}
        if self._usage == "last":
            return [last | usage]
        return [last, self._chunk(chunk, {}) | {"choices": []} | usage] if self._usage == "apart" else [last]

    def _chunk(
        self,
        chunk: engine.Chunk,
        delta: dict[str, Any],
        logprobs: Logprobs | None = None,
        reason: FinishReason | None = None,
    ) -> dict[str, Any]:
        logprobs_json = logprobs and logprobs.model_dump()
        choice = {"index": chunk.index, "delta": delta, "finish_reason": reason, "logprobs": logprobs_json}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}


def _choice(index: int, chunks: Sequence[engine.Chunk]) -> Choice:
    """The choice that an answer's chunks make."""
    text, reasoning = ("".join(getattr(chunk, kind) for chunk in chunks) for kind in ("text", "reasoning"))
    logprobs = Logprobs.of([token for chunk in chunks for token in chunk.logprobs])
    collector = ToolCallCollector()
    for chunk in chunks:
        collector.add(chunk.tool_calls)
    calls = [ToolCall(id=call.id, function=_function_call(call)) for call in collector.calls] or None
    message = ResponseMessage(
        content=None if calls and not text else text, tool_calls=calls, reasoning_content=reasoning or None
    )
    last = chunks[-1]
    return Choice(
        index=index, message=message, finish_reason=_finish_reason(last), stop_reason=last.stop or None,
        logprobs=logprobs,
    )  # fmt: skip


def _function_call(call: tools.ToolCall | tools.ToolCallDelta) -> FunctionCall:
    return FunctionCall(name=call.name, arguments=call.arguments)


def _merged(pieces: Sequence[tools.ToolCallDelta]) -> list[tools.ToolCallDelta]:
    """The pieces with successive ones of one call joined: some clients take each entry of a chunk for a call of its own."""
    merged: list[tools.ToolCallDelta] = []
    for piece in pieces:
        if merged and merged[-1].index == piece.index and not piece.id:
            merged[-1] = replace(merged[-1], arguments=merged[-1].arguments + piece.arguments)
        else:
            merged.append(piece)
    return merged


def _call_delta(piece: tools.ToolCallDelta) -> dict[str, Any]:
    """The JSON of a piece of a call. Later pieces have an empty name, which La Plateforme's SDK requires."""
    if not piece.id:
        return {"index": piece.index, "function": _function_call(piece).model_dump()}
    return {"index": piece.index} | ToolCall(id=piece.id, function=_function_call(piece)).model_dump()


def _finish_reason(chunk: engine.Chunk) -> FinishReason:
    return chunk.finish_reason if chunk.finish_reason in ("length", "tool_calls") else "stop"


def _timings(chunk: engine.Chunk) -> dict[str, float]:
    return asdict(chunk.timings or engine.Timings())
