"""The numbers of a conversation's images, and the places in a text that name one as `#N`."""

import re
from collections.abc import Iterable, Mapping, Sequence

from pixtral_cli.chat.message import Part
from pixtral_cli.images.image import Image

IMAGE_REF = re.compile(r"(?<![\w#&/\\])#(\d{1,4})(?!\w)")
ESCAPED_REF = re.compile(r"\\(#\d{1,4})(?!\w)")


class ImageNumbers:
    """Numbers from 1 in the order in which images were first given, equal pixels once; none is given to two images."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = list(keys)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all images there ever were, number N at N - 1."""
        return tuple(self._keys)

    def number(self, image: Image) -> int:
        """The image's number; a new one for a new image."""
        if image.key not in self._keys:
            self._keys.append(image.key)
        return self._keys.index(image.key) + 1

    def coming(self, images: Sequence[Image]) -> set[int]:
        """The numbers that these images have or would be given, in this order."""
        keys = dict.fromkeys([*self._keys, *(image.key for image in images)])
        given = {image.key for image in images}
        return {number for number, key in enumerate(keys, 1) if key in given}


def place_numbered(text: str, images: Mapping[int, Image], first: Sequence[Image]) -> tuple[Part, ...]:
    r"""The text with images where it says #N, behind those of `first` that it does not name.

    `#N` of no image stays text, and `\#N` becomes `#N`.
    """
    parts: list[Part] = []
    end = 0
    for match in IMAGE_REF.finditer(text):
        if image := images.get(int(match[1])):
            parts += [ESCAPED_REF.sub(r"\1", text[end : match.start()]), image]
            end = match.end()
    parts.append(ESCAPED_REF.sub(r"\1", text[end:]))
    placed = {part.key for part in parts if isinstance(part, Image)}
    return (*(image for image in first if image.key not in placed), *(part for part in parts if part))


def named_numbers(text: str) -> tuple[int, ...]:
    """The numbers N that the text names as #N, in order."""
    return tuple(int(match[1]) for match in IMAGE_REF.finditer(text))
