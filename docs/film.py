"""Screens of a terminal, one after another, as an SVG that plays by itself. Knows no program and no terminal.

A strip of frames is moved past a window by CSS; every row that looks the same is drawn once. Half-blocks are drawn as
rectangles, so that pictures made of them have no seams.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby

WIDTH, HEIGHT, SIZE = 8.4, 18, 14  # of a character, and its font's size, in pixels
PAD, BAR = 14, 34
OVER = 0.6  # a box reaches under the next one, so that no seam shows between them
GROUND, TEXT = "#16181d", "#d8dbe2"
COLOURS = {
    "black": "#2b2f38", "red": "#f0717b", "green": "#8fca7c", "brown": "#e5c07b", "blue": "#6cb0f5", "magenta": "#c98be8",
    "cyan": "#5cc3cf", "white": "#d8dbe2", "brightblack": "#7d8595", "brightred": "#ff8a93", "brightgreen": "#a6e08f",
    "brightbrown": "#f3d391", "brightblue": "#8cc4ff", "brightmagenta": "#dba6f5", "brightcyan": "#7ddbe6", "brightwhite": "#ffffff",
}  # fmt: skip
FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"


@dataclass(frozen=True, slots=True)
class Cell:
    """One character and how it looks; colours are names, six hexadecimal digits or `default`."""

    text: str
    fg: str = "default"
    bg: str = "default"
    bold: bool = False
    italic: bool = False
    underline: bool = False
    strike: bool = False


Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """A screen, how long it stands in seconds, and where its cursor is."""

    rows: tuple[Row, ...]
    seconds: float
    cursor: tuple[int, int] | None = None


def svg(frames: Sequence[Frame], columns: int, title: str) -> str:
    """The film. It begins anew when it has ended; where motion is unwanted its last frame stands still."""
    rows = len(frames[0].rows)
    width, height = columns * WIDTH + 2 * PAD, rows * HEIGHT + 2 * PAD
    known: dict[Row, str] = {}
    strip = "\n".join(_frame(frame, number * height, known) for number, frame in enumerate(frames))
    drawn = "\n".join(f'<g id="{name}">{"".join(_drawn(row))}</g>' for row, name in known.items())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height + BAR:g}" role="img" '
        f'font-family="{FONT}" font-size="{SIZE}">\n<title>{escape(title)}</title>\n<style>{_style(frames, height)}</style>\n'
        f"<defs>\n{drawn}\n</defs>\n"
        f'<rect width="100%" height="100%" rx="10" fill="{GROUND}"/>\n{_bar(width, title)}\n'
        f'<svg y="{BAR}" width="{width:g}" height="{height:g}"><g class="film">\n{strip}\n</g></svg>\n</svg>\n'
    )


def _style(frames: Sequence[Frame], height: float) -> str:
    total = sum(frame.seconds for frame in frames)
    at, stops = 0.0, []
    for number, frame in enumerate(frames):
        stops.append(f"{100 * at / total:.3f}%{{transform:translateY({-number * height:g}px)}}")
        at += frame.seconds
    last = f"transform:translateY({-(len(frames) - 1) * height:g}px)"
    return (
        f"text{{white-space:pre;fill:{TEXT}}}@keyframes play{{{''.join(stops)}100%{{{last}}}}}"
        f".film{{animation:play {total:.2f}s step-end infinite}}"
        f"@media (prefers-reduced-motion:reduce){{.film{{animation:none;{last}}}}}"
    )


def _bar(width: float, title: str) -> str:
    dots = "".join(
        f'<circle cx="{PAD + 6 + 20 * place}" cy="{BAR / 2 + 2:g}" r="6" fill="{colour}"/>'
        for place, colour in enumerate(("#f0717b", "#e5c07b", "#8fca7c"))
    )
    return f'{dots}<text x="{width / 2:g}" y="{BAR / 2 + 7:g}" text-anchor="middle" opacity=".6">{escape(title)}</text>'


def _frame(frame: Frame, top: float, known: dict[Row, str]) -> str:
    pieces = []
    for number, row in enumerate(frame.rows):
        if any(cell.text != " " or cell.bg != "default" for cell in row):
            name = known.setdefault(row, f"r{len(known)}")
            pieces.append(f'<use href="#{name}" y="{number * HEIGHT}"/>')
    if frame.cursor:
        x, y = frame.cursor
        pieces.append(
            f'<rect x="{x * WIDTH:g}" y="{y * HEIGHT}" width="{WIDTH}" height="{HEIGHT}" fill="{TEXT}" opacity=".55"/>'
        )
    return f'<g transform="translate({PAD},{top + PAD:g})">{"".join(pieces)}</g>'


def _drawn(row: Row) -> Iterator[str]:
    """Grounds and half-blocks first, then the words above them."""
    at = 0
    for (bg, fg, block), cells in groupby(row, lambda cell: (cell.bg, cell.fg, cell.text == "▀")):
        count = len(list(cells))
        if block:
            yield _box(at, count, fg, 0, HEIGHT / 2)
        if bg != "default":
            yield _box(at, count, bg, HEIGHT / 2 if block else 0)
        at += count
    at = 0
    for look, cells in groupby(row, lambda cell: replace(cell, text="", bg="default")):
        text = "".join(cell.text for cell in cells)
        if words := text.replace("▀", " ").rstrip():
            skipped = len(words) - len(words.lstrip())
            yield _words(words.lstrip(), at + skipped, look)
        at += len(text)


def _box(column: int, count: int, colour: str, top: float, height: float = 0) -> str:
    width, height = count * WIDTH + OVER, (height or HEIGHT - top) + OVER
    return f'<rect x="{column * WIDTH:g}" y="{top:g}" width="{width:g}" height="{height:g}" fill="{_colour(colour)}"/>'


def _words(text: str, column: int, look: Cell) -> str:
    style = "".join(
        piece
        for wanted, piece in (
            (look.bold, ' font-weight="bold"'),
            (look.italic, ' font-style="italic"'),
            (look.underline, ' text-decoration="underline"'),
            (look.strike, ' text-decoration="line-through"'),
            (look.fg != "default", f' style="fill:{_colour(look.fg)}"'),
        )
        if wanted
    )
    length = f' textLength="{len(text) * WIDTH:g}"' if len(text) > 1 else ""
    return f'<text x="{column * WIDTH:g}" y="{SIZE - 0.5:g}"{length}{style}>{escape(text)}</text>'


def _colour(name: str) -> str:
    return TEXT if name == "default" else COLOURS.get(name) or f"#{name}"
