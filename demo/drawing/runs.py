"""Line charts of named runs: many legends, courses and axes, as plotting libraries and trackers draw them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from demo.drawing import names, palette, words
from demo.drawing.canvas import KIND, Mark, Picture, Point, Size
from demo.drawing.charts import GREYLESS, Frame, Line, cross, faint, make_frame
from demo.drawing.legends import Legend, at_ends, draw_box, find_box, in_column, in_rows

TRENDS = ("up", "down", "down", "flat", "spike", "drop", "wrong", "wrong", "wrong", "wrong")
PLACES = ("above", "inside", "below", "right", "ends")
OFTEN = (36, 34, 12, 12, 6)
UNITS = (
    1,
    1,
    1,
    1,
    2,
    5,
    10,
    10,
    20,
    50,
    100,
    100,
    200,
    250,
    500,
    1000,
    1000,
    2000,
    2500,
    5000,
    10_000,
    20_000,
    50_000,
)
CLEAR = 0.07  # of the plot's height between two lines that can be told apart


@dataclass(frozen=True, slots=True)
class Runs:
    """The lines in the legend's order. `levels` [line][tick] in [0, 1], `steps` what the axis says at each tick.

    `dense`: the lines have points between the ticks, so that a step is named by the nearest.
    """

    lines: tuple[Line, ...]
    levels: tuple[tuple[float, ...], ...]
    steps: tuple[str, ...]
    log: bool
    dense: bool
    title: str | None


def draw(rng: Random, size: Size) -> tuple[Runs, Picture]:
    small = min(size.width, size.height) < 130
    title = rng.choice(words.CURVES) if rng.random() < 0.2 and not small else None
    frame = make_frame(rng, size, title)
    canvas, count = frame.canvas, rng.choices((1, 2, 3, 4), (10, 80, 10, 0) if small else (6, 48, 36, 10))[0]
    paper = tuple(int(v) for v in canvas.pixels[0, 0])
    colours = rng.sample(palette.names_on(paper, (*GREYLESS, "white")), count)  # type: ignore[arg-type]
    lines = [
        Line(colour, name, rng.choice(TRENDS), None)
        for colour, name in zip(colours, names.several(rng, count), strict=True)
    ]
    paints = {c: palette.jitter(rng, rng.choice(palette.COLOURS[c][:4]), 6) for c in colours}
    shape = rng.choices(("line", "square", "dot"), (76, 14, 10))[0]
    handle = rng.uniform(7, 18) if shape == "line" else rng.uniform(5, 9)
    legend = Legend(
        lines, paints, rng.choice((0.8, 1, 1.2, 1.5, 2, 2.5)), frame.size * rng.uniform(0.82, 1.1), shape, handle
    )
    widest = max(legend.row(frame, line) for line in lines)
    place = rng.choices(PLACES, OFTEN)[0]
    if small or widest > size.width * (0.36 if place in ("right", "ends") else 0.75):
        place = "above"
    while legend.letters > 7 and max(legend.row(frame, line) for line in lines) > size.width - 12:
        legend.letters -= 0.5
    log = rng.random() < 0.3
    ticks, dense, steps = _steps(rng)
    fine = rng.choice((4, 6, 8)) if dense else 1
    _level_axis(frame, log)
    if place == "above":
        frame.top = in_rows(frame, legend, frame.top) + 2
    elif place == "below":
        tall = in_rows(frame, legend, 0, dry=True)
        axis = frame.bottom - tall - 2
        in_rows(frame, legend, frame.bottom + frame.size + 6 - tall)
        frame.bottom = axis
    elif place in ("right", "ends"):
        frame.right -= max(legend.row(frame, line) for line in lines) + 4
    xs = _step_axis(frame, steps)
    courses = _apart(rng, [line.trend for line in lines], ticks, fine)
    drawn = [_named(line, one[1], steps) for line, one in zip(lines, courses, strict=True)]
    legend.lines = drawn
    box = find_box(frame, legend, [one[0] for one in courses]) if place == "inside" else None
    low, high = box.band if box else (0.0, 1.0)
    _draw_lines(frame, legend, xs, [one[0] for one in courses], (low, high), dense)
    cross(frame)
    if box:
        draw_box(frame, legend, box)
    elif place == "right":
        in_column(frame, legend)
    elif place == "ends":
        at_ends(frame, legend, [one[0][-1] for one in courses])
    levels = tuple(tuple(_at(one[0], i / (ticks - 1)) for i in range(ticks)) for one in courses)
    return Runs(tuple(drawn), levels, tuple(steps), log, dense, title), canvas.picture()


def _named(line: Line, at: int | None, steps: Sequence[str]) -> Line:
    return Line(line.colour, line.name, line.trend, None if at is None else steps[at])


def _steps(rng: Random) -> tuple[int, bool, list[str]]:
    """How many ticks, whether there are points between them, and what they say."""
    unit = rng.choice(UNITS)
    ticks = rng.choice((5, 6, 7, 8, 8, 9, 10, 11)) if unit < 10 else rng.choice((5, 5, 6, 6, 7, 8, 9))
    first = rng.choice((0, 1)) if unit > 1 else 1
    values = [unit * (i + first) for i in range(ticks)]
    thousands = rng.choice(("plain", "k", "k", "comma")) if unit >= 500 else "plain"
    return ticks, rng.random() < 0.5, [written(value, thousands) for value in values]


def written(value: int, thousands: str) -> str:
    """A step as an axis says it: 10000, 10k or 10,000."""
    if thousands == "k" and value >= 1000:
        return f"{value / 1000:g}k"
    return f"{value:,}" if thousands == "comma" else str(value)


def _step_axis(frame: Frame, steps: Sequence[str]) -> tuple[float, float]:
    """The first and the last tick's place; as many numbers as there is room for."""
    canvas, rng = frame.canvas, frame.canvas.rng
    first, last = (
        frame.left + frame.across * rng.uniform(0.01, 0.08),
        frame.right - frame.across * rng.uniform(0.02, 0.06),
    )
    gap = (last - first) / (len(steps) - 1)
    wide = max(canvas.measure(step, frame.face, frame.size)[0] for step in steps)
    every = next((n for n in (1, 2, 3) if wide + 3 < gap * n), 4)
    begin = rng.randrange(every)
    grid = rng.random() < 0.4
    for i, step in enumerate(steps):
        x = first + gap * i
        if grid:
            canvas.line([(x, frame.top), (x, frame.bottom)], faint(frame.ink), 1)
        canvas.line([(x, frame.bottom), (x, frame.bottom + 3)], frame.ink, 1)
        if i % every == begin:
            x = min(x, canvas.width - canvas.measure(step, frame.face, frame.size)[0] / 2)
            canvas.text(x, frame.bottom + 4, step, frame.face, frame.size, frame.ink, (0.5, 0))
    return first, last


