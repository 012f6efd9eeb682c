"""The pydantic models of a request, strict and bounded: OpenAI's fields and La Plateforme's."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

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

MAX_TEXT = 4_000_000
MAX_MESSAGES = 2_000
MAX_PARTS = 512


class Strict(BaseModel):
    """No unknown field, no conversion, no NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


Text: TypeAlias = Annotated[str, Field(max_length=MAX_TEXT)]
ShortText: TypeAlias = Annotated[str, Field(max_length=512)]
TokenId: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{1,9}$")]
# -1 is the rest of the context window, as at llama.cpp's server.
TokenLimit: TypeAlias = Annotated[int, Field(ge=1, le=10_000_000)] | Literal[-1]


def _refuse_true(value: bool) -> bool:
    if value:
        raise ValueError("only false is taken here")
    return value


Refused: TypeAlias = Annotated[bool, AfterValidator(_refuse_true), WithJsonSchema({"type": "boolean", "const": False})]
EmptyList: TypeAlias = Annotated[list[Any], Field(max_length=0)]


Ignored: TypeAlias = Annotated[dict[str, Any], Field(max_length=64)]


class TextPart(Strict):
    type: Literal["text"]
    text: Text
    cache_control: Ignored | None = None


class ImageURL(Strict):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: str | ImageURL = Field(description="An http(s) URL or a data URL; the plain string is La Plateforme's.")
    cache_control: Ignored | None = None

    @property
    def url(self) -> str:
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


Texts: TypeAlias = Annotated[list[TextPart], Field(max_length=MAX_PARTS)]
Parts: TypeAlias = Annotated[
    list[Annotated[TextPart | ImagePart, Field(discriminator="type")]], Field(min_length=1, max_length=MAX_PARTS)
]


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: Text | Texts
    name: ShortText | None = None


class UserMessage(Strict):
    role: Literal["user"]
    content: Text | Parts
    name: ShortText | None = None


class AssistantMessage(Strict):
    """An earlier answer. The fields after `reasoning` are what clients send back of it; they must be empty."""

    role: Literal["assistant"]
    content: Text | Texts | None = None
    name: ShortText | None = None
    reasoning_content: Text | None = Field(None, description="What was thought before the answer.")
    reasoning: Text | None = Field(None, description="vLLM's name of `reasoning_content`.")
    prefix: Literal[False] | None = None
    tool_calls: EmptyList | None = None
    annotations: EmptyList | None = None
    function_call: None = None
    refusal: None = None
    audio: None = None
    parsed: None = None


RequestMessage: TypeAlias = Annotated[SystemMessage | UserMessage | AssistantMessage, Field(discriminator="role")]


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


class JSONSchema(Strict):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: Text | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema", description="A JSON schema; any object without one.")
    strict: bool | None = Field(None, description="Of no effect: every answer satisfies the schema.")


class ResponseFormat(Strict):
    """What the answer is: text, a JSON object, or JSON that satisfies `json_schema`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JSONSchema | None = None


class ChatRequest(Strict):
    """A chat completion request. Fields that ask for what no Pixtral can do are taken only with a value that asks for nothing."""

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
    # Taken and of no effect.
    user: ShortText | None = None
    metadata: Annotated[dict[str, Any], Field(max_length=64)] | None = None
    safety_identifier: ShortText | None = None
    prompt_cache_key: ShortText | None = None
    service_tier: ShortText | None = None
    parallel_tool_calls: bool | None = None
    store: bool | None = None
    reasoning_effort: ShortText | None = None
    verbosity: ShortText | None = None
    prompt_cache_retention: ShortText | None = None
    cache_control: Ignored | None = None
    # Taken when they ask for nothing.
    safe_prompt: Literal[False] | None = None
    prompt_mode: None = None
    prediction: None = None
    tools: EmptyList | None = None
    tool_choice: Literal["none", "auto"] | None = None
    modalities: list[Literal["text"]] | None = None
