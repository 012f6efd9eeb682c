"""Pydantic models of Ollama's API: requests and replies."""

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pixtral_cli.limits import MAX_SEED, MAX_TEMPERATURE, MAX_TOP_K, MIN_SEED
from pixtral_cli.server.openai.request_messages import (
    MAX_CALLS,
    MAX_MESSAGES,
    MAX_PARTS,
    EmptyList,
    JSONObject,
    OnlyFalse,
    ShortText,
    Strict,
    Text,
    check_value,
)
from pixtral_cli.server.openai.request_schema import MAX_TOOLS, ToolDefinition


def _to_integer(value: Any) -> Any:
    """The integer that a float without a fraction is equal to; some clients send 5.0 for 5."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Integer: TypeAlias = Annotated[int, BeforeValidator(_to_integer)]
Count: TypeAlias = Annotated[Integer, Field(ge=-(2**63), le=2**63)]


class Lenient(Strict):
    """A model that accepts unknown fields, as Ollama does; they are logged."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _check_extra(self) -> Self:
        check_value(self.model_extra)
        return self


StopText: TypeAlias = Annotated[str, Field(min_length=1, max_length=256)]
Format: TypeAlias = Literal["", "json"] | JSONObject
Images: TypeAlias = Annotated[list[str], Field(max_length=MAX_PARTS)]
KeepAlive: TypeAlias = float | Annotated[str, Field(max_length=64)]


class OllamaOptions(Lenient):
    """Sampling parameters, and settings of Ollama's runner, which have no effect."""

    temperature: float | None = Field(None, ge=0, le=MAX_TEMPERATURE)
    top_p: float | None = Field(None, ge=0, le=1)
    seed: Integer | None = Field(None, ge=MIN_SEED, le=MAX_SEED)
    stop: StopText | Annotated[list[StopText], Field(max_length=16)] | None = None
    num_predict: Count | None = Field(None, description="Below 0: until the answer ends.")
    top_k: Integer | None = Field(None, ge=-1, le=MAX_TOP_K)
    min_p: float | None = Field(None, ge=0, le=1)
    repeat_penalty: float | None = Field(None, ge=0.01, le=100, description="Of all tokens of prompt and answer.")
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    # Taken when they change nothing.
    typical_p: Annotated[float, Field(ge=1, le=1)] | None = None
    tfs_z: Annotated[float, Field(ge=1, le=1)] | None = None
    mirostat: Annotated[int, Field(ge=0, le=0)] | None = None
    # Taken and of no effect.
    repeat_last_n: Count | None = None
    mirostat_tau: float | None = None
    mirostat_eta: float | None = None
    penalize_newline: bool | None = None
    num_ctx: Count | None = Field(None, description="Of no effect: the window is the model's.")
    num_keep: Count | None = None
    num_batch: Count | None = None
    num_gpu: Count | None = None
    main_gpu: Count | None = None
    num_thread: Count | None = None
    numa: bool | None = None
    low_vram: bool | None = None
    f16_kv: bool | None = None
    logits_all: bool | None = None
    vocab_only: bool | None = None
    use_mmap: bool | None = None
    use_mlock: bool | None = None
    embedding_only: bool | None = None


class OllamaRequest(Lenient):
    """The fields that `/api/chat` and `/api/generate` share."""

    model: ShortText = Field(min_length=1)
    stream: bool | None = Field(None, description="True unless it is given.")
    format: Format | None = Field(None, description="json, or the JSON schema of the answer.")
    options: OllamaOptions | None = None
    # Taken and of no effect.
    keep_alive: KeepAlive | None = Field(None, description="Of no effect: the server keeps its model.")
    think: bool | ShortText | None = None
    # Taken when they ask for nothing.
    logprobs: OnlyFalse | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=0)] | None = None


class OllamaFunction(Lenient):
    name: str = Field(min_length=1, max_length=64)
    arguments: JSONObject
    index: int | None = Field(None, ge=0, le=10_000)
    description: Text | None = None


class OllamaCall(Lenient):
    function: OllamaFunction
    id: ShortText | None = None
    type: Literal["function"] | None = None


class OllamaMessage(Lenient):
    role: Literal["system", "user", "assistant", "tool"]
    content: Text | None = None
    images: Images | None = Field(None, description="Base64; data URLs and http(s) URLs are taken as well.")
    thinking: Text | None = None
    tool_calls: Annotated[list[OllamaCall], Field(max_length=MAX_CALLS)] | None = None
    tool_name: ShortText | None = Field(default=None, description="Of the tool whose result this is.")
    tool_call_id: ShortText | None = None
    name: ShortText | None = None


class OllamaChatRequest(OllamaRequest):
    """A request to `/api/chat`; without messages it asks whether the model is loaded."""

    messages: Annotated[list[OllamaMessage], Field(max_length=MAX_MESSAGES)] | None = None
    tools: Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS)] | None = None


class OllamaGenerateRequest(OllamaRequest):
    """A request to `/api/generate`: one question; without a prompt it asks whether the model is loaded."""

    prompt: Text | None = None
    system: Text | None = None
    images: Images | None = None
    # Taken when they ask for nothing.
    context: EmptyList | None = None
    raw: OnlyFalse | None = None
    suffix: Literal[""] | None = None
    template: Literal[""] | None = None


class OllamaShowRequest(Lenient):
    """A request to `/api/show`."""

    model: ShortText | None = None
    name: ShortText | None = Field(None, description="The older name of `model`.")
    verbose: bool | None = None


NO_EFFECT = frozenset({"keep_alive", "think"})
OPTIONS_NO_EFFECT = frozenset(
    {"repeat_last_n", "mirostat_tau", "mirostat_eta", "penalize_newline", "num_ctx", "num_keep", "num_batch", "num_gpu",
     "main_gpu", "num_thread", "numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mmap", "use_mlock",
     "embedding_only"}
)  # fmt: skip


class OllamaAnswer(BaseModel):
    """An answer or a piece of it; the fields after `done` are set in the last one only. Durations in nanoseconds."""

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load"] | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_count: int | None = None
    prompt_eval_duration: int | None = None
    eval_count: int | None = None
    eval_duration: int | None = None


class OllamaAnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    thinking: str | None = None
    tool_calls: list[dict[str, Any]] = []


class OllamaChatAnswer(OllamaAnswer):
    message: OllamaAnswerMessage


class OllamaGenerateAnswer(OllamaAnswer):
    response: str
    thinking: str | None = None


class OllamaDetails(BaseModel):
    parent_model: str = ""
    format: str = "safetensors"
    family: str = "pixtral"
    families: list[str] = ["pixtral"]
    parameter_size: str = ""
    quantization_level: str = ""


class OllamaModel(BaseModel):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails = OllamaDetails()


class OllamaModels(BaseModel):
    models: list[OllamaModel]


class OllamaRunningModel(OllamaModel):
    expires_at: str
    size_vram: int
    context_length: int


class OllamaRunningModels(BaseModel):
    models: list[OllamaRunningModel]


class OllamaShown(BaseModel):
    modelfile: str
    parameters: str
    template: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaVersion(BaseModel):
    version: str


class OllamaErrorBody(BaseModel):
    error: str
