"""The objects of the server's replies: OpenAI's, with La Plateforme's fields and ours added."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

from pydantic import BaseModel, Field

from pixtral_cli.api import logprobs as api_logprobs
from pixtral_cli.chat import engine, tools
from pixtral_cli.chat.tools import ToolCallCollector
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.streaming import DATA_EVENTS


class PromptDetails(BaseModel):
    cached_tokens: int
    image_tokens: int


class CompletionDetails(BaseModel):
    reasoning_tokens: int = Field(description="Spent on thinking before the answer.")


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails

    @classmethod
    def of(cls, usage: engine.Usage) -> "Usage":
        return cls(
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            total_tokens=usage.prompt_tokens + usage.completion_tokens,
            prompt_tokens_details=PromptDetails(cached_tokens=usage.cached_tokens, image_tokens=usage.image_tokens),
            completion_tokens_details=CompletionDetails(reasoning_tokens=usage.reasoning_tokens),
        )


FinishReason = Literal["stop", "length", "tool_calls"]


class FunctionCall(BaseModel):
    name: str
    arguments: str


class ToolCall(BaseModel):
    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class ResponseMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str | None = Field(description="null where there are calls and no text.")
    tool_calls: list[ToolCall] | None = None
    reasoning_content: str | None = Field(None, description="What a reasoning model thought before the answer.")
    refusal: None = None


class TopLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class Logprobs(BaseModel):
    content: list[TokenLogprob]
    refusal: None = None

    @classmethod
    def of(cls, logprobs: Sequence[engine.TokenLogprob]) -> "Logprobs | None":
        found = api_logprobs.to_json(logprobs)
        return cls.model_validate(found) if found else None


class Choice(BaseModel):
    index: int
    message: ResponseMessage
    finish_reason: FinishReason
    stop_reason: str | None = Field(None, description="The stop string that ended the answer; vLLM's field.")
    logprobs: Logprobs | None = None


class Completion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    timings: dict[str, float] = Field(description="Seconds; `peak_memory` in bytes.")


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["pixtral"] = "pixtral"
    type: Literal["base"] = "base"
    root: str
    aliases: list[str]
    max_context_length: int | None
    capabilities: dict[str, bool]


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class Versions(BaseModel, extra="allow"):
    version: str = Field(description="Of pixtral; beside it, that of each of its libraries.")


class ImageCost(BaseModel):
    width: int
    height: int
    tokens: int


class Cost(BaseModel):
    prompt_tokens: int
    context_window: int
    images: list[ImageCost]

    @classmethod
    def of(cls, cost: engine.Cost) -> "Cost":
        images = [ImageCost(**asdict(image)) for image in cost.images]
        return cls(prompt_tokens=cost.prompt_tokens, context_window=cost.context_window, images=images)


class Error(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None
    hint: str = ""


class ErrorBody(BaseModel):
    error: Error


class ReplyBuilder:
    """Builds the objects of one answer, which share id, time and model.

    `usage` says where it is in a stream: in a chunk of its own (apart), in the last chunk (last) or nowhere.
    """

    framing = DATA_EVENTS

    def __init__(self, model: str, *, usage: Literal["apart", "last", "nowhere"] = "nowhere") -> None:
        self._usage = usage
        self._begun: set[int] = set()  # answers whose role has been sent
        self._common: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, chunks: Sequence[engine.Chunk]) -> dict[str, Any]:
        """The answers as one object."""
        last = chunks[-1]
        count = 1 + max(chunk.index for chunk in chunks)
        choices = [_choice(index, [chunk for chunk in chunks if chunk.index == index]) for index in range(count)]
        usage = Usage.of(last.usage or engine.Usage())
        return Completion(choices=choices, usage=usage, timings=_timings(last), **self._common).model_dump()

    def begin(self) -> list[dict[str, Any]]:
        """Nothing: each answer's role comes before its first chunk."""
        return []

    def piece(self, chunk: engine.Chunk) -> list[dict[str, Any]]:
        """A chunk of an answer, after its role; for the last one the chunk with the finish reason, too."""
        objects = []
        if chunk.index not in self._begun:
            self._begun.add(chunk.index)
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
        """The chunk with the finish reason. Timings and usage come with the last answer's."""
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
    """One answer of its chunks."""
    text, reasoning = ("".join(getattr(chunk, kind) for chunk in chunks) for kind in ("text", "reasoning"))
    logprobs = Logprobs.of([one for chunk in chunks for one in chunk.logprobs])
    collected = ToolCallCollector()
    for chunk in chunks:
        collected.add(chunk.tool_calls)
    calls = [ToolCall(id=call.id, function=_function_call(call)) for call in collected.calls] or None
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
    """Neighbouring pieces of one call as one: some clients take each entry of a chunk for a call of its own."""
    merged: list[tools.ToolCallDelta] = []
    for piece in pieces:
        if merged and merged[-1].index == piece.index and not piece.id:
            merged[-1] = replace(merged[-1], arguments=merged[-1].arguments + piece.arguments)
        else:
            merged.append(piece)
    return merged


def _call_delta(piece: tools.ToolCallDelta) -> dict[str, Any]:
    """A piece of a call: the first has its id and name, later ones arguments and the empty name that La Plateforme's SDK
    cannot do without."""
    if not piece.id:
        return {"index": piece.index, "function": _function_call(piece).model_dump()}
    return {"index": piece.index} | ToolCall(id=piece.id, function=_function_call(piece)).model_dump()


def _finish_reason(chunk: engine.Chunk) -> FinishReason:
    return chunk.finish_reason if chunk.finish_reason in ("length", "tool_calls") else "stop"


def _timings(chunk: engine.Chunk) -> dict[str, float]:
    return asdict(chunk.timings or engine.Timings())


def model_list(name: str, aliases: Sequence[str], window: int | None, created: int) -> list[Model]:
    """The served model under each of its names."""
    capabilities = {
        "completion_chat": True,
        "vision": True,
        "completion_fim": False,
        "function_calling": True,
        "fine_tuning": False,
        "classification": False,
    }

    def named(one: str) -> Model:
        others = [other for other in (name, *aliases) if other != one]
        return Model(
            id=one, created=created, root=name, aliases=others, max_context_length=window, capabilities=capabilities
        )

    return [named(one) for one in (name, *aliases)]