def _level_axis(frame: Frame, log: bool) -> None:
    """What stands at the left: a logarithmic one says so by its numbers."""
    canvas, rng = frame.canvas, frame.canvas.rng
    linear = (
        ("0", "2", "4", "6", "8", "10"),
        ("0", "1", "2", "3", "4"),
        ("0.0", "0.5", "1.0", "1.5"),
        ("0", "20", "40", "60"),
    )
    marks: tuple[str, ...] = (
        rng.choice((("0.01", "0.1", "1", "10"), ("0.001", "0.01", "0.1", "1"), ("0.1", "1", "10"), ("1", "10", "100")))
        if log
        else rng.choice(linear)
    )
    frame.left = max(frame.left, max(canvas.measure(mark, frame.face, frame.size)[0] for mark in marks) + 8)
    room = frame.up - 2.8 * frame.size  # a legend may take some
    while len(marks) > 2 and room / (len(marks) - 1) < frame.size * 1.2:
        marks = marks[::2] if len(marks) > 3 else (marks[0], marks[-1])
    power = log and rng.random() < 0.35
    grid = rng.random() < 0.5
    frame.marks = (marks, power, grid)


def _draw_levels(frame: Frame) -> None:
    canvas = frame.canvas
    marks, power, grid = frame.marks
    for i, mark in enumerate(marks):
        y = frame.bottom - frame.up * (0.02 + 0.94 * i / (len(marks) - 1))
        if grid:
            canvas.line([(frame.left, y), (frame.right, y)], faint(frame.ink), 1)
        canvas.line([(frame.left - 3, y), (frame.left, y)], frame.ink, 1)
        if power:
            raised = str(round(math.log10(float(mark))))
            wide, tall = canvas.measure(raised, frame.face, frame.size * 0.7)
            canvas.text(
                frame.left - 4, y - frame.size * 0.35, raised, frame.face, frame.size * 0.7, frame.ink, (1, 0.5)
            )
            canvas.text(frame.left - 5 - wide, y + tall * 0.2, "10", frame.face, frame.size, frame.ink, (1, 0.5))
        else:
            canvas.text(frame.left - 4, y, mark, frame.face, frame.size, frame.ink, (1, 0.5))


