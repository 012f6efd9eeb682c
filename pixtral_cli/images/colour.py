"""Converts pictures with an ICC profile to sRGB; those without one are assumed to be sRGB."""

import io
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from PIL.ImageCms import ImageCmsTransform

MAX_PROFILE_BYTES = 4_000_000
COLOUR_SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK", "LAB": b"Lab "}


def to_srgb(image: "PILImage") -> "PILImage":
    """A picture without transparency as RGB in sRGB; unchanged if it has no usable profile."""
    profile = image.info.get("icc_profile")
    if not profile or not is_usable(profile, image.mode):
        return image
    transform = _transform(profile, image.mode)
    if transform is None:
        return image
    from PIL import ImageCms

    if image.mode == "RGB":
        ImageCms.applyTransform(image, transform, inPlace=True)
        return image
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None
    return converted


def is_usable(profile: bytes, mode: str) -> bool:
    """Whether these bytes are a complete ICC profile for pixels of that mode (ICC.1:2022, 7.2)."""
    complete = 128 < len(profile) <= MAX_PROFILE_BYTES and int.from_bytes(profile[:4]) <= len(profile)
    return complete and profile[36:40] == b"acsp" and profile[16:20] == COLOUR_SPACES.get(mode)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """The transform from the profile to sRGB; None for the profile of sRGB and for one that littleCMS refuses."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
