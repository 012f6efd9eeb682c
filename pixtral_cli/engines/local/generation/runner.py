"""A loaded model at work: prefills prompts and decodes tokens on kept sequences, running answers' tokens together."""

from collections.abc import Callable, Iterator
from collections.abc import Sequence as Several
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from pixtral_cli.engines.local.config import Params, verify_hint
from pixtral_cli.engines.local.generation.drafting import Lookup
from pixtral_cli.engines.local.generation.prefix_cache import Sequence, Sequences
from pixtral_cli.engines.local.generation.sampling import NotFinite, Sampler
from pixtral_cli.engines.local.generation.scheduler import Turn, Turns
from pixtral_cli.engines.local.kernels.cpu import FEW, supports_products
from pixtral_cli.engines.local.model.decoder import Decoder, Span
from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.model.vision import Vision
from pixtral_cli.engines.local.runtime import placement
from pixtral_cli.engines.local.runtime.cancellation import Check, go_on
from pixtral_cli.engines.local.runtime.oom import HINT, translated
from pixtral_cli.engines.local.runtime.placement import Available
from pixtral_cli.engines.local.runtime.timing import Clock
from pixtral_cli.engines.local.tokens.encode import Placed, Prompt
from pixtral_cli.engines.local.weights.loader import not_finite
from pixtral_cli.errors import ModelError, OutOfMemory

R = TypeVar("R")

CHUNK = {"cuda": 2048, "mps": 1024, "cpu": 512}  # positions of a prefill step
SHARE = 4  # idle KV caches take no more than this part of the device's memory, and no more than the weights do,
LEAST = 1 << 27  # unless these are smaller than so many bytes


class Step(Turn):
    """Tokens to be appended to a sequence, and what came of it: the logits after each, or that memory ran out.

    Those after the first are guesses; they may be left out.
    """

    def __init__(self, sequence: Sequence, tokens: Several[int]) -> None:
        super().__init__(key=sequence)
        self.sequence, self.tokens = sequence, tokens
        self.start = sequence.cache.length
        self.logits: Several[Tensor] = ()
        self.error: OutOfMemory | None = None


