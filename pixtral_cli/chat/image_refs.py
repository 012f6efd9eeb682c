"""Where the images of a question stand in its text: `{1}`, `{2}` place them. Knows nothing of where either came from."""

import re
from collections.abc import Sequence

from pixtral_cli.chat.message import Part
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image

_PLACE = re.compile(r"\{\{(?P<literal>\d+)\}\}|\{(?P<number>[1-9]\d*)\}")


def place_images(text: str, images: Sequence[Image]) -> tuple[Part, ...]:
    """The question's parts: images that the text does not place come first, in order.

    Without images every brace is text. With images `{N}` is image N, `{{N}}` is the text {N}, and any other brace is
    text. Raises UsageError when there is no image N.
    """
    if not images:
        return (text,)
    parts: list[Part] = [""]
    placed: set[int] = set()
    end = 0
    for found in _PLACE.finditer(text):
        parts.append(_append_text(parts.pop(), text[end : found.start()]))
        end = found.end()
        if found["literal"]:
            parts.append(_append_text(parts.pop(), f"{{{found['literal']}}}"))
        else:
            parts += [_numbered(found["number"], images), ""]
            placed.add(int(found["number"]))
    parts.append(_append_text(parts.pop(), text[end:]))
    before = [image for number, image in enumerate(images, 1) if number not in placed]
    return (*before, *(part for part in parts if part))


def _append_text(part: Part, more: str) -> str:
    assert isinstance(part, str)
    return part + more


def _numbered(number: str, images: Sequence[Image]) -> Image:
    if len(number) > 4 or int(number) > len(images):
        there = "one image" if len(images) == 1 else f"{len(images)} images"
        raise UsageError(
            f"The question places an image {{{number[:20]}}}, but only {there} came with it",
            f"Add --image, or double the braces if they are meant as text: {{{{{number[:20]}}}}}",
        )
    return images[int(number) - 1]
