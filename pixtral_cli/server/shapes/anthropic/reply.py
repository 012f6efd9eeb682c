"""Writes a reply of Anthropic's Messages API: the message, or its events from `message_start` to `message_stop`."""

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
    """One message. Its content grows block by block: thinking, where the model thinks, text, calls of tools."""

    framing = NAMED_EVENTS

    def __init__(self, model: str, request: EngineRequest, prompt_tokens: int) -> None:
        self._message: dict[str, Any] = {
            "id": f"msg_{uuid.uuid4().hex}", "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": None, "stop_sequence": None,
            "usage": _usage(engine.Usage(prompt_tokens=prompt_tokens)),
        }  # fmt: skip
        self._blocks: list[dict[str, Any]] = []
        self._open: Kind | None = None
        self._call = -1  # the number of the open call
        self._arguments: dict[int, str] = {}  # JSON text, by the call's block

    def whole(self, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """The message object."""
        for chunk in chunks:
            self.piece(chunk)
        last = chunks[-1]
        for index, arguments in self._arguments.items():
            self._blocks[index]["input"] = _parsed(arguments)
        end = _end(last) | {"usage": _usage(last.usage or engine.Usage())}
        return Message.model_validate(self._message | end | {"content": self._blocks}).model_dump()

    def begin(self) -> list[Event]:
        """The message before its content."""
        return [{"type": "message_start", "message": dict(self._message)}]

    def piece(self, chunk: Chunk) -> list[Event]:
        """The events of a chunk."""
        return [*self._added(chunk), *(self._finished(chunk) if chunk.finish_reason else ())]

    def error(self, error: ApiError) -> list[Event]:
        """The event of a message that breaks off."""
        return [anthropic_error(error)]

    def _added(self, chunk: Chunk) -> Iterator[Event]:
        if chunk.reasoning:
            yield from self._write("thinking", chunk.reasoning)
        if chunk.text:
            yield from self._write("text", chunk.text)
        for piece in chunk.tool_calls:
            yield from self._write_call(piece)

    def _finished(self, chunk: Chunk) -> Iterator[Event]:
        if not any(block["type"] in ("text", "tool_use") for block in self._blocks):
            yield from self._write("text", "")  # an empty answer is a text, too
        yield from self._close()
        usage = _usage(chunk.usage or engine.Usage())
        yield {"type": "message_delta", "delta": _end(chunk), "usage": usage}
        yield {"type": "message_stop"}

    def _write(self, kind: Kind, text: str) -> Iterator[Event]:
        if self._open != kind:
            yield from self._close()
            self._open = kind
            self._blocks.append({"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {}))
            yield {"type": "content_block_start", "index": self._index, "content_block": dict(self._blocks[-1])}
        self._blocks[-1][kind] += text
        if text:
            yield {"type": "content_block_delta", "index": self._index, "delta": {"type": f"{kind}_delta", kind: text}}

    def _write_call(self, piece: ToolCallDelta) -> Iterator[Event]:
        if piece.index != self._call:
            self._call = piece.index
            yield from self._close()
            self._open = "tool_use"
            self._blocks.append({"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}})
            self._arguments[self._index] = ""
            yield {"type": "content_block_start", "index": self._index, "content_block": dict(self._blocks[-1])}
        self._arguments[self._index] += piece.arguments
        if piece.arguments:
            delta = {"type": "input_json_delta", "partial_json": piece.arguments}
            yield {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close(self) -> Iterator[Event]:
        if self._open:
            yield {"type": "content_block_stop", "index": self._index}
        self._open = None

    @property
    def _index(self) -> int:
        return len(self._blocks) - 1


def _parsed(arguments: str) -> Any:
    """The value of a call's arguments; an empty one where the answer was cut off within them."""
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return {}


def _end(chunk: Chunk) -> dict[str, Any]:
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
