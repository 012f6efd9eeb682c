"""Pydantic models of OpenAI's older API `/v1/completions`: requests and replies."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from pixtral_cli.limits import MAX_SEED, MAX_TEMPERATURE, MIN_SEED
from pixtral_cli.server.openai.reply_schema import Usage
from pixtral_cli.server.openai.request_messages import JSONObject, OnlyFalse, ShortText, Strict, Text
from pixtral_cli.server.openai.request_schema import StreamOptions, TokenLimit

MAX_PROMPTS = 128


class CompletionRequest(Strict):
    """A request for completions. Each prompt becomes a user's message, since the served models are chat models."""

    model: ShortText | None = None
    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_PROMPTS)]
    max_tokens: TokenLimit | None = Field(None, description="16 unless it is given.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=MAX_TEMPERATURE)
    top_p: float | None = Field(None, gt=0, le=1)
    seed: int | None = Field(None, ge=MIN_SEED, le=MAX_SEED)
    stop: Any = Field(None, description="As at /v1/chat/completions, as are the fields that follow.")
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    logit_bias: JSONObject | None = None
    top_k: int | None = None
    min_p: float | None = None
    user: ShortText | None = None
    # Taken when they ask for nothing.
    n: Annotated[int, Field(ge=1, le=1)] | None = None
    best_of: Annotated[int, Field(ge=1, le=1)] | None = None
    echo: OnlyFalse | None = None
    logprobs: None = None
    suffix: Literal[""] | None = None


class CompletionChoice(BaseModel):
    index: int
    text: str
    logprobs: None = None
    finish_reason: Literal["stop", "length"] | None


class TextCompletion(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | None = None
