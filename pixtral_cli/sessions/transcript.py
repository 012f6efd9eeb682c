"""Exports a conversation as Markdown, HTML, JSON or JSONL, and imports JSON and JSONL."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

from pixtral_cli.api import messages as wire
from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.message import Message, Part, system
from pixtral_cli.chat.tree import Snapshot
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import UNCHANGED, Transform
from pixtral_cli.models import names
from pixtral_cli.sessions import harmless
from pixtral_cli.sessions.labels import clean_tag
from pixtral_cli.util import atomic
from pixtral_cli.util.sanitize import clean, visible

UNTITLED = "A conversation"


class Format(StrEnum):
    """The formats of a transcript; each value is also the file name extension."""

    md = "md"
    html = "html"
    json = "json"
    jsonl = "jsonl"


@dataclass(frozen=True, slots=True)
class Transcript:
    """One branch of a conversation, with title and model; `created` in seconds since 1970.

    `branch`: see `Snapshot.branch`. `image_keys`: see `Snapshot`. `thinking`: the reasoning before answers is written too.
    """

    messages: tuple[Message, ...]
    system: str | None = None
    title: str = ""
    model: str = ""
    id: str = ""
    created: float | None = None
    branch: tuple[int, int] = (1, 1)
    image_keys: tuple[str, ...] = ()
    thinking: bool = False
    tags: tuple[str, ...] = ()

    @property
    def shown_messages(self) -> tuple[Message, ...]:
        """The messages to write: without reasoning unless `thinking`."""
        return self.messages if self.thinking else tuple(replace(message, reasoning="") for message in self.messages)

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each image in the conversation, by its key."""
        snapshot = replace(Snapshot.linear(self.messages), image_keys=self.image_keys)
        return {image.key: number for number, image in Conversation(snapshot=snapshot).numbered.items()}

    @property
    def summary_line(self) -> str:
        """Model, time, session and branch on one line."""
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(self.created)) if self.created is not None else ""
        number, count = self.branch
        branch = f"branch {number} of {count}" if count > 1 else ""
        return " · ".join(filter(None, (self.model, when, self.id and f"session {self.id}", branch)))


def format_of(path: Path) -> Format:
    """The format for a file name's extension. Raises UsageError for an unknown extension."""
    ending = path.suffix.lower().removeprefix(".")
    ending = {"markdown": "md", "htm": "html"}.get(ending, ending)
    if ending not in list(Format):
        raise UsageError(f"{path.name}: which format?", f"End the name with one of .{', .'.join(Format)}")
    return Format(ending)


def render(transcript: Transcript, form: Format) -> str:
    """The transcript as one text, with images as data URLs."""
    if form is Format.md:
        return markdown(transcript, lambda number, image: wire.data_url(image))
    if form is Format.html:
        from pixtral_cli.sessions import transcript_html

        return transcript_html.html(
            transcript.shown_messages, transcript.numbers, system=transcript.system, title=transcript.title or UNTITLED,
            summary_line=transcript.summary_line, model=transcript.model,
        )  # fmt: skip
    return _json(transcript) if form is Format.json else _jsonl(transcript)


def write(transcript: Transcript, path: Path, form: Format | None = None) -> None:
    """Write the file atomically, replacing an existing one. The images of Markdown go to the folder `NAME.images` beside it.

    Raises PixtralError when it cannot be written.
    """
    form = form or format_of(path)
    try:
        if form is Format.md:
            text = markdown(transcript, lambda number, image: _write_image(path, number, image))
        else:
            text = render(transcript, form)
        atomic.write(path, text)
    except OSError as error:
        raise PixtralError(f"Cannot write {path}: {error.strerror or error}.", "Choose another place") from error


# Markdown


Address: TypeAlias = Callable[[int, Image], str]


def markdown(transcript: Transcript, address: Address | None) -> str:
    """The transcript as Markdown with the images at the URLs `address(number, image)`; without `address` they are named only.

    With `address` the Markdown is for a file, and its text is escaped by `harmless`.
    """
    escape = harmless.markdown if address else str
    numbers = transcript.numbers
    title, line, model = (
        escape(visible(text)) for text in (transcript.title or UNTITLED, transcript.summary_line, transcript.model)
    )
    pieces = [f"# {title}", f"*{line}*" if line else ""]
    if transcript.system:
        pieces.append("\n".join(f"> {line}" for line in escape(transcript.system).splitlines()))
    for message in transcript.shown_messages:
        pieces.append(f"## {'You' if message.role == 'user' else model or 'Answer'}")
        if message.reasoning:
            thought = escape(message.reasoning.strip()).splitlines()
            pieces.append("\n".join(f"> {line}".rstrip() for line in ["*Thinking*", "", *thought]))
        for part in tool_rounds.split(message):
            pieces += _message_in_markdown(part, numbers, address)
    return "\n\n".join(filter(None, pieces)) + "\n"


def _message_in_markdown(message: Message, numbers: Mapping[str, int], address: Address | None) -> list[str]:
    """What was said, or a call's result, and the calls that follow."""
    if message.role == "tool":
        shown = [_in_markdown(image, numbers, address).strip() for image in message.images]
        return [f"*Result of {_word(message.name)}*", _fenced(message.text), *shown]
    said = "".join(_in_markdown(part, numbers, address) for part in message.parts).strip()
    calls = [f"*Tool call*\n\n{_fenced(f'{call.name}({call.arguments})')}" for call in message.tool_calls]
    return [said, *calls, "*(interrupted)*" if message.interrupted else ""]


