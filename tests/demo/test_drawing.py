"""The drawn pictures: the same for a seed, sized as mistral_common sizes them, and showing what they say they show."""

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
from mistral_common.protocol.instruct.chunk import ImageChunk
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, SpecialImageIDs
from PIL import Image

from demo import families, independent
from demo.drawing import charts, fonts, palette, scenes, sheets, sizes
from demo.drawing.canvas import CHARACTERS, KIND, LIMIT, PATCH, SUBCOLUMNS, Size, grid_of
from demo.encoding import patches
from demo.tokenizer import IMG, IMG_BREAK, IMG_END

PICTURED = [name for name in families.FAMILIES if name != "talk"]
DRAWN: dict[str, Callable[[Random], Any]] = {
    name: lambda rng, n=name: families.draw(rng, n) for name in families.FAMILIES
}
PROGRAMS = DRAWN | {f"other {name}": draw for name, draw in independent.FAMILIES.items()}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_seed_draws_the_same_pictures_and_questions(name: str) -> None:
    one, two = PROGRAMS[name](Random(5)), PROGRAMS[name](Random(5))
    assert one.conversations == two.conversations
    for a, b in zip(one.pictures, two.pictures, strict=True):
        assert np.array_equal(a.pixels, b.pixels)


@pytest.mark.parametrize("name", PICTURED)
def test_the_model_gets_what_mistral_common_would_make_of_the_file(name: str) -> None:
    encoder = ImageEncoder(ImageConfig(PATCH, LIMIT), SpecialImageIDs(img=IMG, img_break=IMG_BREAK, img_end=IMG_END))
    for seed in range(6):
        for picture in families.draw(Random(seed), name).pictures:
            theirs = encoder(ImageChunk(image=Image.fromarray(picture.pixels))).image
            columns, rows = picture.grid
            assert grid_of(picture.pixels) == picture.grid
            assert theirs.shape == (3, rows * PATCH, columns * PATCH)
            cut = theirs.reshape(3, rows, PATCH, columns, PATCH).transpose(1, 3, 0, 2, 4).reshape(rows * columns, -1)
            np.testing.assert_allclose(patches(picture.pixels, picture.grid), cut, atol=2e-5)


def test_half_of_the_scenes_arrive_with_their_long_side_at_the_limit() -> None:
    rng = Random(1)
    drawn = [sizes.scene(rng) for _ in range(400)]
    assert sum(max(size.width, size.height) == LIMIT for size in drawn) > 190
    assert any(size.width > 2 * size.height for size in drawn)
    assert any(size.height > 2 * size.width for size in drawn)


def test_sizes_of_one_batch_share_their_patches() -> None:
    rng = Random(2)
    for _ in range(200):
        size = sizes.scene(rng)
        assert sizes.like(rng, size).grid == size.grid


def test_a_filled_thing_has_the_colour_it_is_to_have() -> None:
    for seed in range(60):
        rng = Random(seed)
        thing = scenes.Thing(rng.choice(scenes.SHAPES), rng.choice(palette.NAMES), 100, 90, 40)
        canvas = scenes.Canvas(rng, Size(200, 180, rng.choice((1.0, 2.5))), (200, 120, 60))
        scenes.draw_thing(canvas, thing, 0.3)
        middle = canvas.pixels[round(90 * canvas.scale), round(100 * canvas.scale)]
        near = min(palette.distance(tuple(int(v) for v in middle), value) for value in palette.COLOURS[thing.colour])
        assert near <= 36, (thing, middle)


def test_the_labels_say_which_patches_a_thing_covers() -> None:
    canvas = scenes.Canvas(Random(0), Size(128, 96, 2.5), (255, 255, 255))
    scenes.draw_thing(canvas, scenes.Thing("square", "blue", 64, 48, 24), 0.3)
    labels = canvas.picture(weathered=False).labels.reshape(6, 8, 5)
    assert labels[3, 4, 0] == KIND["square"]
    assert labels[3, 4, 1] == palette.NAMES.index("blue") + 1
    assert labels[0, 0, 0] == labels[5, 7, 0] == 0


