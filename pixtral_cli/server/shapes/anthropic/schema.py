"""Pydantic models of Anthropic's Messages API: requests and replies."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from pixtral_cli.limits import MAX_TEMPERATURE, MAX_TOP_K
from pixtral_cli.server.openai.request_messages import (
    MAX_MESSAGES,
    MAX_PARTS,
    EmptyList,
    Ignored,
    JSONList,
    JSONObject,
    ShortText,
    Strict,
    Text,
)
from pixtral_cli.server.openai.request_schema import MAX_TOOLS, AnswerTokens


class TextBlock(Strict):
    type: Literal["text"]
    text: Text
    cache_control: Ignored | None = None
    citations: EmptyList | None = None


class Base64Source(Strict):
    type: Literal["base64"]
    media_type: str = Field(pattern=r"^image/[a-z0-9.+-]{1,40}$")
    data: str = Field(min_length=1)


class URLSource(Strict):
    type: Literal["url"]
    url: str = Field(min_length=1, description="An http(s) URL or a data URL.")


class ImageBlock(Strict):
    type: Literal["image"]
    source: Annotated[Base64Source | URLSource, Field(discriminator="type")]
    cache_control: Ignored | None = None

    @property
    def url(self) -> str:
        source = self.source
        return source.url if isinstance(source, URLSource) else f"data:{source.media_type};base64,{source.data}"


class ThinkingBlock(Strict):
    """The reasoning before an earlier answer."""

    type: Literal["thinking"]
    thinking: Text
    signature: Text = ""


class RedactedThinkingBlock(Strict):
    type: Literal["redacted_thinking"]
    data: Text


class ToolUseBlock(Strict):
    """A call in an earlier answer."""

    type: Literal["tool_use"]
    id: str = Field(min_length=1, max_length=256)
    name: str = Field(min_length=1, max_length=64)
    input: JSONObject
    cache_control: Ignored | None = None
    caller: Ignored | None = None
    toolset_name: Ignored | None = None


class ToolResultBlock(Strict):
    """The result of a call. Its images are shown to the model after all results of the message."""

    type: Literal["tool_result"]
    tool_use_id: str = Field(min_length=1, max_length=256)
    content: (
        Text
        | Annotated[list[Annotated[TextBlock | ImageBlock, Field(discriminator="type")]], Field(max_length=MAX_PARTS)]
        | None
    ) = None
    is_error: bool | None = None
    cache_control: Ignored | None = None


Block: TypeAlias = Annotated[
    TextBlock | ImageBlock | ThinkingBlock | RedactedThinkingBlock | ToolUseBlock | ToolResultBlock,
    Field(discriminator="type"),
]
SystemPrompt: TypeAlias = Text | Annotated[list[TextBlock], Field(max_length=MAX_PARTS)]


class MessageParam(Strict):
    role: Literal["user", "assistant", "system"]
    content: Text | Annotated[list[Block], Field(min_length=1, max_length=MAX_PARTS)]


class AnthropicTool(Strict):
    type: Literal["custom"] | None = None
    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_-]+$")
    description: Text | None = None
    input_schema: JSONObject
    cache_control: Ignored | None = None
    strict: bool | None = None
    input_examples: Annotated[JSONList, Field(max_length=64)] | None = None
    eager_input_streaming: bool | None = None


class AnthropicToolChoice(Strict):
    type: Literal["auto", "any", "none", "tool"]
    name: str | None = Field(None, min_length=1, max_length=64)
    disable_parallel_tool_use: bool | None = None


class OutputFormat(Strict):
    type: Literal["json_schema"]
    schema_: JSONObject = Field(alias="schema")


class OutputConfig(Strict):
    format: OutputFormat | None = None
    effort: ShortText | None = None


class CountTokensRequest(Strict):
    """A request whose tokens are counted."""

    model: ShortText = Field(min_length=1)
    messages: list[MessageParam] = Field(min_length=1, max_length=MAX_MESSAGES)
    system: SystemPrompt | None = None
    output_config: OutputConfig | None = None
    tools: Annotated[list[AnthropicTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: AnthropicToolChoice | None = None
    # Taken and of no effect.
    cache_control: Ignored | None = None
    context_management: Ignored | None = None
    speed: ShortText | None = None
    thinking: Ignored | None = None
    # Taken when they ask for nothing.
    mcp_servers: EmptyList | None = None


class MessagesRequest(CountTokensRequest):
    """A request for a message."""

    max_tokens: AnswerTokens
    stop_sequences: (
        Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=16)] | None
    ) = None
    stream: bool | None = None
    temperature: float | None = Field(None, ge=0, le=MAX_TEMPERATURE)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, le=MAX_TOP_K)
    # Taken and of no effect.
    diagnostics: Ignored | None = None
    thread: Ignored | None = None
    inference_geo: ShortText | None = None
    metadata: Ignored | None = None
    service_tier: ShortText | None = None
    # Taken when it asks for nothing.
    container: None = None


NO_EFFECT = frozenset(
    [
        "cache_control",
        "context_management",
        "diagnostics",
        "inference_geo",
        "metadata",
        "service_tier",
        "speed",
        "thinking",
        "thread",
    ]
)


class MessageUsage(BaseModel):
    """Token counts. `input_tokens` leaves out the prompt's cached tokens, which are `cache_read_input_tokens`."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int
    output_tokens: int


class ContentBlock(BaseModel, extra="allow"):
    type: str


class Message(BaseModel):
    id: str
    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[ContentBlock]
    stop_reason: Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"] | None
    stop_sequence: str | None
    usage: MessageUsage


class TokenCount(BaseModel):
    input_tokens: int


class AnthropicModel(BaseModel):
    type: Literal["model"] = "model"
    id: str
    display_name: str
    created_at: str
    max_input_tokens: int | None


class AnthropicModels(BaseModel):
    data: list[AnthropicModel]
    has_more: Literal[False] = False
    first_id: str
    last_id: str


class AnthropicError(BaseModel):
    type: str
    message: str


class AnthropicErrorBody(BaseModel):
    type: Literal["error"] = "error"
    error: AnthropicError
    request_id: str | None = None
