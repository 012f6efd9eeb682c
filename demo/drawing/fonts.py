"""Typefaces for drawn words, and their glyph runs as masks.

python -m demo.drawing.fonts prints the Debian packages that are missing, if any is
"""

import functools
import os
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from demo.errors import DemoError

ROOT = Path(os.environ.get("DEMO_FONTS", "/usr/share/fonts"))
PRINTED = (
    "DejaVuSans*", "DejaVuSerif*", "Liberation*", "NotoSans-*", "NotoSerif-*", "Roboto-[BRM]*", "RobotoCondensed-[BR]*",
    "Lato-[BRM]*", "Carlito*", "Hack-*", "FiraCode-[RMB]*", "Inconsolata*",
)  # fmt: skip
UNUSABLE = ("ExtraLight", "Display")  # too thin to be read small; with hardly a letter
WRITTEN = ("Humor-Sans*", "TomsonTalks*", "ComicNeue-[BR]*")  # the first two have capitals only
HELD_OUT = (
    "OpenSans-Regular*",
    "OpenSans-Bold.*",
    "OpenSans-Semibold.*",
    "Caladea-*",
    "RobotoSlab-[RB]*",
    "STIXGeneral*",
)
PACKAGES = (
    "fonts-dejavu fonts-liberation2 fonts-noto-core fonts-roboto-unhinted fonts-roboto-slab fonts-lato fonts-open-sans "
    "fonts-crosextra-carlito fonts-crosextra-caladea fonts-hack fonts-firacode fonts-inconsolata fonts-humor-sans "
    "fonts-tomsontalks fonts-comic-neue wamerican"
)


@dataclass(frozen=True, slots=True)
class Run:
    """A drawn word: its ink as a mask, and where each character starts (the end last), in pixels of the mask."""

    mask: NDArray[np.uint8]
    starts: tuple[float, ...]


@functools.cache
def _found(pattern: str) -> tuple[Path, ...]:
    """Files of that name, each name once; those that matplotlib brings serve where the system has none."""
    spec = find_spec("matplotlib")
    bundled = Path(spec.origin).parent if spec and spec.origin else ROOT
    files = {path.name: path for root in (bundled, ROOT) for path in root.rglob(pattern)}
    kept = (
        path
        for name, path in files.items()
        if path.suffix in (".ttf", ".otf") and not any(part in name for part in UNUSABLE)
    )
    return tuple(sorted(kept, key=lambda path: path.name))


def _faces(patterns: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(path for pattern in patterns for path in _found(pattern))


def missing() -> str | None:
    """The first kind of typeface that training uses and that is not here."""
    return next((pattern for pattern in (*PRINTED, *WRITTEN, *HELD_OUT) if not _found(pattern)), None)


def check() -> None:
    """Raise DemoError unless every kind of typeface that training uses is here."""
    if pattern := missing():
        raise DemoError(f"no typeface like {pattern} under {ROOT}", f"apt-get install {PACKAGES}")


@functools.cache
def printed() -> tuple[Path, ...]:
    return _faces(PRINTED)


@functools.cache
def written() -> tuple[Path, ...]:
    """Faces that look like handwriting, for sketches."""
    return _faces(WRITTEN) or printed()


@functools.cache
def capitals() -> tuple[Path, ...]:
    """Of the handwritten ones, those whose small letters look like capitals."""
    return _faces(WRITTEN[:2])


@functools.cache
def rounded() -> tuple[Path, ...]:
    """Of the handwritten ones, those with small letters: for words whose case is asked for."""
    return _faces(WRITTEN[2:]) or printed()


@functools.cache
def held_out() -> tuple[Path, ...]:
    """Faces kept for evaluation: no training picture is drawn with them."""
    return _faces(HELD_OUT)


@functools.lru_cache(maxsize=8000)
def _face(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


@functools.lru_cache(maxsize=200_000)
def _advance(path: Path, size: int, character: str) -> float:
    return _face(path, size).getlength(character)


@functools.lru_cache(maxsize=30_000)
def run(text: str, path: Path, size: int) -> Run:
    """The ink of `text` at `size` pixels, cropped to its bounding box."""
    ink, (left, _) = _face(path, size).getmask2(text, "L")
    mask = np.asarray(ink, np.uint8).reshape(ink.size[::-1]) if min(ink.size) else np.zeros((1, 1), np.uint8)
    advances = [_advance(path, size, character) for character in text]
    kerned = _face(path, size).getlength(text) / max(1.0, sum(advances))
    starts = accumulate((advance * kerned for advance in advances), initial=-float(left))
    return Run(mask, tuple(starts))


if __name__ == "__main__" and missing():
    print(PACKAGES)
