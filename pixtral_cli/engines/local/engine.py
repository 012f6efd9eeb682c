"""The local engine: a checkpoint on this machine behind the `Engine` protocol: encode, match, prefill, decode.

Nothing heavy is imported before the first question, and no weights are read before the prompt is known to fit.
"""

import os
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixtral_cli.chat.engine import CacheUse, Chunk, Cost, FinishReason, ImageCost, Sampling, Usage
from pixtral_cli.chat.message import Message, system
from pixtral_cli.chat.tools import NamedTool, Tool
from pixtral_cli.engines.local.config import Params, read_params, verify_hint
from pixtral_cli.engines.local.runtime.cancellation import CancelCheck, CancellableStream, no_cancel
from pixtral_cli.engines.local.runtime.choices import MergedStream
from pixtral_cli.engines.local.runtime.gc_pause import with_gc_paused
from pixtral_cli.engines.local.runtime.interrupts import with_interrupts_deferred
from pixtral_cli.engines.local.runtime.timing import PhaseTimer
from pixtral_cli.errors import ModelError
from pixtral_cli.models.layout import SYSTEM_PROMPT, is_thinking_prompt
from pixtral_cli.structured.schema import with_schema_prompt

if TYPE_CHECKING:
    import torch

    from pixtral_cli.engines.local.generation.constraint import Constraint
    from pixtral_cli.engines.local.generation.runner import Runner
    from pixtral_cli.engines.local.generation.tool_constraint import ToolConstraint
    from pixtral_cli.engines.local.tokens.encode import Prompt
    from pixtral_cli.engines.local.tokens.tokenizer import Tokenizer


TYPICAL_PROMPT = 4_352  # tokens: the largest image of Pixtral 12B and a question
TYPICAL_ANSWER = 256  # tokens of answer that must fit before it is begun; most end long before --max-tokens


