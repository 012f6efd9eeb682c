"""A remote engine over a vLLM that pixtral has started: what vLLM does not know of a checkpoint is in the request."""

import io
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Any

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.images.image import Image

MAX_PIXELS = 1 << 21  # that are sent as they are, for vLLM itself to resize


class VllmClientEngine(RemoteEngine):
    """Requests to one vLLM for a checkpoint, of which `counter` has the tokenizer and the vendor's system prompt."""

    def __init__(self, client: ApiClient, model: str, counter: LocalEngine) -> None:
        super().__init__(client, model)
        self._counter = counter

    def _encode(self, image: Image) -> str:
        return encode_exact(image, self._counter)

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> Any:
        """The request's body, its system prompt as the local engine would encode it."""
        body = super()._body(self._counter.with_default_system_prompt(messages), sampling)
        if self._counter.tokenizer.thinks_in_system_prompt:
            for message in body["messages"]:
                if message["role"] == "system":
                    message["content"] = list(_thinking_parts(message["content"]))
        return body


def parser_arguments(counter: LocalEngine) -> tuple[str, ...]:
    """vLLM's flags that take thinking and tool calls out of an answer's text, where the chat template has tokens for them."""
    tokenizer = counter.tokenizer
    thinking = ("--reasoning-parser", "mistral") if tokenizer.think_tokens else ()
    tools = ("--enable-auto-tool-choice", "--tool-call-parser", "mistral") if tokenizer.tool_tokens else ()
    return (*thinking, *tools)


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
