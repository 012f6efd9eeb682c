"""Legends: in rows above or below a plot, in a box within it, beside it, or at the ends of its lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from demo.drawing import palette
from demo.drawing.canvas import KIND, Mark
from demo.drawing.charts import Frame, Line, faint
from demo.drawing.palette import RGB


@dataclass(slots=True)
class Legend:
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


def in_rows(frame: Frame, legend: Legend, top: float, *, dry: bool = False) -> float:
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
class Box:
    left: float
    top: float
    right: float
    bottom: float
    band: tuple[float, float]  # of the plot's height that is left to the lines


def find_box(frame: Frame, legend: Legend, courses: Sequence[Sequence[float]]) -> Box:
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
            return Box(left, top, left + across, top + tall, (0.0, 1.0))
    x, y = corners[0]
    y = 0 if rng.random() < 0.8 else y
    left, top = frame.left + 3 + (frame.across - across - 6) * x, frame.top + 2 + (frame.up - tall - 5) * y
    edge = (tall + 5) / frame.up
    return Box(left, top, left + across, top + tall, (0.0, 1 - edge) if y == 0 else (edge, 1.0))


def _between(course: Sequence[float], low: float, high: float) -> list[float]:
    return [level for i, level in enumerate(course) if low <= (i / (len(course) - 1)) * 0.94 + 0.03 <= high]


def draw_box(frame: Frame, legend: Legend, box: Box) -> None:
    canvas, rng = frame.canvas, frame.canvas.rng
    paper = tuple(int(v) for v in canvas.pixels[0, 0])
    edge = rng.choice((frame.ink, faint(frame.ink), None))
    canvas.rectangle(box.left, box.top, box.right, box.bottom, paper, edge=edge, round_by=rng.choice((0, 2)))  # type: ignore[arg-type]
    tall = (box.bottom - box.top - 2) / len(legend.lines)
    for i, line in enumerate(legend.lines):
        legend.write(frame, line, box.left + 4, box.top + 1 + tall * (i + 0.5))


def in_column(frame: Frame, legend: Legend) -> None:
    tall = legend.letters * frame.canvas.rng.uniform(1.3, 1.9)
    top = frame.top + (0 if frame.canvas.rng.random() < 0.5 else max(0, (frame.up - tall * len(legend.lines)) / 2))
    for i, line in enumerate(legend.lines):
        legend.write(frame, line, frame.right + 4, top + tall * (i + 0.5))


def at_ends(frame: Frame, legend: Legend, ends: Sequence[float]) -> None:
    """Each name beside its line's end, in the line's colour or with its key; moved apart where they would touch."""
    tall = legend.letters * 1.25
    order = sorted(range(len(ends)), key=lambda i: -ends[i])
    ys = [frame.bottom - frame.up * ends[i] for i in order]
    for i in range(1, len(ys)):
        ys[i] = max(ys[i], ys[i - 1] + tall)
    over = max(0.0, ys[-1] - frame.bottom)
    for i, y in zip(order, ys, strict=True):
        legend.write(frame, legend.lines[i], frame.right + 4, y - over)
