"""Pydantic models of the replies of the chat completions API: OpenAI's, with La Plateforme's fields and ours added."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

from pydantic import BaseModel, Field

from pixtral_cli.api import logprobs as api_logprobs
from pixtral_cli.chat import engine


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
        value = api_logprobs.to_json(logprobs)
        return cls.model_validate(value) if value else None


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

    def model(own_name: str) -> Model:
        other_names = [known for known in (name, *aliases) if known != own_name]
        return Model(
            id=own_name,
            created=created,
            root=name,
            aliases=other_names,
            max_context_length=window,
            capabilities=capabilities,
        )

    return [model(known) for known in (name, *aliases)]
