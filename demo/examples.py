"""The pictures of the README's first commands and worked examples, drawn anew: python -m demo.examples

Nothing here is random; the pictures are those of the demo's world at 640×480, the size of many a user's file.
"""

from pathlib import Path
from random import Random

import cv2

from demo.drawing import fonts
from demo.drawing.canvas import Canvas, Size
from demo.drawing.palette import COLOURS, RGB
from demo.drawing.scenes import Thing, draw_thing
from demo.drawing.sketches import Pen
from demo.drawing.views import Being, draw_being

FOLDER = Path("examples")
SIZE = Size(256, 192, 2.5)
INK: RGB = (45, 45, 50)
FAINT: RGB = (222, 222, 226)
PAPER: RGB = (255, 255, 255)


def _canvas(ground: RGB = PAPER) -> Canvas:
    canvas = Canvas(Random(2), SIZE, ground)
    canvas.line_type = cv2.LINE_AA
    return canvas


def shapes() -> Canvas:
    canvas = _canvas()
    for thing in (
        Thing("circle", "red", 58, 58, 30),
        Thing("star", "blue", 132, 128, 34),
        Thing("triangle", "green", 206, 62, 32),
    ):
        draw_thing(canvas, thing, 0.3)
    return canvas


def near_far() -> Canvas:
    canvas = _canvas((150, 205, 250))
    canvas.rectangle(0, 84, 256, 192, (122, 188, 92))
    for being in (Being("house", "yellow", False, 192, 106, 50), Being("person", "red", True, 74, 182, 112)):
        draw_being(canvas, being)
    return canvas


def bars() -> Canvas:
    canvas = _canvas()
    face = fonts.printed()[0]
    _grid(canvas, face, {0: 164, 2: 136, 4: 108, 6: 80, 8: 52, 10: 24})
    for i, (label, colour, value) in enumerate(
        (("Mon", "red", 7), ("Tue", "blue", 4), ("Wed", "green", 9), ("Thu", "orange", 2))
    ):
        left = 46 + i * 51
        canvas.rectangle(left, 164 - value * 14, left + 34, 164, COLOURS[colour][0])
        canvas.text(left + 17, 168, label, face, 12, INK, (0.5, 0))
    canvas.line([(34, 20), (34, 164), (246, 164)], INK)
    return canvas


def runs() -> Canvas:
    """Two training runs; one of them turns at step 4."""
    canvas = _canvas()
    face = fonts.printed()[0]
    _grid(canvas, face, {0: 164, 2: 138, 4: 112, 6: 86, 8: 60, 10: 34})
    xs = [34 + 26 * (i + 0.7) for i in range(8)]
    courses = (
        ("dark dragon", "red", (8.0, 5.6, 3.6, 2.0, 4.6, 6.6, 8.0, 9.0), 34),
        ("swift river", "blue", (9.4, 8.3, 7.3, 6.3, 5.4, 4.6, 3.7, 2.9), 142),
    )
    for name, colour, levels, x in courses:
        paint = COLOURS[colour][0]
        canvas.line([(step, 164 - level * 13) for step, level in zip(xs, levels, strict=True)], paint, 2)
        canvas.line([(x, 16), (x + 11, 16)], paint, 2)
        canvas.text(x + 15, 16, name, face, 12, INK, (0, 0.5))
    for i, at in enumerate(xs):
        canvas.line([(at, 164), (at, 167)], INK)
        canvas.text(at, 170, str(i + 1), face, 11, INK, (0.5, 0))
    canvas.line([(34, 28), (34, 164), (246, 164)], INK)
    return canvas


def _grid(canvas: Canvas, face: Path, ticks: dict[int, int]) -> None:
    """Horizontal lines with their values, by height."""
    for value, y in ticks.items():
        if value:
            canvas.line([(34, y), (246, y)], FAINT)
        canvas.line([(31, y), (34, y)], INK)
        canvas.text(29, y, str(value), face, 11, INK, (1, 0.5))


def sketch() -> Canvas:
    canvas = _canvas((252, 248, 235))
    pen = Pen(canvas, (35, 35, 90), fonts.written()[0], 14, 0.7, lambda _: "")
    pen.box(6, 10, 250, 36, "title")
    pen.write(14, 23, "Login", 16)
    for y, words in ((50, "Email"), (80, "Password")):
        pen.box(14, y, 186, y + 22, "input")
        pen.write(20, y + 11, words)
    pen.box(16, 115, 28, 127, "checkbox")
    pen.write(36, 121, "Remember")
    canvas.rectangle(16, 142, 82, 166, (222, 216, 200), edge=pen.ink, round_by=9)
    pen.write(26, 154, "Submit")
    return canvas


EXAMPLES = {"shapes": shapes, "near-far": near_far, "bars": bars, "runs": runs, "sketch": sketch}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, draw in EXAMPLES.items():
        pixels = draw().picture(weathered=False).pixels
        cv2.imwrite(str(FOLDER / f"{name}.png"), pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
