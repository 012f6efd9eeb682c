"""Pydantic models of the messages of a request: OpenAI's, La Plateforme's, and fields that clients of other servers send."""

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

MAX_TEXT = 4_000_000
MAX_MESSAGES = 2_000
MAX_PARTS = 512
MAX_CALLS = 128  # in one message
MAX_DEPTH = 64  # of a JSON value of any form
MAX_INTEGER = 10**300  # in a JSON value of any form: a float can hold it


class Strict(BaseModel):
    """A model that refuses unknown fields, values of other types, and NaN."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


Text: TypeAlias = Annotated[str, Field(max_length=MAX_TEXT)]
ShortText: TypeAlias = Annotated[str, Field(max_length=512)]


def _refuse_true(value: bool) -> bool:
    if value:
        raise ValueError("only false is taken here")
    return value


OnlyFalse: TypeAlias = Annotated[
    bool, AfterValidator(_refuse_true), WithJsonSchema({"type": "boolean", "const": False})
]
EmptyList: TypeAlias = Annotated[list[Any], Field(max_length=0)]


def check_value(value: Any, depth: int = 0) -> Any:
    """A JSON value of any form, unchanged. Raises ValueError for numbers that JSON cannot represent and deep nesting."""
    if depth > MAX_DEPTH:
        raise ValueError(f"it nests deeper than {MAX_DEPTH} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it holds a number that is too large")
    if isinstance(value, int) and abs(value) >= MAX_INTEGER:
        raise ValueError("it holds a number that is too large")
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        check_value(item, depth + 1)
    return value


# A JSON object or list of any content, such as a JSON schema or the arguments of a call.
JSONObject: TypeAlias = Annotated[dict[str, Any], AfterValidator(check_value)]
JSONList: TypeAlias = Annotated[list[Any], AfterValidator(check_value)]
Ignored: TypeAlias = Annotated[JSONObject, Field(max_length=64)]


class TextPart(Strict):
    type: Literal["text"]
    text: Text
    cache_control: Ignored | None = None


class ImageURL(Strict):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Strict):
    type: Literal["image_url"]
    image_url: str | ImageURL = Field(description="An http(s) URL or a data URL; the plain string is La Plateforme's.")
    cache_control: Ignored | None = None

    @property
    def url(self) -> str:
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url


class ThinkingPart(Strict):
    """La Plateforme's form of the reasoning before an answer."""

    type: Literal["thinking"]
    thinking: Text | Annotated[list[TextPart], Field(max_length=MAX_PARTS)]
    closed: bool | None = None
    signature: ShortText | None = None

    @property
    def text(self) -> str:
        return self.thinking if isinstance(self.thinking, str) else "".join(part.text for part in self.thinking)


class RefusalPart(Strict):
    """An earlier answer that was a refusal."""

    type: Literal["refusal"]
    refusal: Text


Texts: TypeAlias = Annotated[list[TextPart], Field(max_length=MAX_PARTS)]
Parts: TypeAlias = Annotated[
    list[Annotated[TextPart | ImagePart, Field(discriminator="type")]], Field(min_length=1, max_length=MAX_PARTS)
]


ResultParts: TypeAlias = Annotated[
    list[Annotated[TextPart | ImagePart, Field(discriminator="type")]], Field(max_length=MAX_PARTS)
]


class SystemMessage(Strict):
    role: Literal["system", "developer"]
    content: Text | Texts
    name: ShortText | None = None


class UserMessage(Strict):
    role: Literal["user"]
    content: Text | Parts
    name: ShortText | None = None


class FunctionCall(Strict):
    name: str = Field(min_length=1, max_length=64)
    arguments: Text | JSONObject = Field(description="JSON text, or La Plateforme's JSON object.")


class ToolCall(Strict):
    id: str = Field(min_length=1, max_length=256)
    type: Literal["function"] | None = None
    function: FunctionCall
    index: int | None = Field(None, ge=0, le=10_000)


AnswerPart: TypeAlias = Annotated[TextPart | ThinkingPart | RefusalPart, Field(discriminator="type")]


class AssistantMessage(Strict):
    """An earlier answer. The fields after `refusal` are accepted because clients send replies back, and must be empty."""

    role: Literal["assistant"]
    content: Text | Annotated[list[AnswerPart], Field(max_length=MAX_PARTS)] | None = None
    name: ShortText | None = None
    reasoning_content: Text | None = Field(None, description="What was thought before the answer.")
    reasoning: Text | None = Field(None, description="vLLM's name of `reasoning_content`.")
    prefix: bool | None = Field(
        None, description="Of the last message: the answer continues it and does not repeat it."
    )
    tool_calls: Annotated[list[ToolCall], Field(max_length=MAX_CALLS)] | None = None
    refusal: Text | None = Field(None, description="The text of an answer that has no `content`.")
    annotations: EmptyList | None = None
    function_call: None = None
    audio: None = None
    parsed: None = None


class ToolMessage(Strict):
    """The result of a tool call that the assistant made. Its images are shown to the model after the results."""

    role: Literal["tool"]
    content: Text | ResultParts | None = None
    tool_call_id: str | None = Field(
        None, min_length=1, max_length=256,
        description="Without one it is of the first call of the tool `name`, or of any tool, that waits for its result.",
    )  # fmt: skip
    name: ShortText | None = None


RequestMessage: TypeAlias = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]
