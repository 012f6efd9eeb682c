"""Transforms of upright pictures: rotation by multiples of 90 degrees, crop, and the size in whole patches."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_SIDE, PATCH = 1024, 16  # pixels of Pixtral's longest image side, and of a patch's side


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of an image, in pixels from its upper left corner."""

    left: int
    top: int
    width: int
    height: int

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Left, top, right and bottom, as Pillow's `crop` takes them."""
        return self.left, self.top, self.left + self.width, self.top + self.height

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether the box is not empty and lies inside an image of this size."""
        left, top, right, bottom = self.edges
        return 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]

    def rotated(self, degrees: int, size: tuple[int, int]) -> "Box":
        """The box of the same pixels after an image of this size was rotated clockwise by a multiple of 90 degrees."""
        box, (width, height) = self, size
        for _ in range(degrees % 360 // 90):
            box = Box(height - box.top - box.height, box.left, box.height, box.width)
            width, height = height, width
        return box


@dataclass(frozen=True, slots=True)
class Transform:
    """A clockwise rotation by `rotate` degrees (0, 90, 180 or 270), then a crop, in coordinates of the rotated image."""

    crop: Box | None = None
    rotate: int = 0

    def __bool__(self) -> bool:
        """Whether it changes anything."""
        return self.crop is not None or self.rotate != 0

    def rotated_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size of a whole picture after the rotation."""
        return size[::-1] if self.rotate % 180 else size

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Width and height in pixels of the result for a picture of this size."""
        return (self.crop.width, self.crop.height) if self.crop else self.rotated_size(size)

    def source(self, size: tuple[int, int]) -> Box | None:
        """The crop in coordinates of the picture before the rotation; None without a crop."""
        return self.crop and self.crop.rotated(-self.rotate, self.rotated_size(size))

    def to_json(self) -> dict[str, Any]:
        """The fields that change something: `{"rotate": 90, "crop": [left, top, width, height]}`."""
        box = self.crop
        return ({"rotate": self.rotate} if self.rotate else {}) | (
            {"crop": [box.left, box.top, box.width, box.height]} if box else {}
        )

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Transform":
        """The inverse of `to_json`; other fields are ignored. Raises ValueError, which names the invalid field."""
        sides, rotate = fields.get("crop"), fields.get("rotate") or 0
        if sides and (not isinstance(sides, list) or [type(side) for side in sides] != [int] * 4):
            raise ValueError("crop must be four whole numbers: left, top, width, height")
        if type(rotate) is not int or rotate % 90:
            raise ValueError("rotate must be 0, 90, 180 or 270 degrees")
        return cls(Box(*sides) if sides else None, rotate % 360)

    def __str__(self) -> str:
        """One line of JSON; "" for a transform that changes nothing."""
        return json.dumps(self.to_json()) if self else ""


UNCHANGED = Transform()


def size_in_patches(size: tuple[int, int], longest: int = MAX_SIDE, patch: int = PATCH) -> tuple[int, int]:
    """The size in pixels at which the model sees a picture: scaled down to `longest`, then rounded up to whole patches.

    Source: `ImageEncoder._image_to_num_tokens` of mistral_common.
    """
    ratio = max(1.0, max(size) / longest)
    width, height = (max(1, round(side / ratio)) if ratio > 1 else side for side in size)
    return math.ceil(width / patch) * patch, math.ceil(height / patch) * patch
