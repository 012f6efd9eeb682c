"""A canvas drawn in the model's pixels and saved in the file's, which records what is drawn where."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from demo.drawing import fonts
from demo.drawing.palette import RGB

Point: TypeAlias = tuple[float, float]
Pixels: TypeAlias = NDArray[np.uint8]

PATCH = 16
LIMIT = 256  # the served max_image_size
CELLS = 4  # label cells along a patch's side
SUBCOLUMNS = (2.5, 8.0, 13.5)  # where in a patch the character labels are taken

CHARACTERS = "\0 0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:-!?%/'"
CHARACTER = {c: i for i, c in enumerate(CHARACTERS)}
KINDS = (
    "nothing", "circle", "square", "triangle", "star", "diamond", "cross", "bar", "line", "title", "input", "select",
    "button", "checkbox", "image", "paragraph", "axis", "person", "house", "tree", "car", "dog", "heart", "hexagon",
    "name", "turn",
)  # fmt: skip
KIND = {name: i for i, name in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Size:
    """`width` × `height` as the model sees it (before rounding up to patches), `scale` file pixels for each."""

    width: int
    height: int
    scale: float = 1.0

    @property
    def grid(self) -> tuple[int, int]:
        """Patches across and down."""
        return (self.width - 1) // PATCH + 1, (self.height - 1) // PATCH + 1


@dataclass(frozen=True, slots=True)
class Mark:
    """What a stroke is, for the auxiliary heads: an index into KINDS and 1 + an index into the colours (0: none)."""

    kind: int
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Picture:
    """RGB pixels as a file holds them, and per patch (reading order): kind, colour, and three characters."""

    pixels: Pixels
    labels: NDArray[np.int16]
    grid: tuple[int, int]


@functools.cache
def _noise() -> NDArray[np.int16]:
    return np.clip(np.random.default_rng(0).normal(0, 32, 1 << 22), -127, 127).astype(np.int16)


class Canvas:
    def __init__(self, rng: Random, size: Size, ground: RGB) -> None:
        self.rng, self.width, self.height, self.scale = rng, size.width, size.height, size.scale
        self.grid = size.grid
        self.pixels: Any = np.empty((round(size.height * size.scale), round(size.width * size.scale), 3), np.uint8)
        cv2.rectangle(self.pixels, (0, 0), self.pixels.shape[1::-1], ground, -1)
        self.line_type = cv2.LINE_8 if rng.random() < (0.1 if size.scale < 1.5 else 0.4) else cv2.LINE_AA
        columns, rows = self.grid
        self._kinds: Any = np.zeros((rows * CELLS, columns * CELLS), np.uint8)
        self._colours: Any = np.zeros((rows * CELLS, columns * CELLS), np.uint8)
        self._characters = np.zeros((rows, columns, len(SUBCOLUMNS)), np.int16)
        self._to_cells = (columns * CELLS / self.width, rows * CELLS / self.height)

    def polygon(
        self,
        points: Sequence[Point],
        fill: RGB | None,
        mark: Mark | None = None,
        edge: RGB | None = None,
        width: float = 1,
    ) -> None:
        where = self._fixed(points)
        if fill is not None:
            cv2.fillPoly(self.pixels, [where], fill, self.line_type, 4)
        if edge is not None:
            cv2.polylines(self.pixels, [where], True, edge, self._thick(width), self.line_type, 4)
        if mark is not None:
            cells = self._celled(points)
            cv2.fillPoly(self._kinds, [cells], mark.kind, shift=4)
            cv2.fillPoly(self._colours, [cells], mark.colour, shift=4)

    def rectangle(
        self, left: float, top: float, right: float, bottom: float, fill: RGB | None, mark: Mark | None = None,
        edge: RGB | None = None, width: float = 1, round_by: float = 0,
    ) -> None:  # fmt: skip
        self.polygon(rounded(left, top, right, bottom, round_by), fill, mark, edge, width)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: RGB | None, mark: Mark | None = None, edge: RGB | None = None,
        width: float = 1,
    ) -> None:  # fmt: skip
        steps = 24 if max(rx, ry) * self.scale < 20 else 48 if max(rx, ry) * self.scale < 60 else 96
        turn = [2 * math.pi * i / steps for i in range(steps)]
        self.polygon([(x + rx * math.cos(a), y + ry * math.sin(a)) for a in turn], fill, mark, edge, width)

    def line(self, points: Sequence[Point], colour: RGB, width: float = 1, mark: Mark | None = None) -> None:
        cv2.polylines(self.pixels, [self._fixed(points)], False, colour, self._thick(width), self.line_type, 4)
        if mark is not None:
            cells = self._celled(points)
            cv2.polylines(self._kinds, [cells], False, mark.kind, 1, shift=4)
            cv2.polylines(self._colours, [cells], False, mark.colour, 1, shift=4)

    def text(
        self, x: float, y: float, text: str, face: Path, size: float, colour: RGB, anchor: Point = (0.0, 0.0),
        mark: Mark | None = None,
    ) -> tuple[float, ...]:  # fmt: skip
        """Draw with the point at `anchor` (fractions of the ink's box) at x, y. Where each character starts and the last ends."""
        run = fonts.run(text, face, self._points(size))
        height, width = run.mask.shape
        left, top = round(x * self.scale - anchor[0] * width), round(y * self.scale - anchor[1] * height)
        self._blend(run.mask, left, top, colour)
        edges = tuple((left + start) / self.scale for start in run.starts)
        self._label(text, edges, (top + height / 2) / self.scale)
        if mark is not None:
            self.cover(edges[0], top / self.scale, edges[-1], (top + height) / self.scale, mark)
        return edges

    def cover(self, left: float, top: float, right: float, bottom: float, mark: Mark) -> None:
        """Say what a rectangle shows, and draw nothing."""
        cells = self._celled([(left, top), (right, top), (right, bottom), (left, bottom)])
        cv2.fillPoly(self._kinds, [cells], mark.kind, shift=4)
        cv2.fillPoly(self._colours, [cells], mark.colour, shift=4)

    def measure(self, text: str, face: Path, size: float) -> tuple[float, float]:
        height, width = fonts.run(text, face, self._points(size)).mask.shape
        return width / self.scale, height / self.scale

    def picture(self, *, weathered: bool = True) -> Picture:
        """The finished picture; `weathered` adds noise or compression to some, as files have."""
        if weathered:
            self._weather()
        return Picture(self.pixels, self._labels(), self.grid)

    def _points(self, size: float) -> int:
        return max(5, round(size * self.scale))

    def _thick(self, width: float) -> int:
        return max(1, round(width * self.scale))

    def _fixed(self, points: Sequence[Point]) -> Any:
        return np.round(np.asarray(points, np.float64) * (self.scale * 16) - 8).astype(np.int32)

    def _celled(self, points: Sequence[Point]) -> Any:
        return np.round(np.asarray(points, np.float64) * np.asarray(self._to_cells) * 16 - 8).astype(np.int32)

    def _blend(self, mask: Pixels, left: int, top: int, colour: RGB) -> None:
        height, width = self.pixels.shape[:2]
        y0, x0, y1, x1 = max(0, top), max(0, left), min(height, top + mask.shape[0]), min(width, left + mask.shape[1])
        if y0 >= y1 or x0 >= x1:
            return
        alpha = mask[y0 - top : y1 - top, x0 - left : x1 - left, None].astype(np.float32) / 255
        under = self.pixels[y0:y1, x0:x1]
        under[:] = under + (np.asarray(colour, np.float32) - under) * alpha

    def _label(self, text: str, edges: tuple[float, ...], middle: float) -> None:
        columns, rows = self.grid
        row = int(middle * rows / self.height)
        if not 0 <= row < rows:
            return
        starts = [edge * columns / self.width for edge in edges]
        for column in range(max(0, int(starts[0])), min(columns, int(starts[-1]) + 1)):
            for i, at in enumerate(SUBCOLUMNS):
                spot = column + at / PATCH
                hit = next((c for c, a, b in zip(text, starts, starts[1:], strict=False) if a <= spot < b), None)
                if hit is not None:
                    self._characters[row, column, i] = CHARACTER.get(hit, 0)

    def _labels(self) -> NDArray[np.int16]:
        kinds = _majority(self._kinds, self.grid, len(KINDS))
        colours = _majority(self._colours, self.grid, 12)
        flat = self._characters.reshape(-1, len(SUBCOLUMNS))
        return np.concatenate([kinds[:, None], colours[:, None], flat], 1).astype(np.int16)

    def _weather(self) -> None:
        draw = self.rng.random()
        if draw < 0.25:
            amount = self.rng.choice((2, 4, 8))
            start = self.rng.randrange(1 << 20)
            noise = _noise()[start : start + self.pixels.size] * amount // 32
            self.pixels = np.clip(self.pixels + noise.reshape(self.pixels.shape), 0, 255).astype(np.uint8)
        elif draw < 0.33:
            quality = [int(cv2.IMWRITE_JPEG_QUALITY), self.rng.randint(55, 95)]
            self.pixels = cv2.imdecode(cv2.imencode(".jpg", self.pixels, quality)[1], cv2.IMREAD_COLOR)


def _majority(cells: Any, grid: tuple[int, int], classes: int) -> NDArray[np.int64]:
    """The commonest label but nothing (0) in each patch, where it fills at least two cells."""
    columns, rows = grid
    flat = cells.reshape(rows, CELLS, columns, CELLS).transpose(0, 2, 1, 3).reshape(rows * columns, -1).astype(np.int64)
    keys = (flat + np.arange(rows * columns)[:, None] * classes).ravel()
    counts = np.bincount(keys, minlength=rows * columns * classes).reshape(rows * columns, classes)
    counts[:, 0] = 0
    best: NDArray[np.int64] = counts.argmax(1)
    best[counts.max(1) < 2] = 0
    return best


def rounded(left: float, top: float, right: float, bottom: float, by: float) -> list[Point]:
    """A rectangle's corners, rounded by a radius of `by`."""
    if by <= 0:
        return [(left, top), (right, top), (right, bottom), (left, bottom)]
    by = min(by, (right - left) / 2, (bottom - top) / 2)
    corners = (
        (right - by, top + by, -90),
        (right - by, bottom - by, 0),
        (left + by, bottom - by, 90),
        (left + by, top + by, 180),
    )
    return [
        (x + by * math.cos(math.radians(start + turn)), y + by * math.sin(math.radians(start + turn)))
        for x, y, start in corners
        for turn in (0, 30, 60, 90)
    ]


def fit(pixels: Pixels, grid: tuple[int, int]) -> NDArray[np.float32]:
    """What the model is given: resized to whole patches the way mistral_common does it (cubic, values in [0, 255])."""
    size = grid[0] * PATCH, grid[1] * PATCH
    wide = pixels.astype(np.float32)
    return np.asarray(
        wide if wide.shape[1::-1] == size else cv2.resize(wide, size, interpolation=cv2.INTER_CUBIC), np.float32
    )


def grid_of(pixels: Pixels) -> tuple[int, int]:
    """Patches across and down of a file of this size, as mistral_common counts them."""
    height, width = pixels.shape[:2]
    ratio = max(width, height) / LIMIT
    if ratio > 1:
        width, height = max(1, round(width / ratio)), max(1, round(height / ratio))
    return Size(width, height).grid
