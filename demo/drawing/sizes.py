"""The sizes of pictures: the distribution of users' files as they reach the model."""

from random import Random

from demo.drawing.canvas import LIMIT, Size

FILE_SIDES = (
    256,
    400,
    480,
    512,
    640,
    640,
    640,
    640,
    800,
    800,
    1000,
    1024,
)  # long sides of files that are shrunk to LIMIT


def scale(rng: Random) -> float:
    return rng.choice(FILE_SIDES) / LIMIT


def scene(rng: Random) -> Size:
    """Any shape; most arrive with their long side at the limit, some are small or much longer than wide."""
    ratio = rng.choice((1.0, 0.75, 0.75, 0.75, 0.67, 0.5625, 0.5, rng.uniform(0.25, 1.0)))
    if rng.random() < 0.55:
        return _turned(rng, LIMIT, max(40, round(LIMIT * ratio)), scale(rng))
    side = rng.randint(56, LIMIT - 1)
    return _turned(rng, side, max(40, round(side * ratio)), 1.0)


def small(rng: Random) -> Size:
    """For several pictures in one conversation."""
    if rng.random() < 0.3:
        return _turned(rng, LIMIT, round(LIMIT * rng.choice((0.5, 0.67, 0.75))), scale(rng))
    side = rng.randint(LIMIT // 4, LIMIT * 9 // 16)
    return Size(side, max(LIMIT // 5, round(side * rng.uniform(0.6, 1.0))))


def chart(rng: Random) -> Size:
    if rng.random() < 0.75:
        return Size(LIMIT, round(LIMIT * rng.choice((0.5, 0.6, 0.625, 0.67, 0.75, 0.75, 0.75, 0.8, 1.0))), scale(rng))
    side = rng.randint(LIMIT // 2, LIMIT * 15 // 16)
    return Size(side, round(side * rng.uniform(0.6, 0.85)))


def strip(rng: Random) -> Size:
    """For printed words: often a single line."""
    if rng.random() < 0.6:
        return Size(LIMIT, rng.randint(24, 80) if rng.random() < 0.6 else rng.randint(80, LIMIT * 11 // 16), scale(rng))
    return Size(rng.randint(LIMIT // 4, LIMIT * 15 // 16), rng.randint(24, 80))


def crowd(rng: Random) -> Size:
    """For many letters at once."""
    return Size(LIMIT, rng.choice((48, 64, 80, 96)))


def legend(rng: Random) -> Size:
    width, height = rng.choice((160, 208, LIMIT)), rng.choice((48, 48, 64, 80))
    return Size(width, height, scale(rng) if width == LIMIT else 1.0)


def page(rng: Random) -> Size:
    if rng.random() < 0.6:
        return Size(LIMIT, round(LIMIT * rng.choice((0.75, 0.75, 0.8, 1.0))), scale(rng))
    return Size(round(LIMIT * rng.uniform(0.55, 0.95)), LIMIT, scale(rng))


def part(rng: Random, size: Size) -> Size:
    """Less of a picture at the same scale: it costs less to learn from."""
    less = rng.uniform(0.5, 0.75)
    return Size(max(LIMIT // 2, round(size.width * less)), max(LIMIT * 3 // 8, round(size.height * less)), scale(rng))


def like(rng: Random, size: Size) -> Size:
    """Another size with the same patches: for the pictures of one training batch."""
    columns, rows = size.grid
    if size.scale == 1.0 and max(size.width, size.height) < LIMIT:
        exact = rng.random() < 0.5
        return Size(
            columns * 16 - (0 if exact else rng.randint(0, 15)), rows * 16 - (0 if exact else rng.randint(0, 15))
        )
    return Size(size.width, size.height, scale(rng))


def _turned(rng: Random, long: int, short: int, at: float) -> Size:
    return Size(short, long, at) if rng.random() < 0.35 else Size(long, short, at)
