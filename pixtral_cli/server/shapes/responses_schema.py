"""Pydantic models of OpenAI's Responses API: requests and the response object."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Tag

from pixtral_cli.server.openai.request_messages import (
    MAX_MESSAGES,
    MAX_PARTS,
    EmptyList,
    Ignored,
    JSONList,
    JSONObject,
    OnlyFalse,
    ShortText,
    Strict,
    Text,
)
from pixtral_cli.server.openai.request_schema import MAX_TOOLS, AnswerTokens, StreamOptions


class InputText(Strict):
    type: Literal["input_text"]
    text: Text


class InputImage(Strict):
    type: Literal["input_image"]
    image_url: str = Field(description="An http(s) URL or a data URL.")
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: None = None


class OutputText(Strict):
    type: Literal["output_text"]
    text: Text
    annotations: EmptyList | None = None
    logprobs: Annotated[JSONList, Field(max_length=100_000)] | None = None


class Refusal(Strict):
    type: Literal["refusal"]
    refusal: Text


ContentPart: TypeAlias = Annotated[InputText | InputImage | OutputText | Refusal, Field(discriminator="type")]
Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class MessageItem(Strict):
    """A message of the user, or one of an earlier response."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: Text | Annotated[list[ContentPart], Field(min_length=1, max_length=MAX_PARTS)]
    id: ShortText | None = None
    status: Status | None = None
    phase: ShortText | None = None


class ReasoningText(Strict):
    type: Literal["reasoning_text"]
    text: Text


class ReasoningItem(Strict):
    """The reasoning before the message that follows."""

    type: Literal["reasoning"]
    id: ShortText | None = None
    summary: Annotated[JSONList, Field(max_length=MAX_PARTS)] | None = None
    content: Annotated[list[ReasoningText], Field(max_length=MAX_PARTS)] | None = None
    encrypted_content: Text | None = None
    status: Status | None = None


class FunctionCallItem(Strict):
    """A call in an earlier answer."""

    type: Literal["function_call"]
    call_id: str = Field(min_length=1, max_length=256)
    name: str = Field(min_length=1, max_length=64)
    arguments: Text
    id: ShortText | None = None
    status: Status | None = None


class FunctionOutputItem(Strict):
    """The result of a call. Its images are shown to the model after all results."""

    type: Literal["function_call_output"]
    call_id: str = Field(min_length=1, max_length=256)
    output: (
        Text
        | Annotated[list[Annotated[InputText | InputImage, Field(discriminator="type")]], Field(max_length=MAX_PARTS)]
    )
    id: ShortText | None = None
    status: Status | None = None


def _item_type(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "message" if kind is None else str(kind)


InputItem: TypeAlias = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionOutputItem, Tag("function_call_output")],
    Discriminator(_item_type),
]


class FunctionTool(Strict):
    type: Literal["function"]
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: Text | None = None
    parameters: JSONObject | None = None
    strict: bool | None = None


class NamedFunction(Strict):
    type: Literal["function"]
    name: str = Field(min_length=1, max_length=64)


class AllowedFunctions(Strict):
    """A tool choice that limits the answer to some of the tools; the others are not shown to the model."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1, max_length=MAX_TOOLS)]


def _choice_kind(value: Any) -> str:
    return "word" if isinstance(value, str) else "allowed" if _item_type(value) == "allowed_tools" else "function"


ToolChoiceField: TypeAlias = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")]
    | Annotated[NamedFunction, Tag("function")]
    | Annotated[AllowedFunctions, Tag("allowed")],
    Discriminator(_choice_kind),
]


class TextFormat(Strict):
    """The format of the answer: text, a JSON object, or JSON that satisfies `schema`."""

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = Field(None, min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: Text | None = None
    schema_: JSONObject | None = Field(None, alias="schema")
    strict: bool | None = None


class TextConfig(Strict):
    format: TextFormat | None = None
    verbosity: ShortText | None = None


class ResponsesRequest(Strict):
    """A request for a response. Nothing is stored: every request brings the whole conversation in `input`."""

    input: Text | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: ShortText | None = None
    instructions: Text | None = None
    max_output_tokens: AnswerTokens | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    text: TextConfig | None = None
    stream: bool | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool | None = None
    # Taken and of no effect.
    stream_options: StreamOptions | None = None
    store: bool | None = Field(None, description="Of no effect: nothing is stored, and the response says `false`.")
    include: Annotated[list[Literal["reasoning.encrypted_content"]], Field(max_length=16)] | None = None
    max_tool_calls: int | None = Field(None, ge=1)
    metadata: Ignored | None = None
    prompt_cache_key: ShortText | None = None
    prompt_cache_options: Ignored | None = None
    prompt_cache_retention: ShortText | None = None
    reasoning: Ignored | None = None
    safety_identifier: ShortText | None = None
    service_tier: ShortText | None = None
    user: ShortText | None = None
    # Taken when they ask for nothing.
    background: OnlyFalse | None = None
    conversation: None = None
    previous_response_id: None = Field(None, description="Nothing is stored: send the conversation in `input`.")
    prompt: None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None
    truncation: Literal["disabled"] | None = None


NO_EFFECT = frozenset(
    {"include", "max_tool_calls", "metadata", "prompt_cache_key", "prompt_cache_options",
     "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "user"}
)  # fmt: skip


class InputTokensDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int = 0


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class ResponseUsage(BaseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class ResponseError(BaseModel):
    code: str
    message: str


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"]


class Response(BaseModel):
    """A response, complete or in progress. Output items are of the types `message`, `reasoning` and `function_call`."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    background: Literal[False] = False
    error: ResponseError | None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    metadata: dict[str, Any]
    model: str
    output: list[dict[str, Any]]
    parallel_tool_calls: bool
    previous_response_id: None = None
    prompt_cache_key: str | None
    reasoning: dict[str, Any]
    safety_identifier: str | None
    service_tier: str
    store: Literal[False] = False
    temperature: float
    text: dict[str, Any]
    tool_choice: Any
    tools: list[Any]
    top_logprobs: int = 0
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponseUsage | None = None
    user: str | None
