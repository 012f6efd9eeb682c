"""A remote engine for a vLLM that pixtral has started: requests contain what vLLM does not read from the checkpoint."""

import contextlib
import io
from base64 import b64encode
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.vllm.tool_calls import CallSplitter, answer_grammar, reads_calls
from pixtral_cli.images.image import Image

TOOL_FLAGS = ("--enable-auto-tool-choice", "--tool-call-parser", "mistral")
MARKERS = {False: "[THINK]", True: "[/THINK]"}  # the marker that begins reasoning, and the one that ends it
MAX_PIXELS = 1 << 21  # images of at most so many pixels are sent unresized; vLLM resizes them


class VllmClientEngine(RemoteEngine):
    """Requests to one vLLM for a checkpoint, of which `counter` has the tokenizer and the vendor's system prompt.

    `parses_calls`: vLLM was told to read tool calls by a parser of its own, whatever the chat template.
    """

    def __init__(self, client: ApiClient, model: str, counter: LocalEngine, *, parses_calls: bool = False) -> None:
        super().__init__(client, model)
        self._counter = counter
        self._parses_calls = parses_calls

    def _encode(self, image: Image) -> str:
        return encode_exact(image, self._counter)

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, request: CancellableRequest
    ) -> Generator[Chunk, None, None]:
        chunks = super()._answer(messages, sampling, request)
        splitters: defaultdict[int, ThinkingSplitter] = defaultdict(ThinkingSplitter)
        callers: defaultdict[int, CallSplitter] = defaultdict(CallSplitter)
        thinks, calls = self._counter.tokenizer.think_tokens is not None, self._reads_calls(sampling)
        with contextlib.closing(chunks):
            for chunk in chunks:
                split = _with_thinking_split(chunk, splitters[chunk.index]) if thinks else chunk
                split = callers[chunk.index].feed(split) if calls else split
                if split != Chunk(index=chunk.index):
                    yield split

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> Any:
        """The body of a request, with the system prompt that the local engine would use."""
        body = super()._body(self._counter.with_default_system_prompt(messages), sampling)
        if self._reads_calls(sampling):
            body["structured_outputs"] = {"grammar": answer_grammar(sampling, self._counter.tokenizer)}
            body["tool_choice"] = "auto"
            body.pop("response_format", None)
        elif sampling.tool_choice == "none":
            body = {name: value for name, value in body.items() if name not in ("tools", "tool_choice")}
        if self._counter.tokenizer.thinks_in_system_prompt:
            for message in body["messages"]:
                if message["role"] == "system":
                    message["content"] = list(_thinking_parts(message["content"]))
        return body

    def _reads_calls(self, sampling: Sampling) -> bool:
        """Whether calls of the answer are held to their schemas and read here."""
        return bool(sampling.offered_tools) and not self._parses_calls and reads_calls(self._counter.tokenizer)


def parser_arguments(counter: LocalEngine) -> tuple[str, ...]:
    """vLLM's flags without which it refuses tools, for chat templates up to v7. Calls of later ones are read by `tool_calls`.

    Thinking is split off here, too.
    """
    tokens = counter.tokenizer.tool_tokens
    return TOOL_FLAGS if tokens and tokens.args is None else ()


def has_parser(arguments: Sequence[str]) -> bool:
    """Whether arguments of vLLM name a parser of tool calls."""
    return any(word.split("=")[0] == TOOL_FLAGS[1] for word in arguments)


class ThinkingSplitter:
    """Splits the pieces of an answer into reasoning, between [THINK] and [/THINK], and text."""

    def __init__(self) -> None:
        self._thinking = False
        self._held = ""  # text that may be the beginning of a marker

    def feed(self, text: str) -> tuple[str, str]:
        """The reasoning and the text that are final with the next piece."""
        parts = {True: "", False: ""}
        remaining = self._held + text
        while (at := remaining.find(marker := MARKERS[self._thinking])) >= 0:
            parts[self._thinking] += remaining[:at]
            remaining = remaining[at + len(marker) :]
            self._thinking = not self._thinking
        held = next((size for size in range(len(marker) - 1, 0, -1) if remaining.endswith(marker[:size])), 0)
        self._held = remaining[len(remaining) - held :]
        parts[self._thinking] += remaining[: len(remaining) - held]
        return parts[True], parts[False]

    def end(self) -> tuple[str, str]:
        """The reasoning and the text that were held back."""
        held, self._held = self._held, ""
        return (held, "") if self._thinking else ("", held)


def _with_thinking_split(chunk: Chunk, splitter: ThinkingSplitter) -> Chunk:
    """The chunk with the reasoning in its text moved to `reasoning`."""
    reasoning, text = splitter.feed(chunk.text)
    if chunk.finish_reason is not None:
        last_reasoning, last_text = splitter.end()
        reasoning, text = reasoning + last_reasoning, text + last_text
    return replace(chunk, text=text, reasoning=chunk.reasoning + reasoning)


def _thinking_parts(text: str) -> Iterator[dict[str, Any]]:
    """The parts of a system prompt, in which [THINK]…[/THINK] shows the form of reasoning."""
    from pixtral_cli.engines.local.tokens.encode import THINKING

    for index, part in enumerate(THINKING.split(text)):
        if index % 2:
            yield {"type": "thinking", "thinking": part, "closed": True}
        elif part:
            yield {"type": "text", "text": part}


def encode_exact(image: Image, counter: LocalEngine) -> str:
    """A lossless data URL of the pixels that the local engine would resize; of a much larger image, resized pixels."""
    grid = counter.tokenizer.grid
    target = grid(image.size)
    pixels = image.pixels(at_least=(target.width, target.height))
    if grid(pixels.size) != target:
        pixels = image.pixels()
    if pixels.width * pixels.height > max(MAX_PIXELS, target.width * target.height):
        pixels = _resized(pixels, (target.width, target.height))
    file = io.BytesIO()
    pixels.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode('ascii')}"


def _resized(pixels: Any, size: tuple[int, int]) -> Any:
    """The image resized with mistral_common's interpolation, and rounded to 8 bits."""
    import cv2
    import numpy as np
    from PIL import Image as Pillow

    resized = cv2.resize(np.asarray(pixels, dtype=np.float32), size, interpolation=cv2.INTER_CUBIC)
    return Pillow.fromarray(np.clip(np.rint(resized), 0, 255).astype(np.uint8))
