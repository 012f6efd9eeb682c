"""Draws a thumbnail in the terminal: Kitty's graphics, sixel, or half-blocks of text."""

import base64
import io
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TextIO

from pixtral_cli.images.image import Image
from pixtral_cli.terminal.output.output import supports_drawing

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Method = Literal["kitty", "sixel", "blocks", "off"]
METHODS: tuple[Method, ...] = ("kitty", "sixel", "blocks", "off")
MAX_COLUMNS, MAX_ROWS = 32, 8  # the most that a thumbnail takes
DEFAULT_CELL = (8, 16)  # pixels of a character where the terminal doesn't say
KITTY_CHUNK = 4096  # bytes of one of Kitty's commands


def can_draw(stream: TextIO, env: Mapping[str, str] = os.environ) -> bool:
    """Whether pictures can be drawn there at all: a terminal that draws, in an encoding that has half-blocks."""
    return stream.isatty() and supports_drawing(env) and (stream.encoding or "").lower().replace("-", "") == "utf8"


def draw_thumbnail(
    image: Image, method: Method, columns: int, cell: tuple[int, int] = DEFAULT_CELL, truecolor: bool = True
) -> str:
    """The thumbnail as text to send, without a line break at its end; empty for `off`."""
    columns = min(MAX_COLUMNS, columns - 1)
    if method == "off" or columns < 4:
        return ""
    width, height = fit_size(image.size, columns, MAX_ROWS, (1, 2) if method == "blocks" else cell)
    picture = image.pixels((width, height)).resize((width, height))
    if method == "kitty":
        return _kitty(picture)
    return _sixel(picture) if method == "sixel" else _blocks(picture, truecolor)


def fit_size(size: tuple[int, int], columns: int, rows: int, cell: tuple[int, int]) -> tuple[int, int]:
    """Width and height in pixels that fit the cells, the proportions kept; never enlarged beyond the image's own pixels.

    Half-blocks are counted as cells of one by two pixels and may enlarge, as there is nothing smaller than a cell.
    """
    scale = min(columns * cell[0] / size[0], rows * cell[1] / size[1])
    scale = scale if cell == (1, 2) else min(scale, 1.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _kitty(picture: "Picture") -> str:
    """https://sw.kovidgoyal.net/kitty/graphics-protocol: a PNG in base64, in pieces, with answers suppressed."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = base64.standard_b64encode(file.getvalue()).decode()
    pieces = [data[start : start + KITTY_CHUNK] for start in range(0, len(data), KITTY_CHUNK)]
    heads = ["a=T,f=100,q=2,"] + [""] * (len(pieces) - 1)
    ends = [1] * (len(pieces) - 1) + [0]
    return "".join(f"\x1b_G{head}m={more};{piece}\x1b\\" for head, more, piece in zip(heads, ends, pieces, strict=True))


def _blocks(picture: "Picture", truecolor: bool) -> str:
    """Two pixels a character: the upper one its colour, the lower one its ground."""
    width, height = picture.size
    colour = _truecolor if truecolor else _indexed
    lines = []
    for top in range(0, height, 2):
        line = ""
        for x in range(width):
            upper = colour(picture.getpixel((x, top)))
            line += f"\x1b[38;{upper}m"
            line += f"\x1b[48;{colour(picture.getpixel((x, top + 1)))}m▀" if top + 1 < height else "\x1b[49m▀"
        lines.append(line + "\x1b[0m")
    return "\n".join(lines)


def _truecolor(pixel: object) -> str:
    assert isinstance(pixel, tuple)
    return "2;{};{};{}".format(*pixel)


def _indexed(pixel: object) -> str:
    """The nearest of the 216 colours of the cube that 256-colour terminals share."""
    assert isinstance(pixel, tuple)
    red, green, blue = (round(value / 255 * 5) for value in pixel)
    return f"5;{16 + 36 * red + 6 * green + blue}"


def _sixel(picture: "Picture") -> str:
    """DEC's graphics: a palette, then bands six pixels high, in each band one pass a colour, repeats counted."""
    flat = picture.quantize(255)
    width, height = flat.size
    palette = flat.getpalette() or []
    pixels = flat.tobytes()
    colours = sorted(set(pixels))
    out = [f'\x1bP0;1;q"1;1;{width};{height}']
    out += [f"#{c};2;" + ";".join(str(round(v * 100 / 255)) for v in palette[3 * c : 3 * c + 3]) for c in colours]
    for top in range(0, height, 6):
        rows = [pixels[y * width : (y + 1) * width] for y in range(top, min(top + 6, height))]
        present = sorted(set(b"".join(rows)))
        passes = (f"#{c}" + "".join(_run_lengths(_column(rows, x, c) for x in range(width))) for c in present)
        out += ["$".join(passes), "-"]
    return "".join(out) + "\x1b\\"


def _column(rows: list[bytes], x: int, colour: int) -> str:
    return chr(63 + sum(1 << bit for bit, row in enumerate(rows) if row[x] == colour))


def _run_lengths(letters: Iterator[str]) -> Iterator[str]:
    from itertools import groupby

    for letter, run in groupby(letters):
        count = len(list(run))
        yield f"!{count}{letter}" if count > 3 else letter * count
