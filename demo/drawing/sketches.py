"""Hand-drawn wireframes of web pages. Their HTML is in `questions.pages`."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

from demo.drawing import fonts, palette, words
from demo.drawing.canvas import KIND, Canvas, Mark, Picture, Point, Size
from demo.drawing.palette import RGB

PARTS = ("input", "input", "select", "button", "button", "checkbox", "paragraph", "image")


@dataclass(frozen=True, slots=True)
class Part:
    """One element of a page; images and paragraphs have no words."""

    kind: str
    words: str = ""


@dataclass(slots=True)
class Pen:
    """How this sketch is drawn: by hand or by ruler, in which ink and hand."""

    canvas: Canvas
    ink: RGB
    face: Path
    size: float
    wobble: float
    word: Callable[[Random], str]

    def stroke(self, points: list[Point], width: float = 1.0) -> None:
        rng = self.canvas.rng
        shaken = []
        for (x0, y0), (x1, y1) in pairwise(points):
            for t in (0.0, 0.33, 0.67, 1.0):
                jolt = rng.uniform(-self.wobble, self.wobble), rng.uniform(-self.wobble, self.wobble)
                shaken.append((x0 + (x1 - x0) * t + jolt[0], y0 + (y1 - y0) * t + jolt[1]))
        self.canvas.line(shaken, self.ink, width)

    def box(self, left: float, top: float, right: float, bottom: float, kind: str) -> None:
        self.canvas.rectangle(left, top, right, bottom, None, Mark(KIND[kind]))
        self.stroke([(left, top), (right, top), (right, bottom), (left, bottom), (left, top)])

    def write(self, x: float, y: float, text: str, size: float | None = None) -> None:
        self.canvas.text(x, y, text, self.face, size or self.size, self.ink, (0, 0.5))

    def fitting(self, room: float) -> str:
        for _ in range(30):
            text = self.word(self.canvas.rng)
            if self.canvas.measure(text, self.face, self.size)[0] <= room:
                return text
        return "OK"


def interface_word(rng: Random) -> str:
    """Mostly from the closed list of a page's usual words."""
    return rng.choice(words.INTERFACE) if rng.random() < 0.8 else words.trained_word(rng).capitalize()


def draw(rng: Random, size: Size, word: Callable[[Random], str] = interface_word) -> tuple[tuple[Part, ...], Picture]:
    paper = palette.jitter(rng, rng.choice((*palette.PAPERS, (235, 235, 235))), 4)
    canvas = Canvas(rng, size, paper)
    by_hand = rng.random() < 0.7
    ink = palette.jitter(rng, rng.choice(((20, 20, 20), (40, 40, 120), (80, 80, 80), (30, 30, 30))), 10)
    face = rng.choice(fonts.written() if by_hand and rng.random() < 0.7 else fonts.printed())
    pen = Pen(canvas, ink, face, rng.uniform(11, 15), rng.uniform(0.3, 1.3) if by_hand else 0.0, word)
    parts: list[Part] = []
    y: float = rng.uniform(5, 14)
    if rng.random() < 0.8:
        parts.append(_title(pen, y))
        y += pen.size * 1.9 + rng.uniform(6, 14)
    most = rng.randint(2, 5)
    while len(parts) < most + 1:
        kind = rng.choice(PARTS)
        height = {"image": 44.0, "paragraph": 24.0}.get(kind, pen.size + 9)
        if y + height > size.height - 4:
            break
        parts.extend(_DRAW[kind](pen, y, height))
        y += height + rng.uniform(6, 13)
    return tuple(parts), canvas.picture(weathered=rng.random() < 0.5)


def _title(pen: Pen, y: float) -> Part:
    canvas, rng = pen.canvas, pen.canvas.rng
    large = pen.size * 1.25
    text = pen.fitting(canvas.width * 0.6)
    bottom = y + pen.size * 1.9
    canvas.rectangle(4, y, canvas.width - 4, bottom, None, Mark(KIND["title"]))
    style = rng.random()
    if style < 0.4:
        pen.box(4, y, canvas.width - 4, bottom, "title")
    pen.write(10, (y + bottom) / 2, text, large)
    if style > 0.7:
        pen.stroke([(6, bottom), (canvas.width - 6, bottom)])
    return Part("title", text)


