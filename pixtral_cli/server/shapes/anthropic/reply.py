"""Writes replies of Anthropic's Messages API: the message, or its events from `message_start` to `message_stop`."""

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pixtral_cli.chat import engine
from pixtral_cli.chat.engine import Chunk
from pixtral_cli.chat.tools import ToolCallDelta
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.streaming import NAMED_EVENTS
from pixtral_cli.server.openai.requests import EngineRequest
from pixtral_cli.server.shapes.anthropic.schema import Message, MessageUsage
from pixtral_cli.server.shapes.error_shapes import anthropic_error

Event = dict[str, Any]
Kind = Literal["text", "thinking", "tool_use"]


class AnthropicReply:
    """Writes one message. Its blocks are in order: thinking (if the model thinks), text, tool calls."""

    framing = NAMED_EVENTS

    def __init__(self, model: str, request: EngineRequest, prompt_tokens: int) -> None:
        self._message: dict[str, Any] = {
            "id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": None, "stop_sequence": None,
            "usage": _usage(engine.Usage(prompt_tokens=prompt_tokens)),
        }  # fmt: skip
        self._blocks: list[dict[str, Any]] = []
        self._open: Kind | None = None
        self._call = -1  # the index of the open call
        self._arguments: dict[int, str] = {}  # the JSON text of a call, by the index of its block

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """See `Reply`: the message object."""
        for chunk in chunks:
            self.piece(chunk)
        last = chunks[-1]
        for index, arguments in self._arguments.items():
            self._blocks[index]["input"] = _parse_arguments(arguments)
        end = _stop_fields(last) | {"usage": _usage(last.usage or engine.Usage())}
        return Message.model_validate(self._message | end | {"content": self._blocks}).model_dump()

    def begin(self) -> list[Event]:
        """See `Reply`: the message without content."""
        return [{"type": "message_start", "message": dict(self._message)}]

    def piece(self, chunk: Chunk) -> list[Event]:
        """See `Reply`."""
        return [*self._chunk_events(chunk), *(self._end_events(chunk) if chunk.finish_reason else ())]

    def error(self, error: ApiError) -> list[Event]:
        """See `Reply`: Anthropic's error event."""
        return [anthropic_error(error)]

    def _chunk_events(self, chunk: Chunk) -> Iterator[Event]:
        if chunk.reasoning:
            yield from self._write("thinking", chunk.reasoning)
        if chunk.text:
            yield from self._write("text", chunk.text)
        for piece in chunk.tool_calls:
            yield from self._write_call(piece)

    def _end_events(self, chunk: Chunk) -> Iterator[Event]:
        if not any(block["type"] in ("text", "tool_use") for block in self._blocks):
            yield from self._write("text", "")  # an empty answer is a text, too
        yield from self._close_block()
        usage = _usage(chunk.usage or engine.Usage())
        yield {"type": "message_delta", "delta": _stop_fields(chunk), "usage": usage}
        yield {"type": "message_stop"}

    def _write(self, kind: Kind, text: str) -> Iterator[Event]:
        if self._open != kind:
            yield from self._close_block()
            self._open = kind
            self._blocks.append({"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {}))
            yield {"type": "content_block_start", "index": self._index, "content_block": dict(self._blocks[-1])}
        self._blocks[-1][kind] += text
        if text:
            yield {"type": "content_block_delta", "index": self._index, "delta": {"type": f"{kind}_delta", kind: text}}

    def _write_call(self, piece: ToolCallDelta) -> Iterator[Event]:
        if piece.index != self._call:
            self._call = piece.index
            yield from self._close_block()
            self._open = "tool_use"
            self._blocks.append({"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}})
            self._arguments[self._index] = ""
            yield {"type": "content_block_start", "index": self._index, "content_block": dict(self._blocks[-1])}
        self._arguments[self._index] += piece.arguments
        if piece.arguments:
            delta = {"type": "input_json_delta", "partial_json": piece.arguments}
            yield {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close_block(self) -> Iterator[Event]:
        if self._open:
            yield {"type": "content_block_stop", "index": self._index}
        self._open = None

    @property
    def _index(self) -> int:
        return len(self._blocks) - 1


def _parse_arguments(arguments: str) -> Any:
    """The value of a call's arguments; {} when the answer was cut off within them."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return {}


def _stop_fields(chunk: Chunk) -> dict[str, Any]:
    if chunk.stop:
        return {"stop_reason": "stop_sequence", "stop_sequence": chunk.stop}
    reasons = {"length": "max_tokens", "tool_calls": "tool_use"}
    return {"stop_reason": reasons.get(chunk.finish_reason or "", "end_turn"), "stop_sequence": None}


def _usage(usage: engine.Usage) -> dict[str, Any]:
    return MessageUsage(
        input_tokens=usage.prompt_tokens - usage.cached_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    ).model_dump()
