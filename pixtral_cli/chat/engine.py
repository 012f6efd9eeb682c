"""The Engine protocol: what an engine is given and what it returns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from pixtral_cli.chat.message import Message, ToolRound
from pixtral_cli.chat.tools import NamedTool, Tool, ToolCallDelta, ToolChoice
from pixtral_cli.errors import ContextError, UsageError
from pixtral_cli.limits import MAX_BIAS, MAX_SEED, MIN_SEED, RANGES

RANGE_CHECKED = (
    "temperature", "top_p", "max_tokens", "top_k", "min_p", "repetition_penalty", "frequency_penalty",
    "presence_penalty", "logprobs", "n",
)  # fmt: skip
WHOLE = ("max_tokens", "top_k", "logprobs", "n", "seed")

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "interrupted"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """Sampling parameters of an answer. Temperature 0 is greedy; `max_tokens` None is the rest of the context window.

    The logits are changed in this order, as vLLM does: `logit_bias` by token, `repetition_penalty` for tokens of the
    prompt or the answer, `frequency_penalty` and `presence_penalty` for those of the answer, temperature; then tokens
    are excluded by `min_p` (a fraction of the likeliest one's probability), `top_k` (0: none are) and `top_p`.

    `schema` is a JSON schema the answer must satisfy, or None. `logprobs` N: each token comes with its log-probability
    and those of the N likeliest in its place; None: without. `n` is the number of answers, which `Chunk.index`
    numbers from 0; with a seed, answer i is sampled with seed + i.
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
        """The tools in the model's prompt: none when the tool choice is "none"."""
        return () if self.tool_choice == "none" else self.tools

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the answer may call: only the named one when the tool choice names one."""
        if isinstance(self.tool_choice, NamedTool):
            return tuple(tool for tool in self.tools if tool.name == self.tool_choice.name)
        return self.offered_tools

    def check(self) -> None:
        """Raises UsageError, with the field's name, for a parameter that is not a number or out of its range."""
        for name in (*RANGE_CHECKED, "seed"):
            _check_number(name, getattr(self, name), whole=name in WHOLE)
        for name in RANGE_CHECKED:
            minimum, maximum, range_text = RANGES[name]
            value = getattr(self, name)
            if value is not None and not minimum <= value <= maximum:
                raise UsageError(f"{name} must be {range_text}, not {str(value)[:30]}", field=name)
        if self.seed is not None and not MIN_SEED <= self.seed <= MAX_SEED:
            raise UsageError(f"The seed must fit in 64 bits, unlike {str(self.seed)[:30]}", field="seed")
        for token, bias in self.logit_bias.items():
            _check_number("logit_bias", bias, whole=False)
            if not -MAX_BIAS <= bias <= MAX_BIAS:
                range_text = f"-{MAX_BIAS} to {MAX_BIAS} for a token"
                raise UsageError(
                    f"logit_bias must be {range_text}, not {str(bias)[:30]} for {token}", field="logit_bias"
                )
        if self.tool_choice not in ("auto", "none") and not self.callable_tools:
            there = ", ".join(tool.name for tool in self.tools) or "none"
            raise UsageError(
                "tool_choice names a tool that is not among the tools", f"There are: {there}", "tool_choice"
            )


def _check_number(name: str, value: object, *, whole: bool) -> None:
    """Raises UsageError for a value that is neither None nor a number."""
    if value is None or (isinstance(value, int if whole else int | float) and not isinstance(value, bool)):
        return
    raise UsageError(f"{name} must be {'a whole number' if whole else 'a number'}, not {value!r:.30}", field=name)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with its log-probability under the model's logits, before any sampling parameter changes them.

    `data` are the token's bytes, `top` the most likely tokens at its position, the likeliest first.
    """

    data: bytes
    logprob: float
    top: "tuple[TokenLogprob, ...]" = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one answer. `cached_tokens`: those of the prompt whose keys and values came from a prefix cache.

    `reasoning_tokens`: those of the completion that are thinking before the answer.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    image_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timings:
    """Times of one answer in seconds, and the process's peak memory in bytes (on a GPU, the device's).

    `load`: loading the weights, if this answer waited for it; `encode`: tokenising and the vision encoder; `ttft`: from
    the call to the first token, without `load`; `decode`: from the first token to the last; `total`: from call to end.
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

    `reasoning` is a piece of a reasoning model's thinking, which is not part of the answer's text. `tool_calls` are
    pieces of calls. `logprobs` are those of the text's tokens and may come earlier than the text. `index` numbers the
    answers of one request (`Sampling.n`) from 0: each ends with a chunk that has its `finish_reason`, and the last chunk
    of all carries usage and timings of all. `stop` is the stop string that ended the answer, beside its `finish_reason`.
    `round` are tool calls that were run within the answer; only an engine that runs tools itself gives it.
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
    """The cost of one image: its size in pixels as the model sees it, and its tokens (row breaks and end token included)."""

    width: int
    height: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The token counts of a prompt, which need no computation by the model. `images` are in the order of the messages."""

    prompt_tokens: int
    context_window: int
    images: tuple[ImageCost, ...] = field(default=())

    @property
    def image_tokens(self) -> int:
        return sum(image.tokens for image in self.images)

    @property
    def tokens_left(self) -> int:
        """Tokens of the context window that the prompt leaves; negative when it does not fit."""
        return self.context_window - self.prompt_tokens

    def check_fits(self, max_tokens: int | None) -> None:
        """Raises ContextError when fewer than `max_tokens` tokens are left for the answer; None means one token."""
        if self.tokens_left < (max_tokens or 1):
            answer = f" and {max_tokens:,} for the answer" if max_tokens else ""
            raise ContextError(
                f"The prompt takes {self.prompt_tokens:,} tokens{answer}, the context window is {self.context_window:,}",
                self._way_to_fit(max_tokens),
            )

    def _way_to_fit(self, max_tokens: int | None) -> str:
        """What makes a prompt and its answer fit, as a hint: only what can help here."""
        if max_tokens and self.tokens_left > 0:
            return f"Lower --max-tokens to {self.tokens_left:,}, or shorten the text or the conversation"
        images = "send fewer images, or " if self.images else ""
        hint = f"{images}shorten the text or the conversation by {1 - self.tokens_left:,} tokens"
        return hint[0].upper() + hint[1:]


@dataclass(frozen=True, slots=True)
class CacheUse:
    """The size of a cache and its limit, in bytes."""

    size: int
    limit: int


class Engine(Protocol):
    """A model that answers. Every call passes the whole history; all state that an engine keeps between calls is a cache.

    Errors are `PixtralError`s: `ContextError`, `OutOfMemory`, `ModelError`, `NetworkError`, `ImageError`.
    """

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        """Yield the answer to the last message as it is generated. May be called from several threads.

        Closing the iterator stops the computation within one decode step.
        """
        ...

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """Count the tokens of a prompt whose answer may call `tools`. Needs no weights."""
        ...

    def close(self) -> None:
        """Release the model, connections and processes. No other method may be called afterwards."""
        ...


@runtime_checkable
class LoadableEngine(Engine, Protocol):
    """An engine that loads weights, or starts a server process, before its first answer.

    The first call of `stream` loads too. `loaded` and `doing` may be read from any thread.
    """

    @property
    def loaded(self) -> float:
        """The fraction of the weights that has been loaded, 0 to 1."""
        ...

    @property
    def doing(self) -> str:
        """The current step of loading as a phrase for a progress line; "" when there is none."""
        ...

    def load(self, check: Callable[[], None] = ...) -> object:
        """Load unless loaded already. `check` is called often during it; an exception it raises aborts the loading."""
        ...


@runtime_checkable
class VersionedEngine(Engine, Protocol):
    """An engine behind a server that reports the versions of its software."""

    def versions(self) -> dict[str, str]:
        """Versions by the name of the software. Raises NetworkError when the server cannot be reached."""
        ...


@runtime_checkable
class ReplicatedEngine(Engine, Protocol):
    """An engine that distributes requests over replicas of the model, each of which may fail and be restarted."""

    @property
    def ready(self) -> bool:
        """Whether at least one replica answers."""
        ...

    @property
    def parallel_answers(self) -> int:
        """The number of concurrent requests that keeps all replicas busy."""
        ...

    def status(self) -> list[dict[str, Any]]:
        """One object a replica: `replica` (its number), `ranks`, `up`, `running`, `answers`, `restarts`."""
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
    """An engine with caches in the memory of this process."""

    def cache_use(self) -> dict[str, CacheUse]:
        """The use of each cache, by its name."""
        ...


def engine_versions(engine: Engine) -> dict[str, str]:
    """The versions that the engine's server reports; empty for an engine without a server. Raises NetworkError."""
    return engine.versions() if isinstance(engine, VersionedEngine) else {}