def _draw_lines(
    frame: Frame, legend: Legend, xs: tuple[float, float], courses: Sequence[Sequence[float]], band: tuple[float, float],
    dense: bool,
) -> None:  # fmt: skip
    canvas, rng = frame.canvas, frame.canvas.rng
    _draw_levels(frame)
    dots = not dense and rng.random() < 0.3
    for line, course in zip(legend.lines, courses, strict=True):
        levels = [band[0] + level * (band[1] - band[0]) for level in course]
        points: list[Point] = [
            (xs[0] + (xs[1] - xs[0]) * i / (len(levels) - 1), frame.bottom - frame.up * level)
            for i, level in enumerate(levels)
        ]
        colour = palette.NAMES.index(line.colour) + 1
        canvas.line(points, legend.paints[line.colour], legend.width, Mark(KIND["line"], colour))
        if dots:
            for x, y in points:
                canvas.ellipse(x, y, 1.5 + legend.width / 2, 1.5 + legend.width / 2, legend.paints[line.colour])
        if line.trend == "wrong":
            x, y = points[course.index(min(course))]
            canvas.cover(x - 6, y - 6, x + 6, y + 6, Mark(KIND["turn"], colour))


def _apart(rng: Random, trends: Sequence[str], ticks: int, fine: int) -> list[tuple[list[float], int | None]]:
    """A course for each trend, none of which lies under another for most of its way."""
    while True:
        found = [course(rng, trend, ticks, fine) for trend in trends]
        pairs = combinations([levels for levels, _ in found], 2)
        if all(sum(abs(a - b) > CLEAR for a, b in zip(*pair, strict=True)) * 2 >= len(pair[0]) for pair in pairs):
            return found


def course(rng: Random, trend: str, ticks: int, fine: int) -> tuple[list[float], int | None]:
    """Levels in [0, 1], `fine` of them from tick to tick, and the tick where it spikes, drops or turns."""
    dense = fine > 1
    points = (ticks - 1) * fine + 1
    at: int | None = None
    if trend in ("spike", "drop"):
        at = rng.randint(1, ticks - 2) if dense else rng.randrange(ticks)
    elif trend == "wrong":
        at = rng.randint(1, ticks - 2)
    shape = _SHAPES[trend](rng, 0.0 if at is None else at / (ticks - 1), 1 / (ticks - 1))
    jitter = rng.uniform(0.002, 0.012) if dense else rng.uniform(0.0, 0.02)
    levels = [shape(i / (points - 1)) + rng.uniform(-jitter, jitter) for i in range(points)]
    if trend == "wrong" and at is not None:
        turn = at * fine
        levels[turn] = min(levels) - 0.004
    return [min(0.98, max(0.02, level)) for level in levels], at


Shape = Callable[[float], float]


def _ramp(rng: Random, at: float, gap: float) -> Shape:
    """From low to high: straight, or quick at first and slower later."""
    low, high, bend = rng.uniform(0.05, 0.4), rng.uniform(0.6, 0.96), rng.choice((0.0, 0.0, 1.5, 2.5, 4.0))
    if not bend:
        return lambda t: low + (high - low) * t
    return lambda t: low + (high - low) * (1 - math.exp(-bend * t)) / (1 - math.exp(-bend))


def _fall(rng: Random, at: float, gap: float) -> Shape:
    rise = _ramp(rng, at, gap)
    return lambda t: 1.01 - rise(t)


def _flat(rng: Random, at: float, gap: float) -> Shape:
    level = rng.uniform(0.15, 0.85)
    return lambda t: level


def _spike(rng: Random, at: float, gap: float) -> Shape:
    level, jump, wide = rng.uniform(0.1, 0.5), rng.uniform(0.3, 0.46), gap * rng.uniform(0.4, 0.95)
    return lambda t: level + jump * max(0.0, 1 - abs(t - at) / wide)


def _drop(rng: Random, at: float, gap: float) -> Shape:
    up = _spike(rng, at, gap)
    return lambda t: 1 - up(t)


def _wrong(rng: Random, at: float, gap: float) -> Shape:
    """Down to the turn and up again: slowly, at once, or to a height where it stays."""
    high, low = rng.uniform(0.55, 0.96), rng.uniform(0.05, 0.3)
    top, bend = rng.uniform(low + 0.28, 0.97), rng.choice((0.0, 1.0, 1.8, 2.5))
    way = 1 - at
    reach, power = rng.choice((way, way, max(gap, way * rng.uniform(0.4, 0.9)))), rng.choice((0.6, 0.8, 1.0, 1.0))

    def level(t: float) -> float:
        if t > at:
            return low + (top - low) * math.pow(min(1.0, (t - at) / reach), power)
        part = t / at
        fallen = (math.exp(-bend * part) - math.exp(-bend)) / (1 - math.exp(-bend)) if bend else 1 - part
        return low + (high - low) * fallen

    return level


_SHAPES: dict[str, Callable[[Random, float, float], Shape]] = {
    "up": _ramp, "down": _fall, "flat": _flat, "spike": _spike, "drop": _drop, "wrong": _wrong,
}  # fmt: skip


def _at(levels: Sequence[float], part: float) -> float:
    return levels[round(part * (len(levels) - 1))]
