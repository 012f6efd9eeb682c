"""Line charts of named runs: many legends, courses and axes, as plotting libraries and trackers draw them. Knows no question."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from random import Random

from demo.drawing import names, palette, words
from demo.drawing.canvas import KIND, Mark, Picture, Point, Size
from demo.drawing.charts import GREYLESS, Frame, Line, cross, faint, make_frame
from demo.drawing.palette import RGB

TRENDS = ("up", "down", "down", "flat", "spike", "drop", "wrong", "wrong", "wrong", "wrong")
PLACES = ("above", "inside", "below", "right", "ends")
OFTEN = (36, 34, 12, 12, 6)
UNITS = (1, 1, 1, 1, 2, 5, 10, 10, 20, 50, 100, 100, 200, 250, 500, 1000, 1000, 2000, 2500, 5000, 10_000, 20_000, 50_000)
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


@dataclass(slots=True)
class _Legend:
    """How it is written, and where."""

    lines: list[Line]
    paints: dict[str, RGB]
    width: float
    letters: float
    shape: str
    handle: float

    def row(self, frame: Frame, line: Line) -> float:
        """Pixels across, the key with its name."""
        return self.handle + 4 + frame.canvas.measure(line.name or "", frame.face, self.letters)[0]

    def write(self, frame: Frame, line: Line, x: float, y: float) -> None:
        canvas, paint = frame.canvas, self.paints[line.colour]
        colour = palette.NAMES.index(line.colour) + 1
        stroke, name = Mark(KIND["line"], colour), Mark(KIND["name"], colour)
        if self.shape == "line":
            canvas.line([(x, y), (x + self.handle, y)], paint, self.width, stroke)
        elif self.shape == "square":
            side = self.handle / 2
            canvas.rectangle(x, y - side, x + self.handle, y + side, paint, stroke)
        else:
            canvas.ellipse(x + self.handle / 2, y, self.handle / 2, self.handle / 2, paint, stroke)
        canvas.text(x + self.handle + 4, y, line.name or "", frame.face, self.letters, frame.ink, (0, 0.5), name)


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
    legend = _Legend(
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
        frame.top = _rows(frame, legend, frame.top) + 2
    elif place == "below":
        tall = _rows(frame, legend, 0, dry=True)
        axis = frame.bottom - tall - 2
        _rows(frame, legend, frame.bottom + frame.size + 6 - tall)
        frame.bottom = axis
    elif place in ("right", "ends"):
        frame.right -= max(legend.row(frame, line) for line in lines) + 4
    xs = _step_axis(frame, steps)
    courses = _apart(rng, [line.trend for line in lines], ticks, fine)
    drawn = [_named(line, one[1], steps) for line, one in zip(lines, courses, strict=True)]
    legend.lines = drawn
    box = _boxed(frame, legend, [one[0] for one in courses]) if place == "inside" else None
    low, high = box.band if box else (0.0, 1.0)
    _draw_lines(frame, legend, xs, [one[0] for one in courses], (low, high), dense)
    cross(frame)
    if box:
        _draw_box(frame, legend, box)
    elif place == "right":
        _column(frame, legend)
    elif place == "ends":
        _at_ends(frame, legend, [one[0][-1] for one in courses])
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


def _rows(frame: Frame, legend: _Legend, top: float, *, dry: bool = False) -> float:
    """The keys in rows from `top` on; where the rows end. Not drawn when `dry`: then how tall they are."""
    canvas, rng = frame.canvas, frame.canvas.rng
    tall = legend.letters * 1.35
    rows: list[list[Line]] = [[]]
    gap = 8.0
    for line in legend.lines:
        across = sum(legend.row(frame, one) + gap for one in (*rows[-1], line)) - gap
        if rows[-1] and across > canvas.width - 8:
            rows.append([])
        rows[-1].append(line)
    if not dry:
        centred = rng.random() < 0.5
        for i, row in enumerate(rows):
            across = sum(legend.row(frame, one) + gap for one in row) - gap
            x = min(max(4, (canvas.width - across) / 2 if centred else frame.left), max(4, canvas.width - across - 4))
            for line in row:
                legend.write(frame, line, x, top + tall * (i + 0.5))
                x += legend.row(frame, line) + gap
    return top + tall * len(rows)


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    right: float
    bottom: float
    band: tuple[float, float]  # of the plot's height that is left to the lines


def _boxed(frame: Frame, legend: _Legend, courses: Sequence[Sequence[float]]) -> _Box:
    """A corner, if one is free, else a band above or below the lines."""
    rng = frame.canvas.rng
    across = min(max(legend.row(frame, line) for line in legend.lines) + 8, frame.across - 2)
    tall = min(legend.letters * 1.3 * len(legend.lines) + 5, frame.up * 0.6)
    corners = [(x, y) for x in (0, 1, 0.5) for y in (0, 1)]
    rng.shuffle(corners)
    for x, y in corners:
        left, top = frame.left + 3 + (frame.across - across - 6) * x, frame.top + 2 + (frame.up - tall - 5) * y
        low, high = (left - frame.left) / frame.across, (left + across - frame.left) / frame.across
        inside = [level for course in courses for level in _between(course, low - 0.05, high + 0.05)]
        edge = (tall + 6) / frame.up
        if all(level < 1 - edge for level in inside) if y == 0 else all(level > edge for level in inside):
            return _Box(left, top, left + across, top + tall, (0.0, 1.0))
    x, y = corners[0]
    y = 0 if rng.random() < 0.8 else y
    left, top = frame.left + 3 + (frame.across - across - 6) * x, frame.top + 2 + (frame.up - tall - 5) * y
    edge = (tall + 5) / frame.up
    return _Box(left, top, left + across, top + tall, (0.0, 1 - edge) if y == 0 else (edge, 1.0))


def _between(course: Sequence[float], low: float, high: float) -> list[float]:
    return [level for i, level in enumerate(course) if low <= (i / (len(course) - 1)) * 0.94 + 0.03 <= high]


def _draw_box(frame: Frame, legend: _Legend, box: _Box) -> None:
    canvas, rng = frame.canvas, frame.canvas.rng
    paper = tuple(int(v) for v in canvas.pixels[0, 0])
    edge = rng.choice((frame.ink, faint(frame.ink), None))
    canvas.rectangle(box.left, box.top, box.right, box.bottom, paper, edge=edge, round_by=rng.choice((0, 2)))  # type: ignore[arg-type]
    tall = (box.bottom - box.top - 2) / len(legend.lines)
    for i, line in enumerate(legend.lines):
        legend.write(frame, line, box.left + 4, box.top + 1 + tall * (i + 0.5))


def _column(frame: Frame, legend: _Legend) -> None:
    tall = legend.letters * frame.canvas.rng.uniform(1.3, 1.9)
    top = frame.top + (0 if frame.canvas.rng.random() < 0.5 else max(0, (frame.up - tall * len(legend.lines)) / 2))
    for i, line in enumerate(legend.lines):
        legend.write(frame, line, frame.right + 4, top + tall * (i + 0.5))


def _at_ends(frame: Frame, legend: _Legend, ends: Sequence[float]) -> None:
    """Each name beside its line's end, in the line's colour or with its key; moved apart where they would touch."""
    tall = legend.letters * 1.25
    order = sorted(range(len(ends)), key=lambda i: -ends[i])
    ys = [frame.bottom - frame.up * ends[i] for i in order]
    for i in range(1, len(ys)):
        ys[i] = max(ys[i], ys[i - 1] + tall)
    over = max(0.0, ys[-1] - frame.bottom)
    for i, y in zip(order, ys, strict=True):
        legend.write(frame, legend.lines[i], frame.right + 4, y - over)


def _step_axis(frame: Frame, steps: Sequence[str]) -> tuple[float, float]:
    """The first and the last tick's place; as many numbers as there is room for."""
    canvas, rng = frame.canvas, frame.canvas.rng
    first, last = frame.left + frame.across * rng.uniform(0.01, 0.08), frame.right - frame.across * rng.uniform(0.02, 0.06)
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
    linear = (("0", "2", "4", "6", "8", "10"), ("0", "1", "2", "3", "4"), ("0.0", "0.5", "1.0", "1.5"), ("0", "20", "40", "60"))
    marks = rng.choice((("0.01", "0.1", "1", "10"), ("0.001", "0.01", "0.1", "1"), ("0.1", "1", "10"), ("1", "10", "100"))) if log else rng.choice(linear)
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
            canvas.text(frame.left - 4, y - frame.size * 0.35, raised, frame.face, frame.size * 0.7, frame.ink, (1, 0.5))
            canvas.text(frame.left - 5 - wide, y + tall * 0.2, "10", frame.face, frame.size, frame.ink, (1, 0.5))
        else:
            canvas.text(frame.left - 4, y, mark, frame.face, frame.size, frame.ink, (1, 0.5))


def _draw_lines(
    frame: Frame, legend: _Legend, xs: tuple[float, float], courses: Sequence[Sequence[float]], band: tuple[float, float],
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
            return low + (top - low) * min(1.0, (t - at) / reach) ** power
        part = t / at
        fallen = (math.exp(-bend * part) - math.exp(-bend)) / (1 - math.exp(-bend)) if bend else 1 - part
        return low + (high - low) * fallen

    return level


_SHAPES: dict[str, Callable[[Random, float, float], Shape]] = {
    "up": _ramp, "down": _fall, "flat": _flat, "spike": _spike, "drop": _drop, "wrong": _wrong,
}  # fmt: skip


def _at(levels: Sequence[float], part: float) -> float:
    return levels[round(part * (len(levels) - 1))]
