"""Printed words: lines, signs and buttons in many typefaces and sizes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from demo.drawing import fonts, palette, words
from demo.drawing.canvas import Canvas, Picture, Size

Word = Callable[[Random], str]
FEW, MANY = (65, 22, 13, 0), (30, 25, 25, 20)  # how often one to four lines are tried


@dataclass(frozen=True, slots=True)
class Print:
    """The lines from the top; on a sign, its colour's name."""

    lines: tuple[str, ...]
    sign: str | None


def draw(rng: Random, size: Size, word: Word = words.trained_word, *, crowded: bool = False) -> tuple[Print, Picture]:
    """`crowded`: more lines and more words, for learning to read."""
    sign = rng.choice(palette.NAMES) if rng.random() < 0.2 else None
    if sign:
        ground, canvas = _sign(rng, size, sign)
        ink = (250, 250, 250) if sum(ground) < 380 else (15, 15, 15)
    else:
        ground, ink = palette.pair_apart(rng)
        canvas = Canvas(rng, size, ground)
    face = rng.choice(fonts.printed() if rng.random() < 0.9 else fonts.rounded())
    type_size, lines = _lines(rng, canvas, face, word, crowded)
    heights = [height for _, _, height in lines]
    gap = max(2.0, heights[0] * 0.35)
    y = rng.uniform(2, max(2.5, size.height - sum(heights) - gap * (len(lines) - 1) - 3))
    if sign:
        y = (size.height - sum(heights) - gap * (len(lines) - 1)) / 2
    for text, width, height in lines:
        x = (size.width - width) / 2 if sign else rng.uniform(2, max(2.5, size.width - width - 2))
        canvas.text(x, y, text, face, type_size, ink)
        y += height + gap
    return Print(tuple(text for text, _, _ in lines), sign), canvas.picture()


def _sign(rng: Random, size: Size, colour: str) -> tuple[palette.RGB, Canvas]:
    paint = palette.some(rng, colour)
    behind = rng.choice([g for g in palette.GROUNDS.values() if palette.distance(g, paint) > palette.APART])
    canvas = Canvas(rng, size, palette.jitter(rng, behind, 6))
    inset = rng.uniform(1, 4)
    round_by = rng.choice((0, 4, 12))
    canvas.rectangle(inset, inset, size.width - inset, size.height - inset, paint, round_by=round_by)
    return paint, canvas


def _text(rng: Random, word: Word, crowded: bool) -> str:
    draw = rng.random()
    if crowded and draw < 0.3:
        return " ".join(words.cased(rng, word(rng)) for _ in range(rng.randint(2, 3)))
    if draw < 0.5:
        return words.cased(rng, word(rng))
    if draw < 0.62:
        return " ".join(words.cased(rng, word(rng)) for _ in range(2))
    return words.number(rng) if draw < 0.82 else words.cased(rng, word(rng))


def _lines(
    rng: Random, canvas: Canvas, face: Path, word: Word, crowded: bool
) -> tuple[float, list[tuple[str, float, float]]]:
    """A type size, and lines that fit, with their widths and heights."""
    wanted = rng.choices((1, 2, 3, 4), MANY if crowded else FEW)[0]
    for _ in range(40):
        texts = [_text(rng, word, crowded) for _ in range(wanted)]
        size = rng.choice((rng.uniform(11, 22), rng.uniform(11, 22), rng.uniform(18, 44)))
        boxes = [(text, *canvas.measure(text, face, size)) for text in texts]
        tall = sum(height * 1.4 for _, _, height in boxes)
        if max(width for _, width, _ in boxes) < canvas.width - 8 and tall < canvas.height - 6:
            return size, boxes
        wanted = max(1, wanted - 1)
    return 12, [("7", *canvas.measure("7", face, 12))]
