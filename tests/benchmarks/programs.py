"""A program that answers at once."""

from collections.abc import Sequence

from PIL.Image import Image

from benchmarks.scenario import Turn


class Parrot:
    """Keeps what it was asked and shown."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.shown: list[Image] = []

    def begin(self) -> None:
        pass

    def ask(self, text: str, images: Sequence[Image], tokens: int) -> Turn:
        self.asked.append(text)
        self.shown += images
        return Turn(0.1, 0.1, tokens, len(text))

    def alone(self, text: str, tokens: int) -> int:
        return tokens

    def close(self) -> dict[str, float]:
        return {}
