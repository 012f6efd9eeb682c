"""The objects of the server's replies: OpenAI's, with La Plateforme's fields and ours added."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, Field

from pixtral_cli.chat import engine
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


FinishReason = Literal["stop", "length"]


class ResponseMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    reasoning_content: str | None = Field(None, description="What a reasoning model thought before the answer.")
    refusal: None = None


class Choice(BaseModel):
    index: Literal[0] = 0
    message: ResponseMessage
    finish_reason: FinishReason
    logprobs: None = None


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

    In a stream `usage` stands in the last chunk (`usage_apart` None), in a chunk of its own (True) or nowhere (False).
    """

    framing = DATA_EVENTS

    def __init__(self, model: str, *, usage_apart: bool | None = None) -> None:
        self._usage_apart = usage_apart
        self._common: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, chunks: Sequence[engine.Chunk]) -> dict[str, Any]:
        """The answer as one object."""
        last = chunks[-1]
        text, reasoning = ("".join(getattr(chunk, kind) for chunk in chunks) for kind in ("text", "reasoning"))
        message = ResponseMessage(content=text, reasoning_content=reasoning or None)
        choice = Choice(message=message, finish_reason=_finish_reason(last))
        usage = Usage.of(last.usage or engine.Usage())
        return Completion(choices=[choice], usage=usage, timings=_timings(last), **self._common).model_dump()

    def begin(self) -> list[dict[str, Any]]:
        """The first chunk, which holds the role only."""
        return [self._chunk({"role": "assistant", "content": ""})]

    def piece(self, chunk: engine.Chunk) -> list[dict[str, Any]]:
        """What a chunk holds of thinking and of text; for the last one the chunk with the finish reason, too."""
        thought = [self._chunk({"reasoning_content": chunk.reasoning})] if chunk.reasoning else []
        text = [self._chunk({"content": chunk.text})] if chunk.text else []
        return [*thought, *text, *(self._last(chunk) if chunk.finish_reason else [])]

    def error(self, error: ApiError) -> list[dict[str, Any]]:
        """OpenAI's error object."""
        return [error.body]

    def _last(self, chunk: engine.Chunk) -> list[dict[str, Any]]:
        last = self._chunk({}, _finish_reason(chunk)) | {"timings": _timings(chunk)}
        usage = {"usage": Usage.of(chunk.usage or engine.Usage()).model_dump()}
        if self._usage_apart is None:
            return [last | usage]
        return [last, self._chunk({}) | {"choices": []} | usage] if self._usage_apart else [last]

    def _chunk(self, delta: dict[str, Any], reason: FinishReason | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        return {**self._common, "object": "chat.completion.chunk", "choices": [choice]}


def _finish_reason(chunk: engine.Chunk) -> FinishReason:
    return "length" if chunk.finish_reason == "length" else "stop"


def _timings(chunk: engine.Chunk) -> dict[str, float]:
    return asdict(chunk.timings or engine.Timings())


def model_list(name: str, aliases: Sequence[str], window: int | None, created: int) -> list[Model]:
    """The served model under each of its names."""
    capabilities = {
        "completion_chat": True,
        "vision": True,
        "completion_fim": False,
        "function_calling": False,
        "fine_tuning": False,
        "classification": False,
    }

    def named(one: str) -> Model:
        others = [other for other in (name, *aliases) if other != one]
        return Model(
            id=one, created=created, root=name, aliases=others, max_context_length=window, capabilities=capabilities
        )

    return [named(one) for one in (name, *aliases)]
