"""Bar charts and line charts with axes, labels and legends."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from random import Random
from typing import TypeAlias

from demo.drawing import fonts, palette, words
from demo.drawing.canvas import KIND, Canvas, Mark, Picture, Point, Size
from demo.drawing.palette import RGB

GREYLESS = ("gray",)
CLEAR = 0.06  # of the plot's height between two lines that can be told apart
LEAST = 10.0  # pixels of type that can be read
AXES = ((5, 1), (10, 1), (10, 1), (10, 1), (10, 1), (20, 2), (50, 5), (100, 10))  # highest value, step between values
TRENDS = ("up", "down", "flat", "spike", "drop", "wrong", "wrong")

Course: TypeAlias = tuple[list[float], int | None]


@dataclass(frozen=True, slots=True)
class Bars:
    """From left to right, or from the top. `colours` differ or are all one; `labels` may be missing."""

    values: tuple[int, ...]
    colours: tuple[str, ...]
    labels: tuple[str, ...] | None
    title: str | None

    @property
    def coloured(self) -> bool:
        return len(set(self.colours)) == len(self.colours)


@dataclass(frozen=True, slots=True)
class Line:
    """`step` is where it spikes, drops or goes wrong (what the axis says there), None for the other trends."""

    colour: str
    name: str | None
    trend: str
    step: str | None


@dataclass(frozen=True, slots=True)
class Lines:
    lines: tuple[Line, ...]
    title: str | None
    log: bool


@dataclass(slots=True)
class Frame:
    """The plot's rectangle, and what is drawn around it with."""

    canvas: Canvas
    left: float
    top: float
    right: float
    bottom: float
    ink: RGB
    face: Path
    size: float
    marks: tuple[tuple[str, ...], bool, bool] = ((), False, False)  # at the left, whether as powers, whether as a grid

    @property
    def across(self) -> float:
        return self.right - self.left

    @property
    def up(self) -> float:
        return self.bottom - self.top


def make_frame(rng: Random, size: Size, title: str | None) -> Frame:
    paper = palette.jitter(rng, palette.NIGHT if rng.random() < 0.12 else rng.choice(palette.PAPERS), 4)
    canvas = Canvas(rng, size, paper)
    ink = palette.shade(palette.ink_on(paper), 1.0)
    letters = rng.uniform(10.5, 13) if max(size.width, size.height) > 180 else rng.uniform(10, 11.5)
    face = rng.choice(fonts.printed())
    top: float = rng.uniform(5, 12)
    if title:
        canvas.text(size.width * rng.choice((0.5, 0.5, 0.4)), 4, title, face, letters * 1.25, ink, (0.5, 0))
        top += letters * 1.4 + 2
    frame = Frame(
        canvas,
        letters * 2.4 + 4,
        top,
        size.width - rng.uniform(4, 12),
        size.height - letters - rng.uniform(5, 9),
        ink,
        face,
        letters,
    )
    if rng.random() < 0.15:
        canvas.rectangle(frame.left, frame.top, frame.right, frame.bottom, palette.shade(paper, 0.93))
    return frame


def some_title(rng: Random, names: tuple[str, ...]) -> str | None:
    return rng.choice(names) if rng.random() < 0.35 else None


