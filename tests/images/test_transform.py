"""Turns and crops: one value, in any order, through decoding and JSON."""

import io

import pytest
from PIL import Image as Pillow

from pixtral_cli import images
from pixtral_cli.images.transform import Box, Transform, size_in_patches


def picture(orientation: int = 1, size: tuple[int, int] = (24, 16)) -> bytes:
    pixels = Pillow.new("RGB", size)
    pixels.putdata([(x * 9, y * 9, 50) for y in range(size[1]) for x in range(size[0])])
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    pixels.save(file, "PNG", exif=exif)
    return file.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turn_is_clockwise_whatever_the_camera_recorded(orientation: int, degrees: int) -> None:
    image = images.from_bytes(picture(orientation), "x")
    turned = image.rotated(degrees)
    expected = image.pixels().rotate(-degrees, expand=True)
    assert turned.size == expected.size
    assert turned.pixels().tobytes() == expected.tobytes()
    assert turned.rotated(360 - degrees) == image


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_crop_of_what_was_turned_and_a_turn_of_what_was_cropped(orientation: int, degrees: int) -> None:
    image = images.from_bytes(picture(orientation), "x")
    crop = image.rotated(degrees).cropped(Box(3, 2, 9, 7))
    assert crop.pixels().tobytes() == image.rotated(degrees).pixels().crop((3, 2, 12, 9)).tobytes()
    turned = image.cropped(Box(3, 2, 9, 7)).rotated(degrees)
    assert turned.pixels().tobytes() == image.cropped(Box(3, 2, 9, 7)).pixels().rotate(-degrees, expand=True).tobytes()
    assert turned.size == turned.pixels().size


def test_a_turned_photo_is_reduced_no_further_than_asked() -> None:
    file = io.BytesIO()
    Pillow.new("RGB", (2000, 400)).save(file, "JPEG")
    turned = images.from_bytes(file.getvalue(), "x").rotated(90)
    width, height = turned.pixels((100, 900)).size
    assert width >= 100
    assert height >= 900
    assert width < 400


@pytest.mark.parametrize(
    "transform", [Transform(), Transform(Box(1, 2, 3, 4)), Transform(None, 90), Transform(Box(0, 0, 1, 1), 270)]
)
def test_json_and_back(transform: Transform) -> None:
    assert Transform.from_json(transform.to_json()) == transform
    assert bool(transform) == (transform != Transform())


@pytest.mark.parametrize(
    "fields",
    [
        {"crop": [1, 2, 3]},
        {"crop": "all"},
        {"crop": [0, 0, 1.5, 2]},
        {"rotate": 45},
        {"rotate": "90"},
        {"crop": [True, 0, 1, 1]},
    ],
)
def test_json_that_is_none_of_ours_names_the_field(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"crop|rotate"):
        Transform.from_json(fields)


def test_turned_pictures_have_keys_of_their_own() -> None:
    image = images.from_bytes(picture(), "x")
    assert len({image.rotated(degrees).key for degrees in (0, 90, 180, 270)}) == 4


@pytest.mark.parametrize(
    ("size", "sent"),
    [((1, 1), (16, 16)), ((1024, 1024), (1024, 1024)), ((1000, 3000), (352, 1024)), ((5000, 1), (1024, 16))],
)
def test_the_size_in_whole_patches(size: tuple[int, int], sent: tuple[int, int]) -> None:
    assert size_in_patches(size) == sent
