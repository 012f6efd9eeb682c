"""A program behind this project's own `Engine` protocol."""

from collections.abc import Sequence
from io import BytesIO

from PIL.Image import Image

from benchmarks.scenario import Turn
from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.images.image import from_bytes


class Conversation:
    """Asks an engine through the seam that every command uses."""

    def __init__(self, engine: Engine, system: str = "") -> None:
        self.engine = engine
        self._first = [Message("system", (system,))] if system else []
        self.messages = list(self._first)

    def begin(self) -> None:
        self.messages = list(self._first)

    def ask(self, text: str, images: Sequence[Image], tokens: int) -> Turn:
        self.messages.append(user(text, [from_bytes(_png(image), "shapes.png") for image in images]))
        chunks = list(self.engine.stream(self.messages, Sampling(temperature=0.0, max_tokens=tokens)))
        usage, timings = chunks[-1].usage, chunks[-1].timings
        assert usage
        assert timings
        self.messages.append(assistant("".join(chunk.text for chunk in chunks) or "."))
        return Turn(timings.ttft, timings.decode, usage.completion_tokens, usage.prompt_tokens, usage.cached_tokens)

    def alone(self, text: str, tokens: int) -> int:
        *_, last = self.engine.stream([user(text)], Sampling(temperature=0.0, max_tokens=tokens))
        assert last.usage
        return last.usage.completion_tokens


def _png(image: Image) -> bytes:
    written = BytesIO()
    image.save(written, "PNG")
    return written.getvalue()
