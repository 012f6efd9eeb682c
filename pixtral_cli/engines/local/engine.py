"""The local engine: mistral_inference's model on this machine. Leaves each stage to the module of its name.

Nothing heavy is imported before the first question, and no weights are read before the prompt is known to fit.
"""

import os
import threading
from collections.abc import Callable, Generator, Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixtral_cli.chat.engine import Chunk, Cost, FinishReason, ImageCost, Sampling, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.local.config import Params, read_params
from pixtral_cli.engines.local.runtime.cancellation import Answer, Check, go_on
from pixtral_cli.engines.local.runtime.gc_pause import uncollected
from pixtral_cli.engines.local.runtime.interrupts import undisturbed
from pixtral_cli.engines.local.runtime.timing import Clock
from pixtral_cli.errors import UsageError
from pixtral_cli.structured.schema import with_schema_prompt

if TYPE_CHECKING:
    import torch

    from pixtral_cli.engines.local.generation.constraint import Guide
    from pixtral_cli.engines.local.generation.runner import Runner
    from pixtral_cli.engines.local.tokens.encode import Prompt
    from pixtral_cli.engines.local.tokens.tokenizer import Tokenizer


QUESTION = 4_352  # tokens of the largest image and a few words
ANSWER = 256  # tokens there must be room for before an answer is begun; most end long before --max-tokens


