"""Places images in the text of a question at the placeholders `{1}`, `{2}`."""

import re
from collections.abc import Sequence

from pixtral_cli.chat.message import Part
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image

_PLACEHOLDER = re.compile(r"\{\{(?P<literal>\d+)\}\}|\{(?P<number>[1-9]\d*)\}")


def place_images(text: str, images: Sequence[Image]) -> tuple[Part, ...]:
    """The question's parts: the images without a placeholder in order, then the text with each `{N}` replaced by image N.

    `{{N}}` is the text {N}; any other brace is text, and without images every brace is. Raises UsageError when there is
    no image N.
    """
    if not images:
        return (text,)
    parts: list[Part] = [""]
    placed: set[int] = set()
    end = 0
    for match in _PLACEHOLDER.finditer(text):
        parts.append(_append_text(parts.pop(), text[end : match.start()]))
        end = match.end()
        if match["literal"]:
            parts.append(_append_text(parts.pop(), f"{{{match['literal']}}}"))
        else:
            parts += [_numbered(match["number"], images), ""]
            placed.add(int(match["number"]))
    parts.append(_append_text(parts.pop(), text[end:]))
    unplaced = [image for number, image in enumerate(images, 1) if number not in placed]
    return (*unplaced, *(part for part in parts if part))


def _append_text(part: Part, more: str) -> str:
    assert isinstance(part, str)
    return part + more


def _numbered(number: str, images: Sequence[Image]) -> Image:
    if len(number) > 4 or int(number) > len(images):
        existing = "one image" if len(images) == 1 else f"{len(images)} images"
        raise UsageError(
            f"The question places an image {{{number[:20]}}}, but only {existing} came with it",
            f"Add --image, or double the braces if they are meant as text: {{{{{number[:20]}}}}}",
        )
    return images[int(number) - 1]