class LocalEngine:
    """An `Engine` over a checkpoint folder. Creating it is cheap; the weights are loaded when they are first needed.

    `device`: auto, cpu, cuda, cuda:N or mps; `dtype`: auto, bf16, fp16 or fp32; `quantize`: none, 8bit, 4bit, or auto
    for the widest that fits, which is reported to `note`. `cache`: the folder of quantized weights; without it they are
    computed at each load. `available` returns a device's free bytes; `prefill_chunk`: positions of a prefill step;
    `idle_cache_bytes`: the limit of idle KV caches. `loaded`: the fraction of the weights that has been read, which any
    thread may read.
    """

    doing = ""  # part of `LoadableEngine`; loading has no other steps than `loaded` shows

    def __init__(
        self,
        folder: Path,
        *,
        name: str = "",
        device: str = "auto",
        dtype: str = "auto",
        quantize: str = "none",
        cache: Path | None = None,
        note: Callable[[str], None] = lambda line: None,
        available: "Callable[[torch.device], int] | None" = None,
        prefill_chunk: int | None = None,
        idle_cache_bytes: int | None = None,
    ) -> None:
        self.folder = folder
        self.name = name or folder.name
        self._device, self._dtype, self._quantize = device, dtype, quantize
        self._cache, self._note = cache, note
        self._available, self._prefill_chunk, self._idle_cache_bytes = available, prefill_chunk, idle_cache_bytes
        self._lock = threading.Lock()
        self._runner: Runner | None = None
        self.loaded = 0.0

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> CancellableStream | MergedStream:
        """The chunks of the answer; the first `next` loads the weights unless they are loaded.

        Several threads may stream at a time, and any thread may `close` a stream, which stops before the next layer.
        """
        if sampling.n == 1:
            return self._stream(messages, sampling)
        sampling.check()
        return MergedStream(sampling.n, lambda index: self._stream(messages, _sampling_of_choice(sampling, index)))

    def _stream(self, messages: Sequence[Message], sampling: Sampling) -> CancellableStream:
        return CancellableStream(lambda check: self._answer(messages, sampling, check))

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, check: CancelCheck
    ) -> Generator[Chunk, None, None]:
        from pixtral_cli.engines.local.generation.detokenizer import AnswerDetokenizer
        from pixtral_cli.engines.local.generation.tool_calls import ToolCallParser

        clock = PhaseTimer()
        sampling.check()
        with clock.time("load"):
            tokenizer = self.tokenizer
            tokenizer.check_bias(sampling.logit_bias)
            constraint = self._constraint(sampling)
        with clock.time("encode"):
            prompt = self._encode(with_schema_prompt(messages, sampling.schema), sampling.offered_tools)
        limit = self._answer_limit(prompt, sampling)
        with clock.time("load"):
            runner = self.load(check, len(prompt.tokens) + min(sampling.max_tokens or TYPICAL_ANSWER, TYPICAL_ANSWER))
        from pixtral_cli.engines.local.generation.logprobs import LogprobRecorder  # imports torch, as loading does
        from pixtral_cli.engines.local.generation.sampling import make_sampler

        calls = None
        if sampling.offered_tools and tokenizer.tool_tokens:
            calls = ToolCallParser(tokenizer.tool_tokens, tokenizer.bytes_of)
        answer = AnswerDetokenizer(tokenizer.bytes_of, sampling.stop, tokenizer.think_tokens, calls)
        recorder = None if sampling.logprobs is None else LogprobRecorder(sampling.logprobs, tokenizer.bytes_of)
        sampler = make_sampler(
            sampling, constraint.constrain if constraint else None, prompt.tokens, recorder.record if recorder else None
        )
        count, ended = 0, False
        with runner.prefix_cache.acquire(prompt) as (sequence, matched):
            logits = runner.prefill(prompt, sequence, clock, check)
            for token in runner.decode(sequence, logits, sampler, limit):
                clock.first_token()
                if token == tokenizer.eos:
                    break
                count += 1
                chunk = answer.feed(token)
                if recorder:
                    is_text = not answer.thinking and not answer.calling
                    chunk = replace(chunk, logprobs=recorder.release(chunk.text, is_text=is_text))
                if chunk != Chunk():
                    yield chunk
                if ended := bool(answer.stopped) or (constraint is not None and constraint.complete):
                    break
                check()
        reason: FinishReason = "length" if count == limit and not ended else "tool_calls" if answer.calling else "stop"
        usage = Usage(len(prompt.tokens), count, prompt.image_tokens, matched, answer.reasoning_tokens)
        held_back = answer.close()
        logprobs = recorder.release(held_back, is_text=False, ended=not answer.stopped) if recorder else ()
        yield Chunk(
            held_back, reason, usage, clock.timings(runner.peak_memory()), logprobs=logprobs, stop=answer.stopped
        )  # fmt: skip

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """See `Engine`. Reads only the configuration and the tokenizer."""
        prompt = self._encode(messages, tools)
        images = tuple(ImageCost(image.grid.width, image.grid.height, image.grid.tokens) for image in prompt.images)
        return Cost(len(prompt.tokens), self.params.context_window, images)

    def load(self, check: CancelCheck = no_cancel, positions: int = TYPICAL_PROMPT + TYPICAL_ANSWER) -> "Runner":
        """Load the weights unless they are loaded; `check` is called often and may raise.

        Raises ModelError, or OutOfMemory when the weights and a KV cache of `positions` positions do not fit.
        """
        with self._lock:
            if self._runner is None:
                _ = self.tokenizer  # an error in the tokenizer is raised before the weights are read
                with_interrupts_deferred(lambda: with_gc_paused(import_model))
                from pixtral_cli.engines.local.generation.runner import Runner
                from pixtral_cli.engines.local.runtime.oom import translate_oom
                from pixtral_cli.engines.local.runtime.placement import LoadOptions, available_memory
                from pixtral_cli.engines.local.weights.loader import load

                options = LoadOptions(
                    self._device, self._dtype, self._available or available_memory, self._quantize, self._cache, self._note,
                    min(positions, self.params.context_window),
                )  # fmt: skip
                with translate_oom(f"loading {self.name}"):
                    weights = load(self.folder, self.params, self.name, options, check, self._set_loaded)
                if weights.device.type == "cuda":  # otherwise the second turn would import it
                    with_interrupts_deferred(lambda: import_module("torch.nn.attention.bias"))
                self._runner = Runner(
                    weights, self.params, self.name, options.available, self._prefill_chunk, self._idle_cache_bytes
                )  # fmt: skip
            return self._runner

    @property
    def device(self) -> str:
        """Where the weights are; until they are loaded the device that was asked for."""
        runner = self._runner
        return str(runner.weights.device) if runner else self._device

    def cache_use(self) -> dict[str, CacheUse]:
        """The bytes and limits of the caches by name; empty before the weights are loaded."""
        runner = self._runner
        return runner.cache_use() if runner else {}

    def _set_loaded(self, fraction: float) -> None:
        self.loaded = fraction

    def close(self) -> None:
        """Free the weights; the next question loads them again."""
        with self._lock:
            self.loaded = 0.0
            if self._runner is not None:
                from pixtral_cli.engines.local.runtime.placement import release_memory

                device = self._runner.weights.device
                self._runner = None
                release_memory(device)

    @cached_property
    def params(self) -> Params:
        return read_params(self.folder, self.name)

    @cached_property
    def default_system_prompt(self) -> str:
        """The vendor's system prompt of a reasoning model, without which it does not think; "" for other models.

        Raises ModelError.
        """
        file = self.folder / SYSTEM_PROMPT
        if self.tokenizer.think_tokens is None or not file.is_file():
            return ""
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise ModelError(f"{SYSTEM_PROMPT} of {self.name} cannot be read", verify_hint(self.name)) from error
        return text if is_thinking_prompt(text) else ""

    def with_default_system_prompt(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages with the vendor's system prompt, unless they have one.

        An empty system prompt turns it off and is left out.
        """
        sent = [message for message in messages if message.role != "system" or message.text]
        if self.default_system_prompt and all(message.role != "system" for message in messages):
            return [system(self.default_system_prompt), *sent]
        return sent

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        return with_interrupts_deferred(lambda: with_gc_paused(self._read_tokenizer))

    def _read_tokenizer(self) -> "Tokenizer":
        from pixtral_cli.engines.local.tokens.tokenizer import Tokenizer

        return Tokenizer(self.folder, self.params, self.name)

    def _encode(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> "Prompt":
        tokenizer, window = self.tokenizer, self.params.context_window
        messages = self.with_default_system_prompt(messages)

        def run() -> "Prompt":
            from pixtral_cli.engines.local.tokens.encode import encode

            return encode(messages, tokenizer, window, tools)

        return with_interrupts_deferred(run)

    def _constraint(self, sampling: Sampling) -> "Constraint | ToolConstraint | None":
        """The constraint of the answer: its schema, its tools, or None.

        Raises UsageError for a schema that cannot be enforced.
        """
        schema_constraint = None if sampling.schema is None else self._schema_constraint(sampling.schema)
        tokens = self.tokenizer.tool_tokens
        if not sampling.offered_tools or tokens is None:
            return schema_constraint
        from pixtral_cli.engines.local.generation.constraint import Constraint
        from pixtral_cli.engines.local.generation.tool_constraint import ToolConstraint
        from pixtral_cli.engines.local.generation.tool_grammar import compile_tools

        parallel = sampling.parallel_tool_calls and not isinstance(sampling.tool_choice, NamedTool)
        grammar = compile_tools(sampling.callable_tools, tokens, parallel=parallel)
        vocabulary = with_interrupts_deferred(lambda: self.tokenizer.vocabulary)
        return ToolConstraint(
            lambda: Constraint(vocabulary, grammar), tokens.tool_calls, required=sampling.tool_choice != "auto",
            text=schema_constraint, think_tokens=self.tokenizer.think_tokens,
        )  # fmt: skip

    def _schema_constraint(self, schema: dict[str, Any]) -> "Constraint":
        from pixtral_cli.engines.local.generation.grammar import compile_schema

        grammar = compile_schema(schema)
        vocabulary = with_interrupts_deferred(lambda: self.tokenizer.vocabulary)
        from pixtral_cli.engines.local.generation.constraint import Constraint

        return Constraint(vocabulary, grammar)

    def _answer_limit(self, prompt: "Prompt", sampling: Sampling) -> int:
        """The largest number of tokens of the answer. Raises ContextError when the prompt leaves too few."""
        cost = Cost(len(prompt.tokens), self.params.context_window)
        cost.check_fits(sampling.max_tokens)
        return sampling.max_tokens or cost.tokens_left


def import_model() -> None:
    """Import torch and every module that needs it.

    Idle OpenMP threads of torch spin and take time from the CPU kernel's threads. GOMP_SPINCOUNT limits that; it is
    read when torch is imported, and unset afterwards so that child processes do not inherit it.
    """
    preset = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if not preset:
        os.environ["GOMP_SPINCOUNT"] = "10000"
    if sys.platform == "linux" and not {"PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"} & os.environ.keys():
        os.environ["PYTORCH_ALLOC_CONF"] = "expandable_segments:True"  # a growing KV cache does not fragment the memory
    try:
        import_module("pixtral_cli.engines.local.generation.runner")
        import_module("pixtral_cli.engines.local.model.upstream").import_transformer()
    finally:
        if not preset:
            del os.environ["GOMP_SPINCOUNT"]


def _sampling_of_choice(sampling: Sampling, index: int) -> Sampling:
    """The sampling of answer `index` of several: each has a seed of its own, within 64 bits."""
    seed = sampling.seed
    return replace(sampling, n=1, seed=None if seed is None else (seed + index + 2**63) % 2**64 - 2**63)
