"""Typefaces for the drawn words, and their glyph runs as masks. Knows no picture."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from demo.errors import DemoError

ROOT = Path("/usr/share/fonts")
PRINTED = (
    "DejaVuSans*", "DejaVuSerif*", "Liberation*", "NotoSans-*", "NotoSerif-*", "Roboto-[BRM]*", "RobotoCondensed-[BR]*",
    "Lato-[BRM]*", "Carlito*", "Hack-*", "FiraCode-[RMB]*", "Inconsolata*",
)  # fmt: skip
WRITTEN = ("Humor-Sans*", "TomsonTalks*", "ComicNeue-[BR]*")
HELD_OUT = ("OpenSans-Regular*", "OpenSans-Bold.*", "OpenSans-Semibold.*", "Caladea-*", "RobotoSlab-[RB]*")
PACKAGES = (
    "fonts-dejavu fonts-liberation2 fonts-noto-core fonts-roboto-unhinted fonts-roboto-slab fonts-lato fonts-open-sans "
    "fonts-crosextra-carlito fonts-crosextra-caladea fonts-hack fonts-firacode fonts-inconsolata fonts-humor-sans "
    "fonts-tomsontalks fonts-comic-neue"
)


@dataclass(frozen=True, slots=True)
class Run:
    """A drawn word: its ink as a mask, and where each character starts (the end last), in pixels of the mask."""

    mask: NDArray[np.uint8]
    starts: tuple[float, ...]


def _files(patterns: tuple[str, ...]) -> tuple[Path, ...]:
    found = [path for pattern in patterns for path in ROOT.rglob(f"{pattern}") if path.suffix in (".ttf", ".otf")]
    return tuple(sorted({path for path in found if "ExtraLight" not in path.name}, key=lambda path: path.name))


@functools.cache
def printed() -> tuple[Path, ...]:
    return _require(PRINTED)


@functools.cache
def written() -> tuple[Path, ...]:
    """Faces that look like handwriting, for sketches."""
    return _require(WRITTEN)


@functools.cache
def held_out() -> tuple[Path, ...]:
    """Faces kept for evaluation: no training picture is drawn with them."""
    return _require(HELD_OUT)


def _require(patterns: tuple[str, ...]) -> tuple[Path, ...]:
    files = _files(patterns)
    if not files:
        raise DemoError(f"no typeface like {patterns[0]} under {ROOT}", f"apt-get install {PACKAGES}")
    return files


@functools.lru_cache(maxsize=2000)
def _face(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@functools.lru_cache(maxsize=6000)
def run(text: str, path: Path, size: int) -> Run:
    """The ink of `text` at `size` pixels, cropped to its bounding box."""
    face = _face(path, size)
    left, top, right, bottom = (int(v) for v in face.getbbox(text))
    sheet = Image.new("L", (max(1, right - left), max(1, bottom - top)), 0)
    ImageDraw.Draw(sheet).text((-left, -top), text, font=face, fill=255)
    starts = tuple(face.getlength(text[:i]) - left for i in range(len(text) + 1))
    return Run(np.asarray(sheet), starts)