class LocalEngine:
    """An `Engine` over a checkpoint folder in mistral format. Cheap to make; weights are loaded when first needed.

    `device` is auto, cpu, cuda, cuda:N or mps; `dtype` auto, bf16, fp16 or fp32; `quantize` none, 8bit, 4bit, or auto:
    what fits. Quantized weights are kept in `cache`, or made at each load; `note` hears what auto chose. `available`
    says how many bytes a device has free, `chunk` how many positions a prefill step takes, `keep` how many bytes of KV
    caches wait for a next turn; all have good defaults. `loaded` is the part of the weights that has been read, from 0
    to 1, and may be looked at from any thread.
    """

    doing = ""  # `loaded` says it all

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
        chunk: int | None = None,
        keep: int | None = None,
    ) -> None:
        self.folder = folder
        self.name = name or folder.name
        self._device, self._dtype, self._quantize = device, dtype, quantize
        self._cache, self._note = cache, note
        self._available, self._chunk, self._keep = available, chunk, keep
        self._lock = threading.Lock()
        self._runner: Runner | None = None
        self.loaded = 0.0

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Answer:
        """Answer the last message; the first pull loads the weights if they are not loaded.

        Several threads may each pull an answer, and any thread may `close` one: its computing stops within a layer.
        """
        return Answer(lambda check: self._answer(messages, sampling, check))

    def _answer(self, messages: Sequence[Message], sampling: Sampling, check: Check) -> Generator[Chunk, None, None]:
        from pixtral_cli.engines.local.generation.detokenizer import Detokenizer

        clock = Clock()
        _check_sampling(sampling)
        with clock.time("load"):
            tokenizer = self.tokenizer
            guide = self._guide(sampling.schema)
        with clock.time("encode"):
            prompt = self._encode(with_schema_prompt(messages, sampling.schema))
        room = self._room(prompt, sampling)
        with clock.time("load"):
            runner = self.load(check, len(prompt.tokens) + min(sampling.max_tokens or ANSWER, ANSWER))
        from pixtral_cli.engines.local.generation.sampling import make_sampler  # brings torch, as loading does

        text = Detokenizer(tokenizer.bytes_of, sampling.stop)
        count, ended = 0, False
        with runner.sequences.lend(prompt) as (sequence, matched):
            logits = runner.prefill(prompt, sequence, clock, check)
            for token in runner.decode(sequence, logits, make_sampler(sampling, guide.over if guide else None), room):
                clock.first_token()
                if token == tokenizer.eos:
                    break
                count += 1
                if piece := text.feed(token):
                    yield Chunk(piece)
                if ended := text.stopped or (guide is not None and guide.ended):
                    break
                check()
        reason: FinishReason = "length" if count == room and not ended else "stop"
        usage = Usage(len(prompt.tokens), count, prompt.image_tokens, matched)
        yield Chunk(text.close(), reason, usage, clock.timings(runner.peak_memory()))

    def measure(self, messages: Sequence[Message]) -> Cost:
        """Count tokens; needs only params.json and tekken.json."""
        prompt = self._encode(messages)
        images = tuple(ImageCost(placed.grid.width, placed.grid.height, placed.grid.tokens) for placed in prompt.images)
        return Cost(len(prompt.tokens), self.params.context_window, images)

    def load(self, check: Check = go_on, positions: int = QUESTION + ANSWER) -> "Runner":
        """Load the weights now unless they are loaded; `check` is called often and may raise.

        Raises ModelError, or OutOfMemory when there is no room for the weights and the cache of so many positions.
        """
        with self._lock:
            if self._runner is None:
                _ = self.tokenizer  # what cannot read is refused before its weights are read
                undisturbed(lambda: uncollected(import_model))
                from pixtral_cli.engines.local.generation.runner import Runner
                from pixtral_cli.engines.local.runtime.oom import translated
                from pixtral_cli.engines.local.runtime.placement import Wanted, available
                from pixtral_cli.engines.local.weights.loader import load

                wanted = Wanted(
                    self._device, self._dtype, self._available or available, self._quantize, self._cache, self._note,
                    min(positions, self.params.context_window),
                )  # fmt: skip
                with translated(f"loading {self.name}"):
                    weights = load(self.folder, self.params, self.name, wanted, check, self._heard)
                if weights.device.type == "cuda":  # or the second turn would wait for it
                    undisturbed(lambda: import_module("torch.nn.attention.bias"))
                self._runner = Runner(weights, self.params, self.name, wanted.available, self._chunk, self._keep)
            return self._runner

    def _heard(self, part: float) -> None:
        self.loaded = part

    def close(self) -> None:
        """Give the memory back; the next question loads again."""
        with self._lock:
            self.loaded = 0.0
            if self._runner is not None:
                from pixtral_cli.engines.local.runtime.placement import release

                device = self._runner.weights.device
                self._runner = None
                release(device)

    @cached_property
    def params(self) -> Params:
        return read_params(self.folder, self.name)

    @cached_property
    def tokenizer(self) -> "Tokenizer":
        return undisturbed(lambda: uncollected(self._read_tokenizer))

    def _read_tokenizer(self) -> "Tokenizer":
        from pixtral_cli.engines.local.tokens.tokenizer import Tokenizer

        return Tokenizer(self.folder, self.params, self.name)

    def _encode(self, messages: Sequence[Message]) -> "Prompt":
        tokenizer, window = self.tokenizer, self.params.context_window

        def work() -> "Prompt":
            from pixtral_cli.engines.local.tokens.encode import encode

            return encode(messages, tokenizer, window)

        return undisturbed(work)

    def _guide(self, schema: dict[str, Any] | None) -> "Guide | None":
        """Raises UsageError when no answer can be held to the schema."""
        if schema is None:
            return None

        from pixtral_cli.engines.local.generation.grammar import compile_schema

        grammar = compile_schema(schema)
        vocabulary = undisturbed(lambda: self.tokenizer.vocabulary)
        from pixtral_cli.engines.local.generation.constraint import Guide

        return Guide(vocabulary, grammar)

    def _room(self, prompt: "Prompt", sampling: Sampling) -> int:
        """How many tokens the answer may take. Raises ContextError when the prompt leaves too few."""
        cost = Cost(len(prompt.tokens), self.params.context_window)
        cost.check_fits(sampling.max_tokens)
        return sampling.max_tokens or cost.left


def import_model() -> None:
    """Import torch and all that computes with it.

    Torch's idle threads would look out for more work, and take the time from those of our kernel. How long they do is read
    as torch is loaded, and is not said to other programs.
    """
    chosen = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if not chosen:
        os.environ["GOMP_SPINCOUNT"] = "10000"
    try:
        import_module("pixtral_cli.engines.local.generation.runner")
        import_module("pixtral_cli.engines.local.model.upstream").modules()
    finally:
        if not chosen:
            del os.environ["GOMP_SPINCOUNT"]


def _check_sampling(sampling: Sampling) -> None:
    wrong = ""
    if not 0 <= sampling.temperature < float("inf"):
        wrong = f"The temperature must be 0 or more, not {sampling.temperature}"
    elif not 0 <= sampling.top_p <= 1:
        wrong = f"top_p must lie between 0 and 1, not be {sampling.top_p}"
    elif sampling.max_tokens is not None and sampling.max_tokens < 1:
        wrong = f"max_tokens must be at least 1, not {sampling.max_tokens}"
    elif sampling.seed is not None and not -(2**63) <= sampling.seed < 2**63:
        wrong = f"The seed must fit in 64 bits, unlike {str(sampling.seed)[:30]}"
    if wrong:
        raise UsageError(wrong)
