"""Near and far: people, houses, trees, cars and dogs on a ground that runs to the horizon."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from demo.drawing import palette
from demo.drawing.canvas import KIND, Canvas, Mark, Picture, Size
from demo.drawing.palette import RGB

HEIGHTS = {"person": 1.8, "house": 6.0, "tree": 5.0, "car": 1.6, "dog": 0.8}  # metres
SPAN = {"person": 0.4, "house": 1.25, "tree": 0.7, "car": 2.2, "dog": 1.5}  # width for a height of 1
LIGHTS: tuple[tuple[RGB, RGB], ...] = (
    ((150, 205, 250), (120, 190, 90)),
    ((180, 220, 250), (225, 205, 150)),
    ((250, 190, 140), (150, 130, 90)),
    ((30, 35, 70), (50, 60, 60)),
    ((205, 215, 225), (240, 245, 250)),
    ((255, 255, 255), (200, 200, 200)),
)
PAINTED = ("red", "blue", "green", "yellow", "orange", "purple", "pink", "black", "white")


@dataclass(frozen=True, slots=True)
class Being:
    """`near` in front of the others (`None`: all stand at one distance); heights and places in model pixels."""

    kind: str
    colour: str
    near: bool | None
    x: float
    foot: float
    height: float


@dataclass(frozen=True, slots=True)
class View:
    """From left to right."""

    beings: tuple[Being, ...]

    def of(self, near: bool) -> list[Being]:
        return [being for being in self.beings if being.near is near]


def draw(rng: Random, size: Size) -> tuple[View, Picture]:
    sky, ground = rng.choice(LIGHTS)
    canvas = Canvas(rng, size, palette.jitter(rng, sky))
    horizon = size.height * rng.uniform(0.35, 0.5)
    canvas.rectangle(0, horizon, size.width, size.height, palette.jitter(rng, ground))
    beings = _stand(rng, size, horizon)
    for being in sorted(beings, key=lambda being: being.foot):
        draw_being(canvas, being)
    return View(tuple(sorted(beings, key=lambda being: being.x))), canvas.picture()


def draw_being(canvas: Canvas, being: Being) -> None:
    _DRAW[being.kind](canvas, being, palette.some(canvas.rng, being.colour))


def _stand(rng: Random, size: Size, horizon: float) -> list[Being]:
    """Two or three beings of different kinds; mostly a near one and far ones that it rivals in the picture."""
    count = 3 if rng.random() < 0.35 and size.width > 140 else 2
    kinds = rng.sample(sorted(HEIGHTS), count)
    if rng.random() < 0.5:
        kinds[:2] = ["person", "house"]
        kinds = list(dict.fromkeys(kinds))
    level = rng.random() < 0.3
    small_first = sorted(kinds, key=lambda kind: HEIGHTS[kind]) if rng.random() < 0.7 else kinds
    places = [(i + 0.5) * size.width / len(kinds) for i in range(len(kinds))]
    rng.shuffle(places)
    beings = []
    for i, (kind, x) in enumerate(zip(small_first, places, strict=True)):
        near = None if level else i == 0
        beings.append(_being(rng, size, horizon, kind, near, x, len(kinds)))
    return beings


def _being(rng: Random, size: Size, horizon: float, kind: str, near: bool | None, x: float, count: int) -> Being:
    depth = size.height - horizon
    foot = horizon + depth * (0.35 if near is None else rng.uniform(0.85, 0.95) if near else rng.uniform(0.1, 0.2))
    if near is None:
        height = HEIGHTS[kind] / 6 * size.height * 0.55
    elif near:
        height = (
            size.height
            * {"house": 0.75, "tree": 0.75, "person": 0.6, "car": 0.3, "dog": 0.35}[kind]
            * rng.uniform(0.8, 1)
        )
    else:
        height = HEIGHTS[kind] / 6 * size.height * rng.uniform(0.25, 0.35)
    height = min(max(height, 9), size.width / count * 0.9 / SPAN[kind])
    return Being(kind, rng.choice(PAINTED), near, x, foot, height)


def _person(canvas: Canvas, being: Being, paint: RGB) -> None:
    x, y, h = being.x, being.foot, being.height
    mark = Mark(KIND["person"], palette.NAMES.index(being.colour) + 1)
    skin = palette.jitter(canvas.rng, canvas.rng.choice(((240, 200, 170), (200, 150, 110), (120, 80, 60))))
    legs = palette.jitter(canvas.rng, (50, 50, 70), 20)
    for side in (-1, 1):
        canvas.rectangle(x + side * h * 0.07 - h * 0.045, y - h * 0.45, x + side * h * 0.07 + h * 0.045, y, legs)
        canvas.line([(x + side * h * 0.1, y - h * 0.75), (x + side * h * 0.2, y - h * 0.45)], skin, max(1, h * 0.05))
    canvas.rectangle(x - h * 0.13, y - h * 0.8, x + h * 0.13, y - h * 0.4, paint, mark, round_by=h * 0.04)
    canvas.ellipse(x, y - h * 0.89, h * 0.1, h * 0.11, skin, mark)


def _house(canvas: Canvas, being: Being, paint: RGB) -> None:
    x, y, h = being.x, being.foot, being.height
    mark = Mark(KIND["house"], palette.NAMES.index(being.colour) + 1)
    canvas.rectangle(x - h * 0.5, y - h * 0.6, x + h * 0.5, y, paint, mark, palette.shade(paint, 0.7))
    roof = palette.jitter(canvas.rng, canvas.rng.choice(((150, 60, 40), (90, 90, 100), (110, 70, 40))))
    canvas.polygon([(x - h * 0.6, y - h * 0.58), (x, y - h), (x + h * 0.6, y - h * 0.58)], roof, mark)
    canvas.rectangle(x - h * 0.1, y - h * 0.32, x + h * 0.1, y, palette.shade(roof, 0.7))
    for side in (-1, 1):
        canvas.rectangle(
            x + side * h * 0.3 - h * 0.08, y - h * 0.42, x + side * h * 0.3 + h * 0.08, y - h * 0.26, (200, 225, 245)
        )


def _tree(canvas: Canvas, being: Being, paint: RGB) -> None:
    x, y, h = being.x, being.foot, being.height
    mark = Mark(KIND["tree"])
    canvas.rectangle(x - h * 0.06, y - h * 0.45, x + h * 0.06, y, (110, 75, 45), mark)
    leaf = palette.jitter(canvas.rng, (45, 120, 55), 25)
    if canvas.rng.random() < 0.5:
        canvas.ellipse(x, y - h * 0.68, h * 0.33, h * 0.32, leaf, mark)
    else:
        canvas.polygon([(x, y - h), (x - h * 0.33, y - h * 0.3), (x + h * 0.33, y - h * 0.3)], leaf, mark)


def _car(canvas: Canvas, being: Being, paint: RGB) -> None:
    x, y, h = being.x, being.foot, being.height
    mark = Mark(KIND["car"], palette.NAMES.index(being.colour) + 1)
    roof = [(x - h * 0.6, y - h * 0.55), (x - h * 0.4, y - h), (x + h * 0.35, y - h), (x + h * 0.65, y - h * 0.55)]
    canvas.polygon(roof, palette.shade(paint, 1.3), mark)
    canvas.rectangle(x - h * 1.1, y - h * 0.6, x + h * 1.1, y - h * 0.15, paint, mark, round_by=h * 0.1)
    for side in (-1, 1):
        canvas.ellipse(x + side * h * 0.6, y - h * 0.17, h * 0.19, h * 0.19, (30, 30, 30), mark)


def _dog(canvas: Canvas, being: Being, paint: RGB) -> None:
    x, y, h = being.x, being.foot, being.height
    mark = Mark(KIND["dog"])
    fur = palette.jitter(canvas.rng, canvas.rng.choice(((140, 95, 55), (90, 60, 40), (215, 190, 150))))
    for dx in (-0.45, -0.3, 0.25, 0.4):
        canvas.rectangle(x + dx * h, y - h * 0.4, x + (dx + 0.1) * h, y, fur, mark)
    canvas.rectangle(x - h * 0.5, y - h * 0.7, x + h * 0.5, y - h * 0.3, fur, mark, round_by=h * 0.15)
    canvas.ellipse(x + h * 0.55, y - h * 0.8, h * 0.2, h * 0.19, fur, mark)
    canvas.line([(x - h * 0.5, y - h * 0.6), (x - h * 0.72, y - h * 0.95)], fur, max(1, h * 0.08))


_DRAW: dict[str, Callable[[Canvas, Being, RGB], None]] = {
    "person": _person, "house": _house, "tree": _tree, "car": _car, "dog": _dog,
}  # fmt: skip