def _span(pen: Pen) -> tuple[float, float]:
    left = pen.canvas.rng.uniform(8, 18)
    return left, left + pen.canvas.rng.uniform(0.55, 0.85) * (pen.canvas.width - left - 8)


def _input(pen: Pen, y: float, height: float) -> list[Part]:
    left, right = _span(pen)
    text = pen.fitting(right - left - 10)
    pen.box(left, y, right, y + height, "input")
    pen.write(left + 5, y + height / 2, text)
    return [Part("input", text)]


def _select(pen: Pen, y: float, height: float) -> list[Part]:
    left, right = _span(pen)
    text = pen.fitting(right - left - 30)
    pen.box(left, y, right, y + height, "select")
    pen.write(left + 5, y + height / 2, text)
    middle, x = y + height / 2, right - 11
    arrow = [(x - 5, middle - 3), (x + 5, middle - 3), (x, middle + 4)]
    if pen.canvas.rng.random() < 0.6:
        pen.canvas.polygon(arrow, pen.ink)
    else:
        pen.stroke([arrow[0], arrow[2], arrow[1]], 1.4)
    return [Part("select", text)]


def _button(pen: Pen, y: float, height: float) -> list[Part]:
    canvas, rng = pen.canvas, pen.canvas.rng
    parts: list[Part] = []
    x = rng.uniform(8, 22)
    filled = palette.shade(tuple(int(v) for v in canvas.pixels[0, 0]), 0.85) if rng.random() < 0.5 else None  # type: ignore[arg-type]
    for _ in range(2 if rng.random() < 0.3 else 1):
        text = pen.fitting(canvas.width / 2 - 26)
        right = x + canvas.measure(text, pen.face, pen.size)[0] + 14
        if right > canvas.width - 4:
            break
        canvas.rectangle(x, y, right, y + height, filled, Mark(KIND["button"]), pen.ink, 1, height * 0.35)
        pen.write(x + 7, y + height / 2, text)
        parts.append(Part("button", text))
        x = right + rng.uniform(8, 16)
    return parts


def _checkbox(pen: Pen, y: float, height: float) -> list[Part]:
    left = pen.canvas.rng.uniform(8, 22)
    side = pen.size * 0.95
    middle = y + height / 2
    text = pen.fitting(pen.canvas.width - left - side - 14)
    pen.box(left, middle - side / 2, left + side, middle + side / 2, "checkbox")
    if pen.canvas.rng.random() < 0.4:
        pen.stroke(
            [(left + 2, middle), (left + side * 0.4, middle + side * 0.35), (left + side, middle - side * 0.5)], 1.3
        )
    pen.write(left + side + 6, middle, text)
    return [Part("checkbox", text)]


def _paragraph(pen: Pen, y: float, height: float) -> list[Part]:
    left, right = _span(pen)
    pen.canvas.rectangle(left, y, right, y + height, None, Mark(KIND["paragraph"]))
    for i in range(3):
        end = right if i < 2 else left + (right - left) * pen.canvas.rng.uniform(0.4, 0.8)
        pen.stroke([(left, y + 4 + i * height / 3), (end, y + 4 + i * height / 3)])
    return [Part("paragraph")]


def _image(pen: Pen, y: float, height: float) -> list[Part]:
    left = pen.canvas.rng.uniform(8, 18)
    right = left + height * pen.canvas.rng.uniform(1.1, 2.2)
    pen.box(left, y, right, y + height, "image")
    pen.stroke([(left, y), (right, y + height)])
    pen.stroke([(left, y + height), (right, y)])
    return [Part("image")]


_DRAW: dict[str, Callable[[Pen, float, float], list[Part]]] = {
    "input": _input, "select": _select, "button": _button, "checkbox": _checkbox, "paragraph": _paragraph, "image": _image,
}  # fmt: skip
