"""Pydantic models of a chat completion request: OpenAI's and La Plateforme's fields, with limits."""

import sys
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from pixtral_cli.limits import (
    MAX_BIAS,
    MAX_BIASES,
    MAX_CHOICES,
    MAX_SEED,
    MAX_TEMPERATURE,
    MAX_TOP_K,
    MAX_TOP_LOGPROBS,
    MIN_SEED,
)
from pixtral_cli.server.openai.request_messages import (
    MAX_MESSAGES,
    Ignored,
    JSONObject,
    RequestMessage,
    ShortText,
    Strict,
    Text,
)

MAX_TOOLS = 128

TokenId: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
# Clients send numbers far beyond any context window; the answer may then take the rest of it.
AnswerTokens: TypeAlias = Annotated[int, Field(ge=1, le=sys.maxsize)]
# -1 is the rest of the context window, as at llama.cpp's server.
TokenLimit: TypeAlias = AnswerTokens | Literal[-1]


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JSONSchema(Strict):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: Text | None = None
    schema_: JSONObject | None = Field(None, alias="schema", description="A JSON schema; any object without one.")
    strict: bool | None = Field(None, description="Of no effect: every answer satisfies the schema.")


class ResponseFormat(Strict):
    """The format of the answer: text, a JSON object, or JSON that satisfies `json_schema`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None


class FunctionDefinition(Strict):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: Text | None = None
    parameters: JSONObject | None = Field(None, description="A JSON schema of an object; without one: no arguments.")
    strict: bool | None = Field(None, description="Of no effect: arguments satisfy the schema.")


class ToolDefinition(Strict):
    type: Literal["function"] = "function"
    function: FunctionDefinition
    cache_control: Ignored | None = None


class FunctionName(Strict):
    name: str = Field(min_length=1, max_length=64)


class NamedToolChoice(Strict):
    type: Literal["function"] = "function"
    function: FunctionName


class AllowedTools(Strict):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedToolChoice], Field(min_length=1, max_length=MAX_TOOLS)]


class AllowedToolsChoice(Strict):
    """A tool choice that limits the answer to some of the tools; the others are not shown to the model."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _choice_kind(value: Any) -> str:
    if isinstance(value, str):
        return "word"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "allowed_tools" if kind == "allowed_tools" else "function"


ToolChoiceField: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required", "any"], Tag("word")]
    | Annotated[NamedToolChoice, Tag("function")]
    | Annotated[AllowedToolsChoice, Tag("allowed_tools")],
    Discriminator(_choice_kind),
]


class ChatRequest(Strict):
    """A chat completion request. Fields for features that do not exist here are accepted only with a value that asks for nothing."""

    model: ShortText | None = None
    messages: list[RequestMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=MAX_TEMPERATURE)
    top_p: float | None = Field(None, gt=0, le=1)
    max_tokens: TokenLimit | None = None
    max_completion_tokens: TokenLimit | None = None
    seed: int | None = Field(None, ge=MIN_SEED, le=MAX_SEED)
    random_seed: int | None = Field(None, ge=MIN_SEED, le=MAX_SEED, description="La Plateforme's name of `seed`.")
    stop: (
        Annotated[str, Field(min_length=1, max_length=256)]
        | Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=16)]
        | None
    ) = None
    response_format: ResponseFormat | None = None
    n: int | None = Field(None, ge=1, le=MAX_CHOICES, description="Answers; with a seed, number i has the seed + i.")
    top_k: int | None = Field(
        None, ge=-1, le=MAX_TOP_K, description="The likeliest tokens that are left; 0 or -1: all."
    )
    min_p: float | None = Field(None, ge=0, le=1, description="Least probability, of the likeliest token's.")
    repetition_penalty: float | None = Field(None, ge=0.01, le=100, description="1 is none.")
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: dict[TokenId, Annotated[float, Field(ge=-MAX_BIAS, le=MAX_BIAS)]] | None = Field(
        None, max_length=MAX_BIASES
    )
    logprobs: bool | None = Field(None, description="The log-probability of each token, as the model gave it.")
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS, description="Wants `logprobs`.")
    tools: Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoiceField | None = Field(None, description="any: La Plateforme's name of required.")
    parallel_tool_calls: bool | None = Field(None, description="Whether an answer may make several calls.")
    safe_prompt: bool | None = Field(None, description="Put La Plateforme's safety prompt before the conversation.")
    prompt_mode: Literal["reasoning"] | None = Field(
        None, description="A reasoning model thinks anyway, by its vendor's prompt unless the conversation has one."
    )
    # Taken and of no effect.
    user: ShortText | None = None
    metadata: Ignored | None = None
    safety_identifier: ShortText | None = None
    prompt_cache_key: ShortText | None = None
    service_tier: ShortText | None = None
    store: bool | None = None
    reasoning_effort: ShortText | None = None
    verbosity: ShortText | None = None
    prompt_cache_retention: ShortText | None = None
    cache_control: Ignored | None = None
    # Taken when they ask for nothing.
    prediction: None = None
    modalities: list[Literal["text"]] | None = None