def _fenced(text: str) -> str:
    """Any text as a code block, in which nothing acts."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}\n{clean(text)}\n{fence}"


def _word(name: str) -> str:
    """A tool's name, of which Markdown makes nothing else."""
    return re.sub(r"[^A-Za-z0-9-]", lambda found: f"\\{found[0]}", visible(name, 80))


def _in_markdown(part: Part, numbers: Mapping[str, int], address: Address | None) -> str:
    if isinstance(part, str):
        return harmless.markdown(part) if address else part
    number = numbers[part.key]
    name = re.sub(r"[\[\]\\\n<>]", " ", visible(part.name))
    if not address:
        width, height = part.size
        return f"*image {number}: {name}, {width}×{height}*\n\n"
    return f"\n\n![image {number}: {name}](<{address(number, part)}>)\n\n"


def _write_image(path: Path, number: int, image: Image) -> str:
    """Write an image into the folder of the Markdown file's images; returns its relative URL."""
    media, data = wire.encode_image(image)
    folder = path.with_suffix(".images")
    folder.mkdir(exist_ok=True)
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(image.name).stem).strip("-")[:40]
    file = folder / f"{number}-{stem or 'image'}.{media.partition('/')[2]}"
    atomic.write(file, data)
    return f"{folder.name}/{file.name}"


# JSON


def iso_time(when: float) -> str:
    """A time in seconds since 1970 in ISO 8601, UTC."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _json(transcript: Transcript) -> str:
    created = None if transcript.created is None else iso_time(transcript.created)
    header: dict[str, Any] = {
        "id": transcript.id,
        "title": transcript.title,
        "model": transcript.model,
        "created": created,
    }
    if transcript.tags:
        header["tags"] = list(transcript.tags)
    if transcript.branch[1] > 1:
        header |= {"branch": transcript.branch[0], "branches": transcript.branch[1]}
    document = {**header, "messages": list(_lines(transcript))}
    return harmless.json_text(json.dumps(document, ensure_ascii=False, indent=2)) + "\n"


def _jsonl(transcript: Transcript) -> str:
    return "".join(harmless.json_text(json.dumps(line, ensure_ascii=False)) + "\n" for line in _lines(transcript))


def _lines(transcript: Transcript) -> Iterator[dict[str, Any]]:
    """The messages as JSON objects, the system prompt first, tool calls and results apart."""
    parts = [part for message in transcript.shown_messages for part in tool_rounds.split(message)]
    messages = (*(() if transcript.system is None else (system(transcript.system),)), *parts)
    for message, line in zip(messages, wire.to_wire(messages, _image_fields), strict=True):
        yield {**line, "interrupted": True} if message.interrupted else line


def _image_fields(image: Image) -> dict[str, Any]:
    """The `image_url` object of an image: its name, the original picture, and its crop and rotation as fields."""
    if image.format not in wire.MEDIA_TYPES:
        return {"url": wire.data_url(image), "name": image.name}
    document = replace(image, transform=UNCHANGED)
    return {"url": wire.data_url(document), "name": image.name, **image.transform.to_json()}


def read(path: Path) -> tuple[Transcript, list[str]]:
    """The transcript in a JSON or JSONL file, and notes for the user.

    The JSON is as `render` writes it, or any object with `messages`, or an array of messages. An incomplete last line
    of JSONL is left out. Raises UsageError for an invalid file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}.", "Name a file that can be read") from error
    return parse(data, path.name)


def parse(data: bytes, name: str) -> tuple[Transcript, list[str]]:
    """The transcript in the content of a file of that name; see `read`."""
    try:
        value, notes = _parsed(data)
        header: dict[str, Any] = value if isinstance(value, dict) and "messages" in value else {}
        items = header.get("messages", value if isinstance(value, list) else [value])
        conversation = Conversation(messages=wire.joined(wire.messages(items, load=_load_image)))
    except wire.FieldError as error:
        raise UsageError(f"{name}: {error.message}", "Repair the file, or export it again") from error
    title, model = (text if isinstance(text := header.get(key), str) else "" for key in ("title", "model"))
    if model and not names.is_public(model):  # resuming the session would load it
        notes = [*notes, f"Its model {visible(model, 60)!r} is left out: it may be a path of another machine"]
        model = ""
    return Transcript(conversation.history, conversation.system, title, model, tags=_tags(header.get("tags"))), notes


def _tags(value: Any) -> tuple[str, ...]:
    """The tags of an exported conversation, without what is none."""
    tags: list[str] = []
    for each in value if isinstance(value, list) else ():
        with contextlib.suppress(UsageError):
            tags.append(clean_tag(str(each)))
    return tuple(dict.fromkeys(tags))


def _parsed(data: bytes) -> tuple[Any, list[str]]:
    """One JSON document, or one a line; the last line may be incomplete. Raises FieldError."""
    try:
        return wire.parse(data), []
    except wire.FieldError as document:
        return _read_lines(data, document)


def _read_lines(data: bytes, document: wire.FieldError) -> tuple[list[Any], list[str]]:
    lines = [line for line in data.splitlines() if line.strip()]
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(wire.parse(line))
        except wire.FieldError as error:
            if number == len(lines) > 1:
                return values, [f"Line {number} is cut off and left out: {error.message}"]
            raise document if number == 1 else wire.FieldError(f"Line {number}", error.message) from None
    return values, []


def _load_image(url: str, field: str, image_fields: Mapping[str, Any]) -> Image:
    image = wire.loader()(url, field, image_fields)
    if name := image_fields.get("name"):
        image = replace(image, name=visible(wire.expect(name, str, f"{field}.name"), 200))
    try:
        transform = Transform.from_json(image_fields)
    except ValueError as error:
        raise wire.FieldError(field, str(error)) from None
    image = image.rotated(transform.rotate)
    return image.cropped(transform.crop) if transform.crop else image
