"""Checked images from the names in a line, and their sizes, tokens and the context left as text."""

import glob
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


def path_exists(name: str) -> bool:
    """Whether a name as typed is a path that exists (`~` expanded, a PDF's pages set aside)."""
    split = pages.split_pages(name) or video.split_moment(name)
    try:
        return any(Path(path).expanduser().exists() for path in {name, split[0] if split else name})
    except (OSError, ValueError, RuntimeError):  # too long, holds a NUL, ~unknown: no path
        return False


def absent_names(question: "input_parser.Question") -> list[str]:
    """Plain file names behind words that are not here: a question may speak of a file without attaching one."""
    names: list[str] = []
    words = False
    for part in question.parts:
        if not isinstance(part, input_parser.Source):
            words |= isinstance(part, str) and bool(part.strip())
        elif (
            words
            and part.raw == part.name == part.short
            and not _REMOTE.match(part.name)
            and not path_exists(part.name)
        ):
            names.append(part.name)
    return names


def unattached_notes(question: "input_parser.Question") -> list[str]:
    """Notes about files and folders that a sentence names and that would be attached behind an @."""
    notes: list[str] = []
    for source in input_parser.words_that_exist(question, path_exists):
        if re.search(r"\w", source.name) and (what := _behind_at(source.name)):
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
        found = expanded(pattern)
    except ImageError:
        return []
    return found if all(map(has_picture_extension, found)) else []


def _behind_at(name: str) -> str:
    """What @ does with a name: nothing, where it means no text, no picture and no folder of pictures."""
    try:
        if not folders.is_folder(name):
            return "sends what it holds" if is_text(name) else "attaches it" if not attachable(name) else ""
        return f"attaches its {count_of(len(expanded(name)), 'picture')}"
    except ImageError:
        return ""


def attachable(name: str) -> str:
    """Why Enter will not attach what a name means; nothing where it will. Reads the file's first bytes, asks no network."""
    if _REMOTE.match(name) or name.lower().startswith("file:"):
        return ""
    try:
        if expanded(name) != [name]:
            return ""
    except ImageError:
        return "holds no picture"
    if not path_exists(name):
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


def expanded(name: str) -> list[str]:
    """The pictures that a name means: those of a folder or a pattern, else itself. Raises ImageError where there is none."""
    return folders.pictures_in(name) if folders.is_folder(name) else _expand_pattern(name)


def described(name: str, short: str) -> str:
    """A name as the toolbar tells it: of a folder or a pattern, how many pictures."""
    found = expanded(name)
    return short if found == [name] else f"{count_of(len(found), 'picture')} of {short or name}"


def is_text(name: str) -> bool:
    """Whether a name is a file that goes as text: no picture by its name or its first bytes, and no other bytes in it."""
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
    """Why a file is no picture; nothing if its header is one's. Cached for as long as the file does not change."""
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
    """The image that a path or URL means, or the pages of a document. Raises ImageError, NetworkError."""
    return images.load_all(name, typed=True)


def image_names(argument: str) -> Iterator[str]:
    """The names in a command's argument, in order: paths as in a question, folders, patterns, URLs of any kind."""
    for part in input_parser.parse_question(argument, path_exists).parts:
        if isinstance(part, input_parser.Source):
            yield from expanded(part.name)
        else:
            for word in (part if isinstance(part, str) else part.raw).split():
                yield from expanded(input_parser.shell_unquoted(word))


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
    """One image in words: its number and name, its size and the size it is sent at, its tokens."""
    width, height = image.size
    sent = f" → {cost.width}×{cost.height}" if cost and (cost.width, cost.height) != image.size else ""
    crop = image.transform.crop
    part = f", part at {crop.left},{crop.top}" if crop else ""
    cells = [f"#{number} {image.name}{part}", f"{width}×{height}{sent}"]
    return cells + ([f"{cost.tokens:,} tokens"] if cost else [])


def context_left(cost: Cost) -> str:
    """The context that is left, or by how much it is overdrawn."""
    if cost.left < 0:
        return f"{-cost.left:,} tokens too many for the context window of {cost.context_window:,}: /drop an image"
    return f"{cost.left:,} of {cost.context_window:,} tokens left"


def _expand_pattern(word: str) -> list[str]:
    """The files that a pattern means, or the word itself."""
    if path_exists(word) or _REMOTE.match(word) or not re.search(r"[*?\[]", word):
        return [word]
    found = sorted(glob.glob(str(Path(word).expanduser()), recursive=True), key=folders.natural_order)  # noqa: PTH207
    files = [name for name in found if Path(name).is_file()]
    if not files:
        raise ImageError(f"No file matches {word}", "Paths start here: " + str(Path.cwd()))
    return files
