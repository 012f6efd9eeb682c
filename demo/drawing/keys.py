"""Legends alone, in small pictures: many names and colours at a low cost, to learn which belongs to which."""

from random import Random

from demo.drawing import fonts, names, palette
from demo.drawing.canvas import Canvas, Picture, Size
from demo.drawing.charts import GREYLESS, Frame, Line
from demo.drawing.legends import Legend

LEAST, MOST = 10.0, 18.0  # pixels of type


def draw(rng: Random, size: Size) -> tuple[tuple[Line, ...], Picture]:
    """The lines in reading order; of a line nothing is known but its colour and name."""
    paper = palette.jitter(rng, palette.NIGHT if rng.random() < 0.12 else rng.choice(palette.PAPERS), 4)
    canvas = Canvas(rng, size, paper)
    ink, face = palette.shade(palette.ink_on(paper), 1.0), rng.choice(fonts.printed())
    letters = rng.uniform(*rng.choice(((LEAST, 13), (12, MOST))))
    frame = Frame(canvas, 4, 2, size.width - 4, size.height - 2, ink, face, letters)
    colours = rng.sample(palette.names_on(paper, (*GREYLESS, "white")), rng.choice((2, 3, 3, 4, 5)))
    called = [names.one_word(rng) for _ in colours] if rng.random() < 0.4 else names.several(rng, len(colours))
    if len(set(called)) < len(called):
        called = names.several(rng, len(colours))
    shape = rng.choices(("line", "square", "dot"), (70, 18, 12))[0]
    paints = {c: palette.jitter(rng, rng.choice(palette.COLOURS[c][:4]), 6) for c in colours}
    legend = Legend([], paints, rng.choice((1.2, 1.5, 2, 2.5, 3)), letters, shape, rng.uniform(7, 18))
    tall, gap, x, y = letters * rng.uniform(1.3, 1.8), rng.uniform(7, 14), rng.uniform(2, 10), rng.uniform(1, 5)
    left, column = x, rng.random() < 0.4
    for colour, name in zip(colours, called, strict=True):
        line = Line(colour, name, "flat", None)
        wide = legend.row(frame, line)
        if legend.lines and (column or x + wide > size.width - 3):
            x, y = left, y + tall
        if x + wide > size.width - 2 or y + tall > size.height:
            continue
        legend.write(frame, line, x, y + tall / 2)
        legend.lines.append(line)
        x += wide + gap
    return tuple(legend.lines), canvas.picture()
