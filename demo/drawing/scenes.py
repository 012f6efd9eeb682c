"""Coloured shapes on a ground, placed so that every question about their place has one answer."""

import math
from dataclasses import dataclass
from random import Random

from demo.drawing import palette
from demo.drawing.canvas import KIND, Canvas, Mark, Picture, Point, Size
from demo.drawing.palette import RGB

SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross", "heart", "hexagon")
COMMON = ("circle", "square", "triangle", "star", "circle", *SHAPES)  # as often as people draw them
EDGES = (0.36, 0.64)  # where left, centre and right (and top, middle, bottom) part
DOUBT = 0.03  # no thing's centre lies this near to an edge


@dataclass(frozen=True, slots=True)
class Thing:
    shape: str
    colour: str
    x: float
    y: float
    radius: float

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What was drawn, from left to right."""

    things: tuple[Thing, ...]
    ground: str
    width: int
    height: int

    @property
    def uniform(self) -> bool:
        """Several things, all of one kind."""
        return len(self.things) > 1 and len({thing.name for thing in self.things}) == 1


def draw(rng: Random, size: Size, most: int = 5) -> tuple[Scene, Picture]:
    ground = rng.choice(list(palette.GROUNDS))
    paint = palette.jitter(rng, palette.GROUNDS[ground], 5)
    colours = palette.names_on(paint)
    canvas = Canvas(rng, size, paint)
    if rng.random() < 0.15:
        _second_ground(canvas, paint)
    things: list[Thing] = []
    if most > 1 and rng.random() < 0.12:
        things = _row_of_one_kind(rng, size, colours)
    if not things:
        things = _mixed(rng, size, colours, rng.choices(range(1, most + 1), (25, 25, 25, 16, 9, 5)[:most])[0])
    style = rng.random()
    for thing in things:
        draw_thing(canvas, thing, style)
    return Scene(tuple(sorted(things, key=lambda thing: thing.x)), ground, size.width, size.height), canvas.picture()


def _second_ground(canvas: Canvas, paint: RGB) -> None:
    middle = canvas.height * canvas.rng.uniform(0.4, 0.7)
    canvas.rectangle(0, middle, canvas.width, canvas.height, palette.jitter(canvas.rng, paint, 16))


def _mixed(rng: Random, size: Size, colours: list[str], count: int) -> list[Thing]:
    """Things that differ in shape or colour, often alike in one of the two."""
    things: list[Thing] = []
    alike = rng.random()
    for _ in range(count):
        placed = _place(rng, size, things, count)
        if placed is None:
            continue
        shape, colour = rng.choice(COMMON), rng.choice(colours)
        if things and alike < 0.3 and rng.random() < 0.7:
            shape = things[0].shape
        elif things and 0.3 <= alike < 0.45:
            colour = things[0].colour
        if all((thing.shape, thing.colour) != (shape, colour) for thing in things):
            things.append(Thing(shape, colour, *placed))
    return things


def _row_of_one_kind(rng: Random, size: Size, colours: list[str]) -> list[Thing]:
    shape, colour = rng.choice(COMMON), rng.choice(colours)
    things: list[Thing] = []
    for _ in range(rng.randint(2, 6)):
        placed = _place(rng, size, things, 5)
        if placed is not None:
            things.append(Thing(shape, colour, *placed))
    return things


def _place(rng: Random, size: Size, others: list[Thing], count: int) -> tuple[float, float, float] | None:
    short = min(size.width, size.height)
    largest = 0.4 if count == 1 else 0.27 if count == 2 else 0.2
    for _ in range(60):
        radius = max(7.5, rng.uniform(0.075, largest) * short)
        reach = radius * 1.2 + 1
        if reach * 2 >= short:
            continue
        x, y = rng.uniform(reach, size.width - reach), rng.uniform(reach, size.height - reach)
        if (
            _clear(x / size.width)
            and _clear(y / size.height)
            and all(_apart(x, y, radius, o, size.width) for o in others)
        ):
            return x, y, radius
    return None


def _clear(fraction: float) -> bool:
    return all(abs(fraction - edge) > DOUBT for edge in EDGES)


def _apart(x: float, y: float, radius: float, other: Thing, width: int) -> bool:
    dx, dy = abs(x - other.x), abs(y - other.y)
    return max(dx, dy) > (radius + other.radius) * 1.2 + 2 and dx > 0.08 * width


def draw_thing(canvas: Canvas, thing: Thing, style: float) -> None:
    """One shape; `style` in [0, 1) chooses how all shapes of a picture are filled and edged."""
    rng = canvas.rng
    paint = palette.some(rng, thing.colour)
    mark = Mark(KIND[thing.shape], palette.NAMES.index(thing.colour) + 1)
    if style > 0.9:
        soft = palette.shade(tuple(int(v) for v in canvas.pixels[0, 0]), 0.8)  # type: ignore[arg-type]
        drop = thing.radius * 0.12
        outline(canvas, thing, drop, soft, None, None, 1, 0)
    edge = (
        None
        if style < 0.55
        else palette.shade(paint, 0.6)
        if style < 0.75
        else palette.ink_on(palette.GROUNDS["white"])
    )
    hollow = 0.83 < style < 0.9
    turn = rng.uniform(-1, 1) if rng.random() < 0.6 else 0.0
    if hollow:
        outline(canvas, thing, 0, None, mark, paint, max(2.0, thing.radius * 0.16), turn)
    else:
        outline(canvas, thing, 0, paint, mark, edge, rng.choice((1, 1, 2)), turn)


def outline(
    canvas: Canvas,
    thing: Thing,
    drop: float,
    fill: RGB | None,
    mark: Mark | None,
    edge: RGB | None,
    width: float,
    turn: float,
) -> None:
    x, y, r = thing.x + drop, thing.y + drop, thing.radius
    if thing.shape == "circle":
        canvas.ellipse(x, y, r, r, fill, mark, edge, width)
    else:
        canvas.polygon(corners(thing.shape, x, y, r, turn), fill, mark, edge, width)


def corners(shape: str, x: float, y: float, r: float, turn: float) -> list[Point]:
    """The corners of a shape of radius `r`; `turn` in [-1, 1] tilts it as far as it stays what it is."""
    if shape == "square":
        return _ring(x, y, [r * 1.2] * 4, math.pi / 4 + turn * 0.3)
    if shape == "triangle":
        return _ring(x, y, [r * 1.15] * 3, -math.pi / 2 + turn * 0.3)
    if shape == "star":
        return _ring(x, y, [r * 1.15, r * 0.48] * 5, -math.pi / 2 + turn * 0.5)
    if shape == "hexagon":
        return _ring(x, y, [r * 1.08] * 6, turn * 0.5)
    if shape == "diamond":
        return [(x, y - r * 1.15), (x + r * 0.8, y), (x, y + r * 1.15), (x - r * 0.8, y)]
    if shape == "heart":
        steps = [2 * math.pi * i / 28 for i in range(28)]
        return [(x + r * 1.05 * math.sin(a) ** 3, y - r / 15 * _lobe(a)) for a in steps]
    t = r * 0.36
    half = [(-t, -r), (t, -r), (t, -t), (r, -t), (r, t), (t, t), (t, r), (-t, r), (-t, t), (-r, t), (-r, -t), (-t, -t)]
    return [(x + dx, y + dy) for dx, dy in half]


def _lobe(a: float) -> float:
    return 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)


def _ring(x: float, y: float, radii: list[float], start: float) -> list[Point]:
    step = 2 * math.pi / len(radii)
    return [(x + r * math.cos(start + i * step), y + r * math.sin(start + i * step)) for i, r in enumerate(radii)]
