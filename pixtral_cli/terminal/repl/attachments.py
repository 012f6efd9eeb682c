"""Loads the images that a line names, checks names while they are typed, and formats image sizes and tokens."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from pixtral_cli import images
from pixtral_cli.chat.engine import Cost, ImageCost
from pixtral_cli.errors import ImageError, UsageError
from pixtral_cli.images import folders, pages, video
from pixtral_cli.images.formats import has_picture_extension
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Box
from pixtral_cli.terminal.output.notes import count_of
from pixtral_cli.terminal.repl import input_parser

_REMOTE = re.compile(r"https?:|data:", re.IGNORECASE)
_NUMBER = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(%?)")


def missing_names(question: "input_parser.Question") -> list[str]:
    """The names after words of the question that are plain file names and do not exist: they are sent as text."""
    names: list[str] = []
    words = False
    for part in question.parts:
        if not isinstance(part, input_parser.Source):
            words |= isinstance(part, str) and bool(part.strip())
        elif (
            words
            and part.raw == part.name == part.short
            and not _REMOTE.match(part.name)
            and not folders.path_exists(part.name)
        ):
            names.append(part.name)
    return names


def unattached_notes(question: "input_parser.Question") -> list[str]:
    """Notes about the files and folders among the words of a question that would be attached after an @."""
    notes: list[str] = []
    for source in input_parser.words_that_exist(question, folders.path_exists):
        if re.search(r"\w", source.name) and (what := _effect_of_at(source.name)):
            typed = source.raw if source.raw[0] not in "'\"" else input_parser.shell_quoted(source.name)
            notes.append(f"sent as text: {source.raw} (@{typed} {what})")
    words = " ".join(part for part in question.parts if isinstance(part, str))
    behind_at = re.findall(r"(?<!\S)@(\S*\w[./]\w\S*)", words[: input_parser.MAX_SEARCHED])
    notes += [f"{name.rstrip('?!.,;:')} is not here: sent as text" for name in behind_at]
    notes += [
        f"sent as text: {pattern} (@{pattern} attaches its {count_of(len(found), 'picture')})"
        for pattern in input_parser.patterns_in(question)
        if (found := _matching(pattern)) and found != [pattern]
    ]
    return list(dict.fromkeys(notes))


def _matching(pattern: str) -> list[str]:
    """The files that a pattern means, if each is a picture by its name."""
    try:
        found = expand(pattern)
    except ImageError:
        return []
    return found if all(map(has_picture_extension, found)) else []


def _effect_of_at(name: str) -> str:
    """What @ does with a name: nothing, where it means no text, no picture and no folder of pictures."""
    try:
        if not folders.is_folder(name):
            return "sends what it holds" if is_text(name) else "attaches it" if not attach_problem(name) else ""
        return f"attaches its {count_of(len(expand(name)), 'picture')}"
    except ImageError:
        return ""


def attach_problem(name: str) -> str:
    """Why Enter cannot attach a name, as a phrase; "" if it can. Reads the first bytes of files, and fetches no URL."""
    if _REMOTE.match(name) or name.lower().startswith("file:"):
        return ""
    try:
        if expand(name) != [name]:
            return ""
    except ImageError:
        return "holds no picture"
    if not folders.path_exists(name):
        return "is not here"
    filmed = video.split_moment(name)
    found = pages.split_pages(name) or filmed
    path = Path(found[0] if found else name).expanduser()
    if filmed and not filmed[1]:
        return f"is a video: say which second, {path.name}#t=3"
    if found or is_text(name):
        return ""
    try:
        status = path.stat()
    except OSError as error:
        return error.strerror or "cannot be read"
    return _unreadable(str(path), status.st_mtime_ns, status.st_size)


def expand(name: str) -> list[str]:
    """The pictures in a folder or of a pattern, else the name itself. Raises ImageError if there are none."""
    return folders.pictures_in(name) if folders.is_folder(name) else folders.matches(name)


def describe(name: str, short: str) -> str:
    """A name for the toolbar; for a folder or a pattern with its number of pictures."""
    found = expand(name)
    return short if found == [name] else f"{count_of(len(found), 'picture')} of {short or name}"


def is_text(name: str) -> bool:
    """Whether a name is a text file: no picture by its extension or its first bytes, and without NUL bytes."""
    path = Path(name).expanduser()
    try:
        if has_picture_extension(name) or _REMOTE.match(name) or not path.is_file():
            return False
        status = path.stat()
        with path.open("rb") as file:
            start = file.read(8192)
    except (OSError, ValueError, RuntimeError):
        return False
    return b"\0" not in start and bool(_unreadable(str(path), status.st_mtime_ns, status.st_size))


@lru_cache(32)
def _unreadable(path: str, changed: int, size: int) -> str:
    """Why a file is no picture, as a phrase; "" if it has the header of one. Cached by modification time and size."""
    from pixtral_cli.images.formats import rare_format, read_header

    try:
        with Path(path).open("rb") as file:
            data = file.read(1 << 20)
        if not rare_format(data):
            read_header(data, "it")
    except OSError as error:
        return error.strerror or "cannot be read"
    except ImageError:
        return "is no picture that can be read"
    return ""


def load_images(name: str) -> list[Image]:
    """The image of a path or URL, or the pages of a document. Raises ImageError, NetworkError."""
    return images.load_all(name, typed=True)


def image_names(argument: str) -> Iterator[str]:
    """The names in a command's argument, in order: paths as in a question, folders, patterns, URLs of any kind."""
    for part in input_parser.parse_question(argument, folders.path_exists).parts:
        if isinstance(part, input_parser.Source):
            yield from expand(part.name)
        else:
            for word in (part if isinstance(part, str) else part.raw).split():
                yield from expand(input_parser.shell_unquoted(word))


def parse_box(words: list[str], size: tuple[int, int]) -> Box:
    """A crop from `x y w h`, each in pixels or in percent of the width or height. Raises UsageError."""
    numbers = [_NUMBER.fullmatch(word) for word in words]
    if len(numbers) != 4 or not all(numbers):
        raise UsageError("A crop is four numbers: x y w h", "In pixels or percent: /crop 2 25% 25% 50% 50%")
    sides = (*size, *size)
    x, y, w, h = (
        round(float(match[1]) * (side / 100 if match[2] else 1))
        for match, side in zip(numbers, sides, strict=True)
        if match
    )
    return Box(x, y, w, h)


def image_row(number: int, image: Image, cost: ImageCost | None) -> list[str]:
    """The cells of a table row for an image: number and name, its size and the size it is sent at, its tokens."""
    width, height = image.size
    sent = f" → {cost.width}×{cost.height}" if cost and (cost.width, cost.height) != image.size else ""
    crop = image.transform.crop
    part = f", part at {crop.left},{crop.top}" if crop else ""
    cells = [f"#{number} {image.name}{part}", f"{width}×{height}{sent}"]
    return cells + ([f"{cost.tokens:,} tokens"] if cost else [])


def context_left_text(cost: Cost) -> str:
    """The tokens left in the context window, or by how many it is exceeded."""
    if cost.tokens_left < 0:
        return (
            f"{-cost.tokens_left:,} tokens too many for the context window of {cost.context_window:,}: /drop an image"
        )
    return f"{cost.tokens_left:,} of {cost.context_window:,} tokens left"
