"""Colours as sRGB: pictures with another ICC profile are converted, those without one are taken for sRGB."""

import io
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage
    from PIL.ImageCms import ImageCmsTransform

LARGEST = 4_000_000  # bytes of a profile
SPACES = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK", "LAB": b"Lab "}


def to_srgb(image: "PILImage") -> "PILImage":
    """A picture without transparency in sRGB: RGB, or as it is when its profile says nothing that can be used."""
    profile = image.info.get("icc_profile")
    if not profile or not usable(profile, image.mode):
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


def usable(profile: bytes, mode: str) -> bool:
    """Whether these bytes are an ICC profile, whole, for pixels of that mode (ICC.1:2022, 7.2)."""
    whole = 128 < len(profile) <= LARGEST and int.from_bytes(profile[:4]) <= len(profile)
    return whole and profile[36:40] == b"acsp" and profile[16:20] == SPACES.get(mode)


@lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> "ImageCmsTransform | None":
    """The transform of such pixels to sRGB; None for a profile that is sRGB, or that cannot be used."""
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
