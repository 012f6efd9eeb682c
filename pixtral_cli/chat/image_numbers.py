"""The images of a conversation: their numbers, those staged for the next question, and `#N`, a reference in a text."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from pixtral_cli.chat.message import Message, Part
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image

IMAGE_REF = re.compile(r"(?<![\w#&/\\])#(\d{1,4})(?!\w)")
ESCAPED_REF = re.compile(r"\\(#\d{1,4})(?!\w)")


class ImageNumbers:
    """Numbers images from 1 in the order in which they were first added; images of equal pixels share one number."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._keys = list(keys)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all images there ever were, number N at N - 1."""
        return tuple(self._keys)

    def number(self, image: Image) -> int:
        """The image's number; an image that is new is added."""
        if image.key not in self._keys:
            self._keys.append(image.key)
        return self._keys.index(image.key) + 1

    def prospective(self, images: Sequence[Image]) -> set[int]:
        """The numbers that these images have or would get if they were added in this order."""
        keys = dict.fromkeys([*self._keys, *(image.key for image in images)])
        asked = {image.key for image in images}
        return {number for number, key in enumerate(keys, 1) if key in asked}


class ConversationImages:
    """The images of a conversation by number, and those attached to its next question: `staged`."""

    def __init__(self, staged: tuple[Image, ...] = (), keys: Iterable[str] = ()) -> None:
        self.staged = staged
        self.numbers = ImageNumbers(keys)

    def stage(self, image: Image) -> bool:
        """Attach an image to the next question; returns False if it is attached already."""
        if self.is_staged(image):
            return False
        self.staged = (*self.staged, image)
        self.numbers.number(image)
        return True

    def is_staged(self, image: Image) -> bool:
        """Whether an image with the same pixels is staged."""
        return any(image.key == staged.key for staged in self.staged)

    def unstage(self, images: Iterable[Image]) -> None:
        """Remove these images from the staged ones."""
        keys = {image.key for image in images}
        self.staged = tuple(image for image in self.staged if image.key not in keys)

    def numbered(self, messages: Sequence[Message]) -> dict[int, Image]:
        """The images of the messages and the staged ones, by number in ascending order."""
        sent = (image for message in reversed(messages) for image in reversed(message.all_images))
        newest_first = (*reversed(self.staged), *sent)
        return dict(sorted({self.numbers.number(image): image for image in newest_first}.items()))

    def find(self, number: int, messages: Sequence[Message]) -> Image:
        """Image `number` of the messages or the staged ones. Raises UsageError if there is none."""
        images = self.numbered(messages)
        if number in images:
            return images[number]
        existing = describe_numbers(images)
        if 1 <= number <= len(self.numbers.keys):
            existing = f"it was dropped, or belongs to another version; {existing}"
        raise UsageError(f"No image #{number}: {existing}.", "/images lists them.")


def describe_numbers(numbers: Collection[int]) -> str:
    """The images there are, as a phrase: "there are #1 to #3 and #5"."""
    if not numbers:
        return "there is none now"
    ordered = sorted(numbers)
    ranges: list[list[int]] = []
    for number in ordered:
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1].append(number)
        else:
            ranges.append([number])
    named: list[str] = []
    for each in ranges:
        named += [f"#{each[0]} to #{each[-1]}"] if len(each) > 2 else [f"#{number}" for number in each]
    if len(named) > 4:
        named = [*named[:3], f"more up to #{ordered[-1]}"]
    text = " and ".join(filter(None, (", ".join(named[:-1]), named[-1])))
    return f"there is {text} alone" if len(ordered) == 1 else f"there are {text}"


def unknown_numbers(text: str, known: Collection[int]) -> tuple[int, ...]:
    """The numbers N of the references #N in the text that are not `known`."""
    return tuple(number for number in named_numbers(text) if number not in known)


def place_numbered(text: str, images: Mapping[int, Image], first: Sequence[Image]) -> tuple[Part, ...]:
    r"""The parts of a question: the images of `first` that the text does not name, then the text with each #N replaced.

    `#N` stays text where there is no image N; `\#N` is the text `#N`.
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
    """The numbers of the references #N in the text, in order."""
    return tuple(int(match[1]) for match in IMAGE_REF.finditer(text))
