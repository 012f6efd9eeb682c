"""Named colours, each with the values that several programs give it."""

from random import Random
from typing import TypeAlias

RGB: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, tuple[RGB, ...]] = {
    "red": ((222, 40, 40), (255, 0, 0), (214, 39, 40), (231, 76, 60)),
    "green": ((40, 160, 60), (0, 128, 0), (44, 160, 44), (46, 190, 100), (0, 200, 0)),
    "blue": ((40, 80, 225), (0, 0, 255), (31, 119, 180), (52, 130, 220), (20, 60, 170)),
    "yellow": ((240, 215, 40), (255, 255, 0), (255, 220, 60), (255, 235, 59)),
    "orange": ((246, 138, 28), (255, 165, 0), (255, 127, 14), (255, 152, 0)),
    "purple": ((140, 50, 180), (128, 0, 128), (148, 103, 189), (120, 60, 200)),
    "pink": ((250, 150, 195), (255, 192, 203), (255, 105, 180), (240, 98, 146)),
    "black": ((18, 18, 18), (0, 0, 0), (40, 40, 40)),
    "white": ((250, 250, 250), (255, 255, 255)),
    "gray": ((128, 128, 128), (150, 150, 150), (110, 110, 115)),
}
NAMES = tuple(COLOURS)
GROUNDS: dict[str, RGB] = {
    "white": (255, 255, 255),
    "black": (10, 10, 10),
    "gray": (190, 190, 190),
    "light blue": (190, 220, 250),
    "light green": (195, 240, 195),
    "beige": (240, 228, 200),
    "light pink": (255, 218, 228),
    "dark blue": (25, 35, 85),
}
APART = 150  # least distance (sum over channels) between a thing and its ground
PAPERS: tuple[RGB, ...] = ((255, 255, 255), (255, 255, 255), (245, 245, 240), (225, 230, 240), (252, 248, 235))
NIGHT: RGB = (30, 30, 40)


def distance(a: RGB, b: RGB) -> int:
    return sum(abs(x - y) for x, y in zip(a, b, strict=True))


def jitter(rng: Random, colour: RGB, amount: int = 12) -> RGB:
    r, g, b = (max(0, min(255, v + rng.randint(-amount, amount))) for v in colour)
    return r, g, b


def shade(colour: RGB, factor: float) -> RGB:
    """Darker (below 1) or, towards white, lighter (above 1)."""
    if factor <= 1:
        r, g, b = (int(v * factor) for v in colour)
    else:
        r, g, b = (int(255 - (255 - v) * (2 - factor)) for v in colour)
    return r, g, b


def some(rng: Random, name: str) -> RGB:
    return jitter(rng, rng.choice(COLOURS[name]))


def names_on(ground: RGB, without: tuple[str, ...] = ()) -> list[str]:
    """The colours of which every value stands out from `ground`."""
    return [
        name
        for name, values in COLOURS.items()
        if name not in without and all(distance(value, ground) > APART for value in values)
    ]


def ink_on(ground: RGB) -> RGB:
    return (225, 225, 225) if sum(ground) < 300 else (35, 35, 35)


def pair_apart(rng: Random) -> tuple[RGB, RGB]:
    """A ground and an ink that can be read on it; half the time the usual dark on light."""
    if rng.random() < 0.5:
        return rng.choice(PAPERS), jitter(rng, rng.choice(((15, 15, 15), (20, 20, 80), (70, 20, 20))), 10)
    while True:
        ground, ink = ((rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255)) for _ in range(2))
        if distance(ground, ink) > 330:
            return ground, ink
