"""A remote engine over a vLLM that pixtral has started: what vLLM does not know of a checkpoint is in the request."""

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
from pixtral_cli.images.image import Image

TOOL_FLAGS = ("--enable-auto-tool-choice", "--tool-call-parser", "mistral")
MARKERS = {False: "[THINK]", True: "[/THINK]"}  # what begins thinking, and what ends it
MAX_PIXELS = 1 << 21  # that are sent as they are, for vLLM itself to resize


class VllmClientEngine(RemoteEngine):
    """Requests to one vLLM for a checkpoint, of which `counter` has the tokenizer and the vendor's system prompt."""

    def __init__(self, client: ApiClient, model: str, counter: LocalEngine) -> None:
        super().__init__(client, model)
        self._counter = counter

    def _encode(self, image: Image) -> str:
        return encode_exact(image, self._counter)

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, request: CancellableRequest
    ) -> Generator[Chunk, None, None]:
        chunks = super()._answer(messages, sampling, request)
        splitters: defaultdict[int, ThinkingSplitter] = defaultdict(ThinkingSplitter)
        thinks = self._counter.tokenizer.think_tokens is not None
        with contextlib.closing(chunks):
            for chunk in chunks:
                split = _with_thinking_split(chunk, splitters[chunk.index]) if thinks else chunk
                if split != Chunk(index=chunk.index):
                    yield split

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> Any:
        """The request's body, its system prompt as the local engine would encode it."""
        body = super()._body(self._counter.with_default_system_prompt(messages), sampling)
        if self._counter.tokenizer.thinks_in_system_prompt:
            for message in body["messages"]:
                if message["role"] == "system":
                    message["content"] = list(_thinking_parts(message["content"]))
        return body


def parser_arguments(counter: LocalEngine) -> tuple[str, ...]:
    """vLLM's flags without which it refuses tools, for chat templates up to v7.

    From v11 on vLLM's parser computes a grammar for every request by a function of mistral_common whose arguments are others
    since 1.13: vLLM 0.32 then answers none. Thinking is split off here instead.
    """
    tokens = counter.tokenizer.tool_tokens
    return TOOL_FLAGS if tokens and tokens.args is None else ()


class ThinkingSplitter:
    """Splits an answer that comes in pieces into what stands between [THINK] and [/THINK] and the rest."""

    def __init__(self) -> None:
        self._thinking = False
        self._held = ""  # the beginning of a marker, perhaps

    def feed(self, text: str) -> tuple[str, str]:
        """The thinking and the answer in the next piece, as far as they are certain."""
        said = {True: "", False: ""}
        left = self._held + text
        while (at := left.find(marker := MARKERS[self._thinking])) >= 0:
            said[self._thinking] += left[:at]
            left = left[at + len(marker) :]
            self._thinking = not self._thinking
        held = next((size for size in range(len(marker) - 1, 0, -1) if left.endswith(marker[:size])), 0)
        self._held = left[len(left) - held :]
        said[self._thinking] += left[: len(left) - held]
        return said[True], said[False]

    def end(self) -> tuple[str, str]:
        """What was held back."""
        held, self._held = self._held, ""
        return (held, "") if self._thinking else ("", held)


def _with_thinking_split(chunk: Chunk, splitter: ThinkingSplitter) -> Chunk:
    reasoning, text = splitter.feed(chunk.text)
    if chunk.finish_reason is not None:
        reasoning, text = (one + more for one, more in zip((reasoning, text), splitter.end(), strict=True))
    return replace(chunk, text=text, reasoning=chunk.reasoning + reasoning)


def _thinking_parts(text: str) -> Iterator[dict[str, Any]]:
    """A system prompt whose [THINK]…[/THINK] shows the form of thinking, as parts of a message's content."""
    from pixtral_cli.engines.local.tokens.encode import THINKING

    for index, part in enumerate(THINKING.split(text)):
        if index % 2:
            yield {"type": "thinking", "thinking": part, "closed": True}
        elif part:
            yield {"type": "text", "text": part}


def encode_exact(image: Image, counter: LocalEngine) -> str:
    """A lossless data URL of the pixels that the local engine would resize; of a far larger image, of what comes of that."""
    grid = counter.tokenizer.grid
    needed = grid(image.size)
    pixels = image.pixels(at_least=(needed.width, needed.height))
    if grid(pixels.size) != needed:
        pixels = image.pixels()
    if pixels.width * pixels.height > max(MAX_PIXELS, needed.width * needed.height):
        pixels = _resized(pixels, (needed.width, needed.height))
    file = io.BytesIO()
    pixels.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{b64encode(file.getvalue()).decode('ascii')}"


def _resized(pixels: Any, size: tuple[int, int]) -> Any:
    """The image in this size by mistral_common's interpolation, rounded to whole levels."""
    import cv2
    import numpy as np
    from PIL import Image as Pillow

    resized = cv2.resize(np.asarray(pixels, dtype=np.float32), size, interpolation=cv2.INTER_CUBIC)
    return Pillow.fromarray(np.clip(np.rint(resized), 0, 255).astype(np.uint8))
