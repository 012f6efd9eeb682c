"""Prefills prompts and decodes tokens on cached sequences; concurrent answers share decode steps."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor

from pixtral_cli.chat.engine import CacheUse
from pixtral_cli.engines.local.config import Params, verify_hint
from pixtral_cli.engines.local.generation.drafting import PromptLookup
from pixtral_cli.engines.local.generation.prefix_cache import CachedSequence, PrefixCache
from pixtral_cli.engines.local.generation.sampling import NonFiniteLogits, Sampler
from pixtral_cli.engines.local.generation.scheduler import Scheduler, WorkItem
from pixtral_cli.engines.local.kernels.cpu import kernel_supports
from pixtral_cli.engines.local.kernels.formats import MAX_ROWS
from pixtral_cli.engines.local.model.decoder import Decoder, Span
from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.model.vision import VisionEncoder
from pixtral_cli.engines.local.runtime import placement
from pixtral_cli.engines.local.runtime.cache_limits import feature_cache_limit, idle_kv_limit
from pixtral_cli.engines.local.runtime.cancellation import CancelCheck, no_cancel
from pixtral_cli.engines.local.runtime.oom import OOM_HINT, translate_oom
from pixtral_cli.engines.local.runtime.placement import AvailableMemory
from pixtral_cli.engines.local.runtime.timing import PhaseTimer
from pixtral_cli.engines.local.tokens.encode import Prompt, PromptImage
from pixtral_cli.engines.local.weights.loader import find_non_finite
from pixtral_cli.errors import ModelError, OutOfMemory

R = TypeVar("R")

PREFILL_CHUNK = {"cuda": 2048, "mps": 1024, "cpu": 512}  # positions of a prefill step


class DecodeStep(WorkItem):
    """Tokens to append to a sequence, and the result: the logits after each of them, or OutOfMemory.

    Tokens after the first are drafts; a step may leave out the last of them.
    """

    def __init__(self, sequence: CachedSequence, tokens: Sequence[int]) -> None:
        super().__init__(key=sequence)
        self.sequence, self.tokens = sequence, tokens
        self.start = sequence.cache.length
        self.logits: Sequence[Tensor] = ()
        self.error: OutOfMemory | None = None


class Runner:
    """The prefill and decode loops of a loaded model. Several threads may use it, each with its own sequence."""

    def __init__(
        self,
        weights: Weights,
        params: Params,
        name: str,
        available: AvailableMemory,
        prefill_chunk: int | None = None,
        idle_cache_bytes: int | None = None,
    ) -> None:
        self.weights = weights
        self.name = name
        self._params = params
        self._available = available
        self._prefill_chunk = prefill_chunk or PREFILL_CHUNK[weights.device.type]
        self._decoder = Decoder(weights, params)
        memory = placement.total_memory(weights.device)
        features = feature_cache_limit(weights.size, memory)
        self._vision = VisionEncoder(weights, params, features, available) if params.vision else None
        idle = idle_kv_limit(weights.size, memory) if idle_cache_bytes is None else idle_cache_bytes
        self.prefix_cache = PrefixCache(self._new_cache, idle)
        # Drafting requires that batched logits equal single ones. torch's final norm rounds differently unless
        # dim % 32 is 0.
        self._drafts = self._decoder.uses_fused_step and params.dim % 32 == 0
        self.scheduler: Scheduler[DecodeStep] = Scheduler()
        self._decode_threads = 1 if self._decoder.uses_fused_step else placement.thread_count(weights.size)

    def prefill(
        self, prompt: Prompt, sequence: CachedSequence, clock: PhaseTimer, check: CancelCheck = no_cancel
    ) -> Tensor:
        """Compute the uncached part of the prompt in chunks; returns the logits (vocabulary,) of the next token.

        `check` is called before every layer and may raise.
        """
        length = len(prompt.tokens)
        self._run_exclusive("growing the KV cache", lambda: sequence.cache.grow(length))
        while (logits := self._prefill_next_chunk(prompt, sequence, clock, check)) is None:
            sequence.shareable = sequence.cache.length
        sequence.shareable = length
        return logits

    def _prefill_next_chunk(
        self, prompt: Prompt, sequence: CachedSequence, clock: PhaseTimer, check: CancelCheck
    ) -> Tensor | None:
        """Compute the next chunk of the prompt; returns the logits of the next token after the last chunk, else None."""
        start = sequence.cache.length
        stop = min(start + self._prefill_chunk, len(prompt.tokens))
        with clock.time("encode"):
            states = self._run_exclusive("reading the images", lambda: self._embed(prompt, start, stop, check))

        def compute() -> Tensor | None:
            last = self._decoder.forward(states, [Span(sequence.cache, stop - start)], check)
            return self._decoder.logits(last)[0].cpu() if stop == len(prompt.tokens) else None

        with clock.time("prefill"):
            return self._run_exclusive(
                "reading the prompt", compute, self._decode_threads if stop - start <= MAX_ROWS else None
            )

    def decode(self, sequence: CachedSequence, logits: Tensor, sample: Sampler, limit: int) -> Iterator[int]:
        """At most `limit` tokens, the first sampled from `logits`; later ones are computed when they are requested.

        The end-of-text token is yielded like any other. Raises ModelError when logits are NaN or infinite.
        """
        drafter = PromptLookup(sequence.tokens) if self._drafts else None
        rows: Sequence[Tensor] = [logits]  # after the last accepted token, then after each drafted one
        draft: list[int] = []
        accepted = 0  # tokens of the draft that were sampled
        try:
            for remaining in range(limit, 0, -1):
                token = self._sample(sequence, rows[accepted], sample)
                yield token
                if drafter:
                    drafter.add(token)
                if draft[accepted : accepted + 1] == [token]:
                    accepted += 1
                elif remaining > 1:
                    sequence.truncate(len(draft) - accepted)
                    draft = drafter.draft(remaining - 2, len(draft), accepted) if drafter else []
                    rows = self._extend(sequence, [token, *draft])
                    draft, accepted = draft[: len(rows) - 1], 0
        finally:
            self.scheduler.finish(sequence)

    def _extend(self, sequence: CachedSequence, tokens: Sequence[int]) -> Sequence[Tensor]:
        """Append a token and drafts of its successors, some of which may be left out; returns the logits after each."""
        step = DecodeStep(sequence, tokens)
        sequence.tokens += tokens
        self.scheduler.run_batched(step, self._compute)
        if step.error:
            raise step.error
        del sequence.tokens[sequence.cache.length :]
        return step.logits

    def _compute(self, steps: Sequence[DecodeStep]) -> None:
        """Compute the logits of all steps in one batch; if memory runs out, one step at a time."""
        limit = max(1, MAX_ROWS // len(steps))
        tokens = [step.tokens[:limit] for step in steps]
        try:
            with self._prepared("answering", self._decode_threads), self._matrix_vector(len(steps)):
                for step in steps:
                    step.sequence.cache.length, step.error = step.start, None
                spans = [
                    Span(step.sequence.cache, len(new), separate=True) for step, new in zip(steps, tokens, strict=True)
                ]
                states = self._decoder.forward(self._decoder.embed([token for new in tokens for token in new]), spans)
                # One copy to the CPU for all rows, so that sampling does not wait for the device. It also waits for the step's
                # end; otherwise the answers would request their next steps one by one, and no batch would form.
                logits = torch.split(self._decoder.logits(states).cpu(), [len(new) for new in tokens])
                for step, rows in zip(steps, logits, strict=True):
                    step.logits = rows.unbind()
        except OutOfMemory as error:
            if len(steps) == 1:
                steps[0].error = error
            else:
                for step in steps:
                    self._compute([step])

    def _sample(self, sequence: CachedSequence, logits: Tensor, sample: Sampler) -> int:
        """The token that `sample` chooses. Raises ModelError when logits are NaN or infinite."""
        placement.set_threads(self._decode_threads)
        try:
            return sample(logits)
        except NonFiniteLogits as error:
            sequence.cache.length = sequence.shareable = 0  # its keys and values are NaN too
            if bad := find_non_finite(self.weights):
                message = f"The weights of {self.name} hold values that are not numbers: {bad}"
                raise ModelError(message[:120], verify_hint(self.name)) from error
            raise ModelError(f"{self.name} computed values that are not numbers", "Try --dtype fp32") from error

    def cache_use(self) -> dict[str, CacheUse]:
        """The bytes and limits of the caches by name."""
        features = self._vision.cache_use if self._vision else CacheUse(0, 0)
        return {"image_features": features, "idle_kv": self.prefix_cache.use}

    def peak_memory(self) -> int:
        return placement.peak_memory(self.weights.device)

    @torch.inference_mode()
    def _embed(self, prompt: Prompt, start: int, stop: int, check: CancelCheck) -> Tensor:
        """Embeddings of the prompt's positions [start, stop): tokens, and image features at the image tokens."""
        states = self._decoder.embed(prompt.tokens[start:stop])
        for image in prompt.images:
            if image.start < stop and start < image.stop:
                self._insert_features(states, image, start, stop, check)
        return states

    def _insert_features(self, states: Tensor, image: PromptImage, start: int, stop: int, check: CancelCheck) -> None:
        """Write the features of an image's tokens within positions [start, stop) into `states`."""
        assert self._vision
        first, last = max(start, image.start), min(stop, image.stop)
        offsets = torch.arange(first - image.start, last - image.start)
        width = image.grid.columns + 1  # each row of patches ends in a break token
        patches = offsets % width != image.grid.columns
        sources = (offsets - offsets // width)[patches].to(states.device)
        targets = (offsets + image.start - start)[patches].to(states.device)
        states[targets] = self._vision.features(image, check)[sources].to(states.dtype)

    def _new_cache(self) -> KVCache:
        return KVCache(self._params, self.weights.device, self.weights.dtype, self._reserve)

    def _reserve(self, size: int) -> None:
        """Free `size` bytes, dropping cached sequences and features as needed; raises OutOfMemory."""
        while (free := self._available(self.weights.device)) < size:
            if not self.prefix_cache.drop_one() and not (self._vision and self._vision.clear_cache()):
                raise placement.out_of_memory("The KV cache", free, size, OOM_HINT)

    def _run_exclusive(self, doing: str, work: Callable[[], R], threads: int | None = None) -> R:
        """The result of `work`, during which nothing else is computed."""

        def prepared() -> R:
            with self._prepared(doing, threads):
                return work()

        return self.scheduler.run_exclusive(prepared)

    @contextmanager
    def _prepared(self, doing: str, threads: int | None = None) -> Iterator[None]:
        """Sets torch's thread count and raises OutOfMemory, which names `doing`, when memory runs out."""
        with translate_oom(doing):
            placement.set_threads(threads or placement.thread_count(self.weights.size))
            yield

    @contextmanager
    def _matrix_vector(self, count: int) -> Iterator[None]:
        """Turns oneDNN off where torch's bfloat16 matrix-vector product is faster: on CPUs without the kernel."""
        device, dtype = self.weights.device, self.weights.dtype
        if count > 1 or device.type != "cpu" or dtype != torch.bfloat16 or kernel_supports(device, dtype):
            yield
            return
        backend: Any = torch.backends.mkldnn  # its `flags` would warn of TF32
        before = backend.enabled
        try:
            backend.enabled = False
            yield
        finally:
            backend.enabled = before