def draw_bars(rng: Random, size: Size) -> tuple[Bars, Picture]:
    simple = rng.random() < (0.15 if size.width > 127 else 0.6)  # nothing but bars: what can be seen at any size
    highest, step = (10, 1) if simple else rng.choice(AXES)
    title = None if simple else some_title(rng, words.TITLES)
    frame = make_frame(rng, size, title)
    count = rng.randint(2, 6 if size.width > 160 else 5)
    values = tuple(step * rng.randint(1, highest // step) for _ in range(count))
    paper = tuple(int(v) for v in frame.canvas.pixels[0, 0])
    usable = palette.names_on(paper, GREYLESS)  # type: ignore[arg-type]
    labels = _fitting(frame, count) if not simple and rng.random() < 0.55 else None
    one = labels is not None and rng.random() < 0.25
    colours = (rng.choice(usable),) * count if one else tuple(rng.sample(usable, min(count, len(usable))))
    bars = Bars(values[: len(colours)], colours, labels and labels[: len(colours)], title)
    lying = not simple and rng.random() < 0.18
    if lying and labels:
        frame.left = max(frame.canvas.measure(label, frame.face, frame.size)[0] for label in labels) + 8
    bare = highest == 10 and rng.random() < (0.5 if simple else 0.2)
    reach = highest * rng.choice((1.0, 1.04))
    if not bare and rng.random() < (0.15 if simple else 0.4):
        reach = max(bars.values) * rng.uniform(1.0, 1.15)
    (_draw_lying if lying else _draw_standing)(frame, bars, reach, _ticks(rng, reach, step, frame, lying, bare))
    return bars, frame.canvas.picture()


def _fitting(frame: Frame, count: int) -> tuple[str, ...] | None:
    """Labels that stand beside one another at a size that can be read."""
    for _ in range(6):
        labels = _labels(frame.canvas.rng, count)
        if max(frame.canvas.measure(label, frame.face, LEAST)[0] for label in labels) < frame.across / count - 3:
            return labels
    return None


def _labels(rng: Random, count: int) -> tuple[str, ...]:
    if rng.random() < 0.2:
        return tuple(word.capitalize() for word in rng.sample([w for w in words.TRAINED if len(w) < 7], count))
    group = rng.choice([group for group in words.LABELS if len(group) >= count])
    if rng.random() < 0.7:
        start = rng.randint(0, len(group) - count)
        return group[start : start + count]
    return tuple(rng.sample(group, count))


def _ticks(rng: Random, reach: float, step: int, frame: Frame, lying: bool, bare: bool) -> dict[int, str]:
    """Where the value axis is marked and what stands there: not so dense that the numbers touch; `bare`: no numbers."""
    if bare:
        return dict.fromkeys(range(int(reach) + 1), "")
    room, letters = (frame.across, frame.size * 1.6) if lying else (frame.up, frame.size)
    gaps = [step * k for k in (1, 2, 5, 10) if room * step * k / reach > letters * 1.5 and step * k <= reach]
    gap = rng.choice(gaps[:2]) if gaps else max(step, int(reach / step) * step)
    return {value: str(value) for value in range(0, int(reach) + 1, gap)}


def _draw_standing(frame: Frame, bars: Bars, reach: float, ticks: dict[int, str]) -> None:
    canvas, rng = frame.canvas, frame.canvas.rng
    unit = frame.up / reach
    _value_axis(frame, unit, ticks)
    slot = frame.across / len(bars.values)
    width = slot * rng.uniform(0.5, 0.85)
    written = rng.random() < 0.15
    letters = frame.size
    while (
        bars.labels
        and letters > LEAST
        and max(canvas.measure(label, frame.face, letters)[0] for label in bars.labels) > slot - 2
    ):
        letters -= 0.5
    edge = frame.ink if rng.random() < 0.15 else None
    for i, (value, colour) in enumerate(zip(bars.values, bars.colours, strict=True)):
        middle = frame.left + slot * (i + 0.5)
        mark = Mark(KIND["bar"], palette.NAMES.index(colour) + 1)
        top = frame.bottom - value * unit
        canvas.rectangle(
            middle - width / 2, top, middle + width / 2, frame.bottom, palette.some(rng, colour), mark, edge
        )
        if written and top > frame.size + 3:
            canvas.text(middle, top - 2, str(value), frame.face, frame.size, frame.ink, (0.5, 1))
        if bars.labels:
            canvas.text(middle, frame.bottom + 3, bars.labels[i], frame.face, letters, frame.ink, (0.5, 0))
    cross(frame)


def _value_axis(frame: Frame, unit: float, ticks: dict[int, str]) -> None:
    canvas, rng = frame.canvas, frame.canvas.rng
    grid = rng.random() < 0.7
    for value, written in ticks.items():
        y = frame.bottom - value * unit
        if grid and value and (written or value % 5 == 0):
            canvas.line([(frame.left, y), (frame.right, y)], faint(frame.ink), 1)
        canvas.line([(frame.left - 3, y), (frame.left, y)], frame.ink, 1)
        if written:
            canvas.text(frame.left - 4, y, written, frame.face, frame.size, frame.ink, (1, 0.5))


def faint(ink: RGB) -> RGB:
    """Of grid lines: near the paper."""
    return palette.shade(ink, 1.75) if sum(ink) < 300 else (75, 75, 85)


def _draw_lying(frame: Frame, bars: Bars, reach: float, ticks: dict[int, str]) -> None:
    canvas, rng = frame.canvas, frame.canvas.rng
    unit = frame.across / reach * 0.97
    for value, written in ticks.items():
        x = frame.left + value * unit
        canvas.line([(x, frame.bottom), (x, frame.bottom + 3)], frame.ink, 1)
        if written:
            canvas.text(x, frame.bottom + 4, written, frame.face, frame.size, frame.ink, (0.5, 0))
    slot = frame.up / len(bars.values)
    width = slot * rng.uniform(0.5, 0.85)
    for i, (value, colour) in enumerate(zip(bars.values, bars.colours, strict=True)):
        middle = frame.top + slot * (i + 0.5)
        mark = Mark(KIND["bar"], palette.NAMES.index(colour) + 1)
        canvas.rectangle(
            frame.left,
            middle - width / 2,
            frame.left + value * unit,
            middle + width / 2,
            palette.some(rng, colour),
            mark,
        )
        if bars.labels:
            canvas.text(frame.left - 4, middle, bars.labels[i], frame.face, frame.size, frame.ink, (1, 0.5))
    cross(frame)


def cross(frame: Frame) -> None:
    """The two axes."""
    corners = [(frame.left, frame.top), (frame.left, frame.bottom), (frame.right, frame.bottom)]
    frame.canvas.line(corners, frame.ink, 1, Mark(KIND["axis"]))


def draw_lines(rng: Random, size: Size) -> tuple[Lines, Picture]:
    title = some_title(rng, words.CURVES)
    frame = make_frame(rng, size, title)
    log = rng.random() < 0.3
    count = rng.choice((1, 1, 2, 2, 3))
    paper = tuple(int(v) for v in frame.canvas.pixels[0, 0])
    colours = rng.sample(palette.names_on(paper, (*GREYLESS, "white")), count)  # type: ignore[arg-type]
    named = rng.random() < 0.5
    names = _names(rng, count) if named else [None] * count
    count_of_steps = rng.choice((6, 8, 8, 10, 12))
    unit = rng.choice((1, 1, 10, 10, 100, 100, 1000)) if count_of_steps <= 10 else 1
    steps = [str(unit * (i + 1)) for i in range(count_of_steps)]
    lines = tuple(Line(colour, name, rng.choice(TRENDS), None) for colour, name in zip(colours, names, strict=True))
    boxed = named and rng.random() < 0.3
    if named and not boxed:
        _legend_above(frame, lines)
    xs = _step_axis(frame, steps)
    _level_axis(frame, log)
    box = frame.top
    if boxed:
        frame.top += min(frame.up * 0.5, frame.size * 1.3 * count + 6)  # the lines keep clear of the legend
    courses = apart(rng, [line.trend for line in lines], len(xs))
    drawn = [_draw_line(frame, line, xs, steps, *one) for line, one in zip(lines, courses, strict=True)]
    frame.top = box
    cross(frame)
    if boxed:
        _legend_box(frame, tuple(drawn))
    return Lines(tuple(drawn), title, log), frame.canvas.picture()


def _names(rng: Random, count: int) -> list[str | None]:
    names: list[str | None] = []
    while len(names) < count:
        name = words.run_name(rng)
        if name not in names:
            names.append(name)
    return names


def _legend_above(frame: Frame, lines: tuple[Line, ...]) -> None:
    """Keys in one row over the plot, or in rows where the row is too short."""
    canvas, x, y = frame.canvas, frame.left, frame.top + frame.size * 0.3
    for line in lines:
        width = canvas.measure(line.name or "", frame.face, frame.size)[0]
        if x > frame.left and x + width + 16 > canvas.width:
            x, y = frame.left, y + frame.size * 1.3
        _key(frame, line, x, y)
        x += width + 26
    frame.top = y + frame.size


def _key(frame: Frame, line: Line, x: float, y: float) -> None:
    colour = palette.COLOURS[line.colour][0]
    frame.canvas.line([(x, y), (x + 11, y)], colour, 2, Mark(KIND["line"], palette.NAMES.index(line.colour) + 1))
    mark = Mark(KIND["name"], palette.NAMES.index(line.colour) + 1)
    frame.canvas.text(x + 14, y, line.name or "", frame.face, frame.size, frame.ink, (0, 0.5), mark)


def _legend_box(frame: Frame, lines: tuple[Line, ...]) -> None:
    """A box in the plot's corner, over the lines, as plotting libraries place it."""
    canvas = frame.canvas
    width = max(canvas.measure(line.name or "", frame.face, frame.size)[0] for line in lines) + 22
    height = frame.size * 1.3 * len(lines) + 4
    left = frame.right - width - 2
    paper = tuple(int(v) for v in canvas.pixels[0, 0])
    canvas.rectangle(left, frame.top, left + width, frame.top + height, paper, edge=frame.ink)  # type: ignore[arg-type]
    for i, line in enumerate(lines):
        _key(frame, line, left + 4, frame.top + 2 + frame.size * 1.3 * (i + 0.5))


def _step_axis(frame: Frame, steps: list[str]) -> list[float]:
    canvas, rng = frame.canvas, frame.canvas.rng
    gap = frame.across / (len(steps) + 0.4)
    xs = [frame.left + gap * (i + 0.7) for i in range(len(steps))]
    wide = max(canvas.measure(step, frame.face, frame.size)[0] for step in steps)
    every = 1 if wide + 3 < gap else 2
    grid = rng.random() < 0.4
    for i, (x, step) in enumerate(zip(xs, steps, strict=True)):
        if grid:
            canvas.line([(x, frame.top), (x, frame.bottom)], faint(frame.ink), 1)
        canvas.line([(x, frame.bottom), (x, frame.bottom + 3)], frame.ink, 1)
        if i % every == every - 1:
            canvas.text(x, frame.bottom + 4, step, frame.face, frame.size, frame.ink, (0.5, 0))
    return xs


def _level_axis(frame: Frame, log: bool) -> None:
    marks: tuple[str, ...] = ("0.01", "0.1", "1", "10") if log else ("0", "2", "4", "6", "8", "10")
    if frame.up / (len(marks) - 1) < frame.size * 1.2:
        marks = ("0.01", "10") if log else ("0", "5", "10")
    for i, mark in enumerate(marks):
        y = frame.bottom - frame.up * i / (len(marks) - 1)
        frame.canvas.line([(frame.left - 3, y), (frame.left, y)], frame.ink, 1)
        frame.canvas.text(frame.left - 4, y, mark, frame.face, frame.size, frame.ink, (1, 0.5))


def _draw_line(
    frame: Frame, line: Line, xs: list[float], steps: list[str], levels: list[float], at: int | None
) -> Line:
    rng = frame.canvas.rng
    points: list[Point] = [(x, frame.bottom - frame.up * level) for x, level in zip(xs, levels, strict=True)]
    paint = palette.jitter(rng, palette.COLOURS[line.colour][0], 8)
    mark = Mark(KIND["line"], palette.NAMES.index(line.colour) + 1)
    frame.canvas.line(points, paint, rng.choice((1, 1.5, 2)), mark)
    if rng.random() < 0.3:
        for x, y in points:
            frame.canvas.ellipse(x, y, 2, 2, paint)
    return replace(line, step=None if at is None else steps[at])


def apart(rng: Random, trends: Sequence[str], count: int) -> list[Course]:
    """A course for each trend, none of which lies under another for most of its way."""
    while True:
        courses = [course(rng, trend, count) for trend in trends]
        pairs = combinations([levels for levels, _ in courses], 2)
        if all(sum(abs(a - b) > CLEAR for a, b in zip(*pair, strict=True)) * 2 >= count for pair in pairs):
            return courses


def course(rng: Random, trend: str, count: int) -> Course:
    """Heights in [0, 1] at each step, and the index of the step that `trend` names."""
    wobble = [rng.uniform(-0.025, 0.025) for _ in range(count)]
    if trend in ("up", "down"):
        low, high = rng.uniform(0.05, 0.35), rng.uniform(0.65, 0.95)
        ramp = [low + (high - low) * i / (count - 1) for i in range(count)]
        return [a + b for a, b in zip(ramp if trend == "up" else ramp[::-1], wobble, strict=True)], None
    if trend == "wrong":
        return _going_wrong(rng, count)
    level = rng.uniform(0.15, 0.5) if trend == "spike" else rng.uniform(0.5, 0.85)
    heights = [level + w for w in wobble]
    if trend == "flat":
        return heights, None
    at = rng.randrange(count)
    jump = rng.uniform(0.33, 0.48)
    heights[at] = min(0.98, heights[at] + jump) if trend == "spike" else max(0.02, heights[at] - jump)
    return heights, at


def _going_wrong(rng: Random, count: int) -> tuple[list[float], int]:
    """A falling curve that turns and climbs: the turn is the lowest step."""
    at = rng.randint(2, count - 2)
    high, low = rng.uniform(0.65, 0.95), rng.uniform(0.06, 0.3)
    fall = [
        low + (high - low) * (math.exp(-2.5 * i / at) - math.exp(-2.5)) / (1 - math.exp(-2.5)) for i in range(at + 1)
    ]
    top = rng.uniform(low + 0.3, 0.97)
    rise = [low + (top - low) * (i / (count - 1 - at)) ** 0.8 for i in range(1, count - at)]
    return fall + rise, at