def test_written_characters_are_labelled_where_they_stand() -> None:
    canvas = scenes.Canvas(Random(0), Size(160, 32), (255, 255, 255))
    canvas.text(4, 10, "HELLO", fonts.printed()[0], 14, (0, 0, 0))
    seen = "".join(CHARACTERS[i] for i in canvas.picture(weathered=False).labels[:, 2:].flatten() if i)
    assert "".join(dict.fromkeys(seen)) == "HELO"


def test_a_cutting_is_labelled_with_the_characters_that_stand_where_it_was_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    across = np.arange(sheets.SIDE)
    grey = np.broadcast_to((across // 2).astype(np.uint8)[None, :, None], (sheets.SIDE, sheets.SIDE, 3))
    lines = [((across // 32 + i) % 70 + 1).astype(np.uint8) for i in range(sheets.SIDE // PATCH)]
    runs = tuple(sheets.Run(PATCH * (i + 0.5), 0, sheets.SIDE, line) for i, line in enumerate(lines))
    monkeypatch.setattr(sheets, "sheet", lambda _: sheets.Sheet(grey, runs))
    rng = Random(6)
    for _ in range(30):
        cut = sheets.cutting(rng, Size(256, 48))
        shades = cut.pixels[0, :, 0].astype(int)
        shades = shades if shades[-1] > shades[0] else 255 - shades
        left = 2 * shades[1] - 1 if shades[0] < shades[1] else 2 * shades[0]
        labels = cut.labels.reshape(3, 16, 5)[..., 2:]
        first = int(labels[0, 0, 0]) - 1 - (left + int(SUBCOLUMNS[0])) // 32
        for row in range(3):
            for column in range(16):
                spots = [(left + column * PATCH + int(spot)) // 32 for spot in SUBCOLUMNS]
                assert [(spot + first + row) % 70 + 1 for spot in spots] == labels[row, column].tolist()


def test_a_sheet_is_full_of_print_whose_ink_is_where_its_runs_say() -> None:
    whole = sheets.sheet(1)
    letters = sum(int((run.characters > 1).any()) for run in whole.runs)
    assert letters > 60
    inked = 0
    for run in whole.runs:
        around = whole.pixels[int(run.middle) - 3 : int(run.middle) + 4, max(0, run.left) : run.right].astype(int)
        inked += bool(around.size and np.ptp(around.max(2)) > 25)
    assert inked > 0.9 * len(whole.runs)


def test_nothing_is_placed_where_its_place_is_in_doubt() -> None:
    for seed in range(80):
        rng = Random(seed)
        scene, _ = scenes.draw(rng, sizes.scene(rng))
        for thing in scene.things:
            for at in (thing.x / scene.width, thing.y / scene.height):
                assert all(abs(at - edge) > scenes.DOUBT for edge in scenes.EDGES)


def test_the_tallest_standing_bar_covers_more_rows_than_the_lowest() -> None:
    checked = 0
    for seed in range(40):
        bars, picture = charts.draw_bars(Random(seed), Size(256, 192, 2.5))
        tall, low = (bars.values.index(pick(bars.values)) for pick in (max, min))
        marked = (picture.labels[:, 0] == KIND["bar"]).reshape(12, 16)
        covers = [marked & (picture.labels[:, 1].reshape(12, 16) == palette.NAMES.index(c) + 1) for c in bars.colours]
        standing = all(cover.any(0).sum() <= 16 // len(bars.values) + 1 for cover in covers)
        if standing and bars.coloured and bars.values[low] < 0.6 * bars.values[tall]:
            checked += 1
            assert covers[tall].any(1).sum() > covers[low].any(1).sum(), seed
    assert checked > 8


def test_a_curve_that_goes_wrong_is_lowest_where_it_is_to_turn() -> None:
    for seed in range(50):
        levels, at = charts.course(Random(seed), "wrong", 8)
        assert at is not None
        assert levels.index(min(levels)) == at
        assert 0 < at < 7
