"""The Engine protocol: what an engine is given and what it returns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from pixtral_cli.chat.message import Message, ToolRound
from pixtral_cli.chat.tools import NamedTool, Tool, ToolCallDelta, ToolChoice
from pixtral_cli.errors import ContextError, UsageError
from pixtral_cli.limits import MAX_BIAS, MAX_SEED, MIN_SEED, RANGES

CHECKED = (
    "temperature", "top_p", "max_tokens", "top_k", "min_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "logprobs", "n",
)  # fmt: skip
WHOLE = ("max_tokens", "top_k", "logprobs", "n")

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "interrupted"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters of an answer. Temperature 0 is greedy; `max_tokens` None is the rest of the context window.

    The logits are changed in this order, as vLLM does: `logit_bias` by token, `repetition_penalty` for tokens of the
    prompt or the answer, `frequency_penalty` and `presence_penalty` for those of the answer, temperature; then tokens
    are left out by `min_p` (of the likeliest one's probability), `top_k` (0: all) and `top_p`.

    `schema` is a JSON schema the answer must satisfy, or None. `logprobs` asks for the log-probability of each token
    and of so many of the likeliest ones in its place; None: of none. `n` answers are made, which `Chunk.index` tells
    apart; with a seed, answer number i has the seed + i.
    """

    temperature: float = 0.35
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    schema: dict[str, Any] | None = None
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    n: int = 1
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool = True

    @property
    def offered_tools(self) -> tuple[Tool, ...]:
        """The tools that the model is given: none where it may call none."""
        return () if self.tool_choice == "none" else self.tools

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the answer may call: the named one, where one is."""
        if isinstance(self.tool_choice, NamedTool):
            return tuple(tool for tool in self.tools if tool.name == self.tool_choice.name)
        return self.offered_tools

    def check(self) -> None:
        """Raises UsageError, with the field's name, for a parameter that is no number or out of its range."""
        for name in CHECKED:
            least, most, words = RANGES[name]
            value = getattr(self, name)
            if value is not None and not (_is_number(value, whole=name in WHOLE) and least <= value <= most):
                raise UsageError(f"{name} must be {words}, not {str(value)[:30]}", field=name)
        if self.seed is not None and not (_is_number(self.seed, whole=True) and MIN_SEED <= self.seed <= MAX_SEED):
            raise UsageError(f"The seed must fit in 64 bits, unlike {str(self.seed)[:30]}", field="seed")
        for token, bias in self.logit_bias.items():
            if not -MAX_BIAS <= bias <= MAX_BIAS:
                words = f"-{MAX_BIAS} to {MAX_BIAS} for a token"
                raise UsageError(f"logit_bias must be {words}, not {str(bias)[:30]} for {token}", field="logit_bias")
        if self.tool_choice not in ("auto", "none") and not self.callable_tools:
            there = ", ".join(tool.name for tool in self.tools) or "none"
            raise UsageError(
                "tool_choice names a tool that is not among the tools", f"There are: {there}", "tool_choice"
            )


