"""A checked image: where it comes from, what its header says, and its pixels when they are needed."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


@dataclass(frozen=True, slots=True)
class Box:
    """A crop in pixels of the upright image."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Image:
    """The original bytes of a picture and what was checked of them."""

    data: bytes = field(repr=False)
    name: str
    format: str
    width: int
    height: int
    sha256: str
    crop: Box | None = None
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of what is sent: the crop, or the whole upright image."""
        return (self.crop.width, self.crop.height) if self.crop else (self.width, self.height)

    @property
    def key(self) -> str:
        """Equal for equal pixels: the hash of the bytes and the crop."""
        return self.sha256 if self.crop is None else f"{self.sha256}@{self.crop}"

    def pixels(self, at_least: tuple[int, int] | None = None) -> "PILImage":
        """Decode to upright RGB (crop applied); reduced where that is cheap, never below `at_least`."""
        raise NotImplementedError
