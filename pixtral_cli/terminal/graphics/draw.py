"""Encodes a thumbnail for the terminal: Kitty's graphics protocol, sixel, or half-block characters."""

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
MAX_COLUMNS, MAX_ROWS = 32, 8  # of a thumbnail
DEFAULT_CELL = (8, 16)  # width and height of a character in pixels, if the terminal does not report it
KITTY_CHUNK = 4096  # bytes of one of Kitty's commands


def can_draw(stream: TextIO, env: Mapping[str, str] = os.environ) -> bool:
    """Whether thumbnails can be drawn: on a terminal that is not dumb, in UTF-8."""
    return stream.isatty() and supports_drawing(env) and (stream.encoding or "").lower().replace("-", "") == "utf8"


def draw_thumbnail(
    image: Image, method: Method, columns: int, cell: tuple[int, int] = DEFAULT_CELL, truecolor: bool = True
) -> str:
    """The control sequences and text that draw the thumbnail, without a final line break; "" for `off`.

    `columns`: the terminal's width; `cell`: a character's size in pixels.
    """
    columns = min(MAX_COLUMNS, columns - 1)
    if method == "off" or columns < 4:
        return ""
    width, height = fit_size(image.size, columns, MAX_ROWS, (1, 2) if method == "blocks" else cell)
    picture = image.pixels((width, height)).resize((width, height))
    if method == "kitty":
        return _kitty(picture)
    return _sixel(picture) if method == "sixel" else _blocks(picture, truecolor)


def fit_size(size: tuple[int, int], columns: int, rows: int, cell: tuple[int, int]) -> tuple[int, int]:
    """Width and height in pixels of an image that fits into so many cells, with its proportions, and is not enlarged.

    For half-blocks a cell is 1 × 2 pixels, and the image may be enlarged.
    """
    scale = min(columns * cell[0] / size[0], rows * cell[1] / size[1])
    scale = scale if cell == (1, 2) else min(scale, 1.0)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _kitty(picture: "Picture") -> str:
    """https://sw.kovidgoyal.net/kitty/graphics-protocol: a PNG in base64, in chunks, with responses suppressed."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    data = base64.standard_b64encode(file.getvalue()).decode()
    chunks = [data[start : start + KITTY_CHUNK] for start in range(0, len(data), KITTY_CHUNK)]
    headers = ["a=T,f=100,q=2,"] + [""] * (len(chunks) - 1)
    continued = [1] * (len(chunks) - 1) + [0]
    return "".join(
        f"\x1b_G{header}m={more};{chunk}\x1b\\" for header, more, chunk in zip(headers, continued, chunks, strict=True)
    )


def _blocks(picture: "Picture", truecolor: bool) -> str:
    """Two pixels a character: the upper one in the foreground colour, the lower one in the background colour."""
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
    """An RGB colour as SGR parameters."""
    assert isinstance(pixel, tuple)
    return "2;{};{};{}".format(*pixel)


def _indexed(pixel: object) -> str:
    """The nearest colour of the 6 × 6 × 6 cube of 256-colour terminals, as SGR parameters."""
    assert isinstance(pixel, tuple)
    red, green, blue = (round(value / 255 * 5) for value in pixel)
    return f"5;{16 + 36 * red + 6 * green + blue}"


def _sixel(picture: "Picture") -> str:
    """DEC's sixel graphics: a palette, then bands of six pixel rows, in each band one run-length encoded pass a colour."""
    quantized = picture.quantize(255)
    width, height = quantized.size
    palette = quantized.getpalette() or []
    pixels = quantized.tobytes()
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
