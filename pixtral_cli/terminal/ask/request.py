"""Builds the message that `pixtral ask` sends: the question, images, text files and piped text."""

import io
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

from pixtral_cli import images
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.image_refs import place_images
from pixtral_cli.chat.message import Message, Part
from pixtral_cli.chat.text_files import fenced_file
from pixtral_cli.chat.toolbox.engine import RunnableTool
from pixtral_cli.errors import ImageError, NetworkError, UsageError
from pixtral_cli.images import folders
from pixtral_cli.images.formats import has_picture_extension
from pixtral_cli.images.image import Image
from pixtral_cli.terminal.ask import output_file
from pixtral_cli.terminal.ask import stdin as piped
from pixtral_cli.terminal.output.output import confirm
from pixtral_cli.terminal.output.render import (
    Output,
)
from pixtral_cli.terminal.output.structured import Layout
from pixtral_cli.util.inputs import refuse_overwriting_inputs
from pixtral_cli.util.sanitize import visible

STDIN = "-"


@dataclass(frozen=True)
class Request:
    """A question and its options. `sources` are paths, URLs or `-` (stdin); `extract` is the language of a code block."""

    question: str = ""
    sources: Sequence[str] = ()
    sampling: Sampling = field(default_factory=Sampling)
    read_stdin: bool = True
    piped: str | None = None  # the text of stdin; None: not read yet
    extract: str = ""
    layout: Layout = ""  # of an answer with a schema
    file: Path | None = None  # the output file
    inputs: Sequence[str] = ()  # further input files, none of which `file` may be
    verbose: bool = False
    offline: bool = False
    files: Sequence[str] = ()  # text files to send
    tools: Sequence[RunnableTool] = ()  # tools that the model may call
    yes_tools: bool = False  # calls are run without asking


def expand_folders(request: Request, out: Output) -> Request:
    """The request with each folder and pattern replaced by its pictures. Asks before attaching many.

    Raises UsageError, ImageError.
    """
    sources: list[str] = []
    for source in request.sources:
        pictures = folders.pictures_in(source) if folders.is_folder(source) else folders.matches(source)
        if len(pictures) > folders.CONFIRM_ABOVE:
            where = visible(source, 60)
            hint = f"Name those that matter: --image {visible(pictures[0], 60)}; pixtral batch asks about each"
            if not confirm(f"Attach all {len(pictures)} pictures of {where}?", out, hint):
                raise UsageError("Nothing was asked", hint)
        sources += pictures
    return replace(request, sources=sources)


def build_message(request: Request, out: Output, stdin: TextIO | None) -> Message:
    """The question with its images, text files and piped text. Raises PixtralError for anything that cannot be sent."""
    if request.file:
        output_file.check_writable(request.file)
        refuse_overwriting_inputs(
            request.file, [*request.sources, *request.files, *request.inputs, *_descriptors(stdin)]
        )
    if request.sources.count(STDIN) > 1:
        raise UsageError("Only one image can come on stdin", "Name --image - once")
    only_words = request.question.strip()
    if request.sources and has_picture_extension(only_words) and not re.search(r"\s", only_words):
        raise UsageError(
            f"{visible(only_words, 60)} is given in place of the question", "Repeat --image for each picture"
        )
    images = _load_each(request, out, stdin)
    parts = place_images(request.question, images)
    texts = [fenced_file(file) for file in request.files]
    text = "\n\n".join(each for each in (*texts, read_piped(request, out, stdin).piped) if each)
    if not request.question.strip() and not text:
        raise UsageError("There is no question", 'For example: pixtral ask "What is this?" --image photo.jpg')
    for image in images:
        for note in image.notes:
            name = image.name.removesuffix("#1") if note.startswith("all ") else image.name
            out.note(f"{name}: {note}")
    for name in _picture_names(request.question) if not images else ():
        out.note(f"{visible(name, 60)} is sent as text. To send the picture: --image {visible(shlex.quote(name))}")
    return Message("user", _append_text(parts, text))


def _load_each(request: Request, out: Output, stdin: TextIO | None) -> list[Image]:
    """The images of all sources. Raises ImageError, NetworkError; of several that fail each is told before."""
    found: list[Image] = []
    wrong: list[ImageError | NetworkError] = []
    for source in request.sources:
        try:
            found += _load_images(source, request.offline, stdin)
        except (ImageError, NetworkError) as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    for each in wrong:
        out.tell(visible(f"{each.message}. {each.hint}" if each.hint else each.message))
    if wrong:
        raise type(wrong[0])(f"{len(wrong)} of {len(request.sources)} pictures cannot be read", "Nothing was asked")
    return found


def _descriptors(stream: TextIO | None) -> list[int]:
    """The file descriptor of a stream, if it has one."""
    try:
        return [stream.fileno()] if stream is not None else []
    except (OSError, ValueError):
        return []


def _picture_names(question: str) -> list[str]:
    """At most three paths of existing pictures among the words of the question, which are sent as text."""
    words = [question.strip(), *(word.strip("\"'`()[]{}<>,;:?!").removesuffix(".") for word in question.split())]
    names = dict.fromkeys(word for word in words if 0 < len(word) < 255 and has_picture_extension(word))
    return [word for word in names if Path(word).expanduser().is_file()][:3]


def read_piped(request: Request, out: Output, stdin: TextIO | None) -> Request:
    """The request with the text of stdin, which is read unless it has been read already."""
    if request.piped is not None:
        return request
    reads_stdin = request.read_stdin and STDIN not in request.sources
    text = piped.read_text(stdin, out.note) if reads_stdin else ""
    if text and request.question.strip() and out.stderr.isatty():  # a loop over lines would lose the others here
        count = text.count("\n") + 1
        out.note(f"With the question goes stdin: {count:,} line{'s' * (count > 1)}; --no-stdin leaves it unread")
    return replace(request, piped=text)


def _load_images(source: str, offline: bool, stdin: TextIO | None) -> list[Image]:
    """The image of a source, or the pages of a document. Raises ImageError, NetworkError."""
    if source == STDIN:
        if stdin is not None and stdin.isatty():
            raise ImageError("--image - reads stdin, and stdin is a terminal", "Pipe a picture into it, or name a file")
        return [images.from_stdin(stdin.buffer if stdin is not None else io.BytesIO())]
    if offline and source.lower().startswith(("http:", "https:")):
        raise NetworkError(
            f"{visible(source, 60)}: the network is off (--offline)", "Download the picture, or leave --offline out"
        )
    if _is_pipe(source):  # a shell's process substitution
        with Path(source).open("rb") as pipe:
            return [images.from_stdin(pipe)]
    return images.load_all(source, typed=True)


def _is_pipe(source: str) -> bool:
    return source.startswith(("/dev/fd/", "/proc/self/fd/")) and Path(source).is_fifo()


def _append_text(parts: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    """The parts of the question followed by a blank line and the text; without the blank line if one is empty."""
    if not text:
        return parts
    *before, last = parts
    if isinstance(last, str):
        return (*before, f"{last}\n\n{text}" if last.strip() else text)
    return (*parts, text)
