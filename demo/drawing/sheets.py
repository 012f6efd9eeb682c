"""Sheets full of print, from which small pictures are cut: many letters at a low cost of drawing.

A sheet is drawn once in a process, and a letter of it meets the patches' edges in another place in every cutting.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from demo.drawing import fonts, palette, sizes, words
from demo.drawing.canvas import CHARACTER, PATCH, SUBCOLUMNS, Canvas, Picture, Pixels, Size, fit

SIDE = 512  # in the model's pixels
SHEETS = 800  # as many are kept: 0.7 GB


@dataclass(frozen=True, slots=True)
class Run:
    """Text on one line: which character stands at each of the sheet's pixel columns, and the row its middle is on."""

    middle: float
    left: int
    right: int
    characters: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sheet:
    pixels: Pixels
    runs: tuple[Run, ...]


@functools.lru_cache(maxsize=SHEETS)
def sheet(number: int) -> Sheet:
    """Lines in several typefaces, sizes, inks and grounds, some words in boxes."""
    rng = Random(f"sheet {number}")
    canvas = Canvas(rng, Size(SIDE, SIDE, min(2.0, sizes.scale(rng))), (255, 255, 255))
    runs, y = [], 0.0
    pair = _pair(rng)
    while y < SIDE:
        size = rng.uniform(*rng.choice(((10, 13), (10, 13), (11, 16), (14, 24), (20, 40))))
        pitch = max(PATCH, size * rng.uniform(1.15, 1.6))
        pair = _pair(rng) if rng.random() < 0.4 else pair
        canvas.rectangle(0, y, SIDE, y + pitch + 1, pair[0])
        runs += _line(rng, canvas, y + pitch / 2, size, pair)
        y += pitch
    return Sheet(
        np.round(fit(canvas.picture().pixels, (SIDE // PATCH, SIDE // PATCH))).clip(0, 255).astype(np.uint8),
        tuple(runs),
    )


def _pair(rng: Random) -> tuple[palette.RGB, palette.RGB]:
    """Ground and ink: as often as not nearly white and nearly black."""
    if rng.random() < 0.5:
        return palette.pair_apart(rng)
    light, dark = rng.randint(215, 255), rng.randint(0, 90)
    return (light, light, light), (dark, dark, dark)


def _line(rng: Random, canvas: Canvas, middle: float, size: float, pair: tuple[palette.RGB, palette.RGB]) -> list[Run]:
    face = rng.choice(fonts.printed() if rng.random() < 0.75 else fonts.written())
    runs, x = [], rng.uniform(0, 12)
    while x < SIDE:
        text = " ".join(_word(rng, face) for _ in range(rng.choice((1, 1, 2, 3))))
        width, height = canvas.measure(text, face, size)
        edges = canvas.text(x, middle, text, face, size, pair[1], (0.0, 0.5))
        if rng.random() < 0.12:
            canvas.rectangle(x - 4, middle - height / 2 - 3, x + width + 4, middle + height / 2 + 3, None, edge=pair[1])
        runs.append(_run(middle, text, edges))
        x += width + rng.uniform(6, 30)
    return runs


def _run(middle: float, text: str, edges: tuple[float, ...]) -> Run:
    columns = np.zeros(SIDE, np.uint8)
    for character, left, right in zip(text, edges, edges[1:], strict=False):
        columns[max(0, round(left)) : max(0, round(right))] = CHARACTER.get(character, 0)
    return Run(middle, int(edges[0]), int(edges[-1]) + 1, columns)


def _word(rng: Random, face: Path) -> str:
    """In a face without small letters as sketches write it: they cannot be told from capitals there."""
    if rng.random() > 0.75:
        return words.number(rng)
    word = words.varied_word(rng)
    return word.capitalize() if face in fonts.capitals() else words.cased(rng, word)


def cutting(rng: Random, size: Size) -> Picture:
    """A picture of whole patches from anywhere on some sheet, in some its colours turned."""
    columns, rows = size.grid
    whole = sheet(rng.randrange(SHEETS))
    left, top = rng.randrange(SIDE - columns * PATCH + 1), rng.randrange(SIDE - rows * PATCH + 1)
    pixels = whole.pixels[top : top + rows * PATCH, left : left + columns * PATCH]
    if rng.random() < 0.4:
        pixels = pixels[..., rng.sample(range(3), 3)]
    if rng.random() < 0.3:
        pixels = 255 - pixels
    labels = np.zeros((rows, columns, 2 + len(SUBCOLUMNS)), np.int16)
    spots = (left + np.arange(columns)[:, None] * PATCH + np.asarray(SUBCOLUMNS)).astype(np.int64)
    for run in whole.runs:
        row = int((run.middle - top) // PATCH)
        if 0 <= row < rows and run.right > left and run.left < left + columns * PATCH:
            seen = run.characters[spots]
            labels[row, :, 2:] = np.where(seen > 0, seen, labels[row, :, 2:])
    return Picture(np.ascontiguousarray(pixels), labels.reshape(rows * columns, -1), size.grid)