class Runner:
    """Threads take turns by the chunk and the step, each on a sequence of its own."""

    def __init__(
        self,
        weights: Weights,
        params: Params,
        name: str,
        available: Available,
        chunk: int | None = None,
        keep: int | None = None,
    ) -> None:
        self.weights = weights
        self.name = name
        self._params = params
        self._available = available
        self._chunk = chunk or CHUNK[weights.device.type]
        self._decoder = Decoder(weights, params)
        self._vision = Vision(weights, params) if params.vision else None
        usual = min(placement.total(weights.device) // SHARE, max(weights.size, LEAST))
        self.sequences = Sequences(self._new_cache, usual if keep is None else keep)
        # Torch's last norm rounds the last few of an odd number otherwise when it has several.
        self._exact = self._decoder.by_kernel and params.dim % 32 == 0
        self.turns: Turns[Step] = Turns()
        self._answering = 1 if self._decoder.by_kernel else placement.threads(weights.size)  # torch's threads

    def prefill(self, prompt: Prompt, sequence: Sequence, clock: Clock, check: Check = go_on) -> Tensor:
        """Compute what the sequence lacks of the prompt, in chunks; returns the logits (vocabulary,) of the next token.

        `check` is called before every layer and may raise.
        """
        length = len(prompt.tokens)
        self._alone("growing the KV cache", lambda: sequence.cache.grow(length))
        while (logits := self._chunk_of(prompt, sequence, clock, check)) is None:
            pass
        return logits

    def _chunk_of(self, prompt: Prompt, sequence: Sequence, clock: Clock, check: Check) -> Tensor | None:
        """Compute the next chunk of the prompt; returns the logits of the next token after the last."""
        start = sequence.cache.length
        stop = min(start + self._chunk, len(prompt.tokens))
        with clock.time("encode"):
            states = self._alone("reading the images", lambda: self._embed(prompt, start, stop, check))

        def read() -> Tensor | None:
            last = self._decoder.forward(states, [Span(sequence.cache, stop - start)], check)
            return self._decoder.logits(last)[0] if stop == len(prompt.tokens) else None

        with clock.time("prefill"):
            return self._alone("reading the prompt", read, self._answering if stop - start <= FEW else None)

    def decode(self, sequence: Sequence, logits: Tensor, pick: Sampler, room: int) -> Iterator[int]:
        """At most `room` tokens, the first chosen from `logits`; each later one is computed when it is asked for.

        The end of text is a token like any other. Raises ModelError when the model computes what is not a number.
        """
        lookup = Lookup(sequence.tokens) if self._exact else None
        rows: Several[Tensor] = [logits]  # after what is certain, then after each token of the guess
        guess: list[int] = []
        right = 0  # tokens of the guess that have come true
        try:
            for left in range(room, 0, -1):
                token = self._pick(sequence, rows[right], pick)
                yield token
                if lookup:
                    lookup.add(token)
                if guess[right : right + 1] == [token]:
                    right += 1
                elif left > 1:
                    sequence.cut(len(guess) - right)
                    guess = lookup.guess(left - 2, len(guess), right) if lookup else []
                    rows = self._extend(sequence, [token, *guess])
                    guess, right = guess[: len(rows) - 1], 0
        finally:
            self.turns.gone(sequence)

    def _extend(self, sequence: Sequence, tokens: Several[int]) -> Several[Tensor]:
        """Append a token and guesses of what follows it, of which the last may be left out; the logits after each."""
        step = Step(sequence, tokens)
        sequence.tokens += tokens
        self.turns.together(step, self._compute)
        if step.error:
            raise step.error
        del sequence.tokens[sequence.cache.length :]
        return step.logits

    def _compute(self, steps: Several[Step]) -> None:
        """The logits of every step; where memory is too short for all at once, one after the other."""
        most = max(1, FEW // len(steps))
        tokens = [step.tokens[:most] for step in steps]
        try:
            with self._ready("answering", self._answering), self._matrix_vector(len(steps)):
                for step in steps:
                    step.sequence.cache.length, step.error = step.start, None
                spans = [
                    Span(step.sequence.cache, len(new), apart=True) for step, new in zip(steps, tokens, strict=True)
                ]
                states = self._decoder.forward(self._decoder.embed([token for new in tokens for token in new]), spans)
                logits = torch.split(self._decoder.logits(states), [len(new) for new in tokens])
                for step, rows in zip(steps, logits, strict=True):
                    step.logits = rows.unbind()
        except OutOfMemory as error:
            if len(steps) == 1:
                steps[0].error = error
            else:
                for step in steps:
                    self._compute([step])

    def _pick(self, sequence: Sequence, logits: Tensor, pick: Sampler) -> int:
        placement.use_threads(self._answering)
        try:
            return pick(logits)
        except NotFinite as error:
            sequence.cache.length = 0  # what it holds is no better
            if bad := not_finite(self.weights):
                message = f"The weights of {self.name} hold values that are not numbers: {bad}"
                raise ModelError(message[:120], verify_hint(self.name)) from error
            raise ModelError(f"{self.name} computed values that are not numbers", "Try --dtype fp32") from error

    def peak_memory(self) -> int:
        return placement.peak_memory(self.weights.device)

    @torch.inference_mode()
    def _embed(self, prompt: Prompt, start: int, stop: int, check: Check) -> Tensor:
        """The prompt's positions [start, stop) as the decoder takes them, image features in their places."""
        states = self._decoder.embed(prompt.tokens[start:stop])
        for placed in prompt.images:
            if placed.start < stop and start < placed.stop:
                self._fill(states, placed, start, stop, check)
        return states

    def _fill(self, states: Tensor, placed: Placed, start: int, stop: int, check: Check) -> None:
        assert self._vision
        first, last = max(start, placed.start), min(stop, placed.stop)
        offsets = torch.arange(first - placed.start, last - placed.start)
        row = placed.grid.columns + 1  # each row of patches ends in a break
        patches = offsets % row != placed.grid.columns
        wanted = (offsets - offsets // row)[patches].to(states.device)
        places = (offsets + placed.start - start)[patches].to(states.device)
        states[places] = self._vision.features(placed, check)[wanted]

    def _new_cache(self) -> KVCache:
        return KVCache(self._params, self.weights.device, self.weights.dtype, self._reserve)

    def _reserve(self, size: int) -> None:
        """Make sure that `size` bytes are free, at the cost of what is only kept; raises OutOfMemory."""
        while (have := self._available(self.weights.device)) < size:
            if not self.sequences.drop_one() and not (self._vision and self._vision.forget()):
                raise placement.not_enough("The KV cache", have, size, HINT)

    def _alone(self, doing: str, work: Callable[[], R], threads: int | None = None) -> R:
        def ready() -> R:
            with self._ready(doing, threads):
                return work()

        return self.turns.alone(ready)

    @contextmanager
    def _ready(self, doing: str, threads: int | None = None) -> Iterator[None]:
        with translated(doing):
            placement.use_threads(threads or placement.threads(self.weights.size))
            yield

    @contextmanager
    def _matrix_vector(self, count: int) -> Iterator[None]:
        """On a CPU without our kernel, oneDNN's product of a matrix and one vector in bfloat16 is slower than torch's."""
        device, dtype = self.weights.device, self.weights.dtype
        if count > 1 or device.type != "cpu" or dtype != torch.bfloat16 or supports_products(device, dtype):
            yield
            return
        backend: Any = torch.backends.mkldnn  # its `flags` would warn of TF32
        before = backend.enabled
        try:
            backend.enabled = False
            yield
        finally:
            backend.enabled = before