def _is_number(value: object, *, whole: bool) -> bool:
    return not isinstance(value, bool) and isinstance(value, int if whole else int | float)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with the log-probability that the model gave it, before any change of the logits.

    `data` are its bytes, `top` the likeliest tokens in its place, likeliest first.
    """

    data: bytes
    logprob: float
    top: "tuple[TokenLogprob, ...]" = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer. `cached_tokens` of the prompt were not computed again.

    `reasoning_tokens` are those of the completion that the model spent on thinking before its answer.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, and the process's peak memory in bytes (on a GPU, the device's).

    `load` is the weights' loading if this answer waited for it; `encode` tokenising and the vision encoder;
    `ttft` from the call to the first token (load not counted); `decode` from the first token to the last; `total` all of it.
    """

    load: float = 0.0
    encode: float = 0.0
    prefill: float = 0.0
    ttft: float = 0.0
    decode: float = 0.0
    total: float = 0.0
    peak_memory: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of an answer. The last chunk of an answer, and it alone, carries `finish_reason`, `usage` and `timings`.

    `reasoning` is a piece of what a reasoning model thinks before it answers; it is no part of the answer's text.
    `tool_calls` are pieces of calls. `logprobs` are of the tokens of the text, which may come ahead of it. `index` is the
    number of the answer where several are made; each has a chunk with its `finish_reason`, and the last of them all
    carries the usage and the timings of all. `stop` is the stop string that ended the answer, with its `finish_reason`.
    `round` are calls that were run within the answer: only an engine that runs tools itself gives it.
    """

    text: str = ""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0
    stop: str = ""
    round: ToolRound | None = None


@dataclass(frozen=True, slots=True)
class ImageCost:
    """The cost of one image: the size in pixels it is sent at, and its tokens (row breaks and end included)."""

    width: int
    height: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a conversation, before anything is computed. `images` in the order of the messages."""

    prompt_tokens: int
    context_window: int
    images: tuple[ImageCost, ...] = field(default=())

    @property
    def image_tokens(self) -> int:
        return sum(image.tokens for image in self.images)

    @property
    def left(self) -> int:
        return self.context_window - self.prompt_tokens

    def check_fits(self, max_tokens: int | None) -> None:
        """Raises ContextError when the prompt leaves no room for an answer of `max_tokens`; None: of one token."""
        if self.left < (max_tokens or 1):
            answer = f" and {max_tokens:,} for the answer" if max_tokens else ""
            raise ContextError(
                f"The prompt takes {self.prompt_tokens:,} tokens{answer}, the context window is {self.context_window:,}",
                "Shorten the conversation, send fewer images or lower --max-tokens",
            )


@dataclass(frozen=True, slots=True)
class CacheUse:
    """Bytes that a cache holds, and the most it may hold."""

    size: int
    limit: int


class Engine(Protocol):
    """A model that answers. Every call passes the whole history; whatever an engine keeps between calls is a cache.

    `stream` may be called from several threads. Closing the iterator stops the computing within one decode step.
    Errors are `PixtralError`s: `ContextError`, `OutOfMemory`, `ModelError`, `NetworkError`, `ImageError`.
    """

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]: ...

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """Count the tokens of a prompt whose answer may call `tools`. Needs no weights."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class LoadableEngine(Engine, Protocol):
    """An engine that has something to load before its first answer: weights, or a server process of its own.

    It loads by itself when it is first asked. Any thread may read how far it is.
    """

    @property
    def loaded(self) -> float:
        """The fraction of the weights that has been read, 0 to 1."""
        ...

    @property
    def doing(self) -> str:
        """The work before it can answer, in words; "" when there is none."""
        ...

    def load(self, check: Callable[[], None] = ...) -> object:
        """Load now unless loaded. `check` is called often and may raise, which ends the loading."""
        ...


@runtime_checkable
class VersionedEngine(Engine, Protocol):
    """An engine that can say which versions it runs on: a server at the other end of a connection."""

    def versions(self) -> dict[str, str]:
        """Raises NetworkError when the server cannot be reached."""
        ...


@runtime_checkable
class ReplicatedEngine(Engine, Protocol):
    """An engine that spreads questions over replicas of the model, each of which may be lost and come back."""

    @property
    def ready(self) -> bool:
        """Whether any replica answers."""
        ...

    @property
    def parallel_answers(self) -> int:
        """How many answers at a time keep all replicas busy."""
        ...

    def status(self) -> list[dict[str, Any]]:
        """Each replica: `replica` (its number), `ranks`, `up`, `running`, `answers`, `restarts`."""
        ...


@runtime_checkable
class PlacedEngine(Engine, Protocol):
    """An engine whose weights are on a device of this machine."""

    @property
    def device(self) -> str:
        """The device, such as cuda:0; until the weights are loaded the one that was asked for, which may be auto."""
        ...


@runtime_checkable
class CachingEngine(Engine, Protocol):
    """An engine that keeps what it has computed in memory of this process."""

    def cache_use(self) -> dict[str, CacheUse]:
        """What its caches hold, by the name of the cache."""
        ...


def engine_versions(engine: Engine) -> dict[str, str]:
    """The versions that an engine's server reports; empty for an engine without one. Raises NetworkError."""
    return engine.versions() if isinstance(engine, VersionedEngine) else {}
