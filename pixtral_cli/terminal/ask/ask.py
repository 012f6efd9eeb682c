"""One question, one answer: what `pixtral ask` does. Is handed values, an engine to open and an output; knows no flags."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from pixtral_cli import images
from pixtral_cli.chat import codeblocks
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Cost, Engine, Sampling
from pixtral_cli.chat.image_refs import place_images
from pixtral_cli.chat.message import Message, Part
from pixtral_cli.errors import ImageError, NetworkError, PixtralError, UsageError
from pixtral_cli.images.formats import has_picture_extension
from pixtral_cli.images.image import Image
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.structured.schema import with_schema_prompt
from pixtral_cli.terminal.ask import output_file
from pixtral_cli.terminal.ask import stdin as piped
from pixtral_cli.terminal.ask import watch as watching
from pixtral_cli.terminal.output.output import dumps, window_size
from pixtral_cli.terminal.output.render import Answer, Output, as_json, collect, render, show, statistics
from pixtral_cli.terminal.output.structured import Layout, describe_schema, structured_text
from pixtral_cli.terminal.output.word_wrap import WordWrap
from pixtral_cli.util.sanitize import clean, deception_warnings, visible

STDIN = "-"


@dataclass(frozen=True)
class Request:
    """What is asked. `sources` are paths, URLs or `-`; `extract` a language, when the code block alone is wanted."""

    question: str = ""
    sources: Sequence[str] = ()
    sampling: Sampling = field(default_factory=Sampling)
    read_stdin: bool = True
    piped: str | None = None  # what stdin held, when it has been read already
    extract: str = ""
    layout: Layout = ""  # of an answer under a schema
    file: Path | None = None
    verbose: bool = False
    offline: bool = False


@dataclass(frozen=True)
class ConversationChoice:
    """Which conversation the question belongs to (`resume`: an id, "" the newest, None a new one), and if it is saved."""

    resume: str | None = None
    log: bool = True
    system: str | None = None
    model: str = ""


def build_message(request: Request, out: Output, stdin: TextIO | None) -> Message:
    """The question with its images and what is piped in. Everything about it is checked before an engine is opened."""
    if request.file:
        output_file.check_writable(request.file)
    if request.sources.count(STDIN) > 1:
        raise UsageError("Only one image can come on stdin", "Name --image - once")
    found = [_load_image(source, request.offline, stdin) for source in request.sources]
    parts = place_images(request.question, found)
    text = read_piped(request, out, stdin).piped or ""
    if not request.question.strip() and not text:
        raise UsageError("There is no question", 'For example: pixtral ask "What is this?" --image photo.jpg')
    for image in found:
        for said in image.notes:
            out.note(f"{image.name}: {said}")
    if not found and _names_a_picture(request.question):
        out.note(f"{visible(request.question, 60)} is sent as text. To send the picture: --image")
    return Message("user", _with_piped(parts, text))


def _names_a_picture(question: str) -> bool:
    """Whether the whole question is the path of an image, which is text all the same."""
    name = question.strip()
    return len(name) < 255 and has_picture_extension(name) and Path(name).is_file()


def read_piped(request: Request, out: Output, stdin: TextIO | None) -> Request:
    """The request with the text of stdin in it, which can be read only once."""
    if request.piped is not None:
        return request
    wanted = request.read_stdin and STDIN not in request.sources
    return replace(request, piped=piped.read_text(stdin, out.note) if wanted else "")


@contextlib.contextmanager
def open_conversation(sessions: Sessions, kept: ConversationChoice, out: Output) -> Iterator[Conversation]:
    """The conversation that the question belongs to, saved as it happens if it is to be kept."""
    if not kept.log:
        yield _detached_conversation(sessions, kept)
        return
    if kept.resume is None:
        session = sessions.start(model=kept.model, system=kept.system)
    else:
        session = sessions.resume(kept.resume or None, model=kept.model)
    with session:
        conversation = session.conversation()
        if kept.system and kept.system != conversation.system:
            conversation.system = kept.system
        try:
            yield conversation
        finally:
            for line in session.take_notes():
                out.note(line)


def _detached_conversation(sessions: Sessions, kept: ConversationChoice) -> Conversation:
    if kept.resume is None:
        return Conversation(kept.system)
    saved = sessions.load((sessions.find(kept.resume) if kept.resume else sessions.newest()).id)
    return Conversation(kept.system or saved.summary.system, snapshot=saved.snapshot)


def answer(request: Request, asked: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Ask, show or write the answer, and say on stderr what there is to say about it."""
    chunks = conversation.ask(engine, asked.parts, sampling=request.sampling)
    structured = request.sampling.schema is not None
    held = request.extract or request.file or structured
    given = collect(chunks, out) if held else render(chunks, out)
    if not structured:  # under a schema, what is wrong with it is an error
        _note_cut_or_empty(given, out)
    if held:
        _write_result(given, request, out)
    if request.verbose:
        window = engine.measure([asked]).context_window
        out.tell(statistics(given, window))


def _note_cut_or_empty(given: Answer, out: Output) -> None:
    if given.finish_reason == "length":
        out.note("The answer was cut off: --max-tokens or the context window was reached")
    elif not given.text.strip():
        out.note("The model had nothing to say: its answer is empty")


def watch(request: Request, asked: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Answer, and answer anew whenever a picture changes, each time as if for the first time. Ends with Ctrl-C.

    A picture that cannot be read, or an answer that fails, is reported and waited out.
    """
    changes = watching.changes(watching.watched_files(request.sources))
    while True:
        try:
            answer(request, asked, Conversation(conversation.system, snapshot=conversation.snapshot()), engine, out)
        except PixtralError as error:
            out.tell(f"{visible(error.message)}. Waiting for the picture to change")
        asked = _changed_message(request, changes, out)


def _changed_message(request: Request, changes: Iterator[None], out: Output) -> Message:
    """The question with its pictures as they are after their next change that leaves them readable."""
    while True:
        next(changes)
        try:
            return build_message(request, out, None)
        except PixtralError as error:
            out.tell(f"{visible(error.message)}. Waiting for the picture to change")


def dry_run(request: Request, asked: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Print what would be sent and what it costs. Raises ContextError when it does not fit."""
    schema = request.sampling.schema
    messages = conversation.messages_with(asked)
    cost = engine.measure(with_schema_prompt(messages, schema))
    cost.check_fits(request.sampling.max_tokens)
    sent = [image for said in messages for image in said.images]
    if out.format == "text":
        out.write("".join(f"{clean(line)}\n" for line in _plan_lines(asked, sent, cost, out.model, schema)))
    else:
        out.write(dumps(_plan_json(asked, sent, cost, out.model, schema), out.stdout.encoding) + "\n")


def _load_image(source: str, offline: bool, stdin: TextIO | None) -> Image:
    if source == STDIN:
        if stdin is not None and stdin.isatty():
            raise ImageError("--image - reads stdin, and stdin is a terminal", "Pipe a picture into it, or name a file")
        return images.from_stdin(stdin.buffer if stdin is not None else io.BytesIO())
    if offline and source.lower().startswith(("http:", "https:")):
        raise NetworkError(
            f"{visible(source, 60)}: the network is off (--offline)", "Download the picture, or leave --offline out"
        )
    return images.load(source, typed=True)


def _with_piped(parts: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    """The question, a blank line, then what was piped in; each alone where the other is missing."""
    if not text:
        return parts
    *before, last = parts
    if isinstance(last, str):
        return (*before, f"{last}\n\n{text}" if last.strip() else text)
    return (*parts, text)


def _write_result(given: Answer, request: Request, out: Output) -> None:
    """The code block or the whole answer, to the file or stdout. What cannot be delivered is not lost."""
    try:
        text = _result_text(given, request, out)
    except PixtralError:
        if given.text:
            out.tell(clean(given.text))
        raise
    if request.file is None:
        out.write(_wrapped(clean(text), request, out))
        return
    try:
        output_file.write(request.file, text)
    except PixtralError:
        show(given, out)
        raise
    out.note(f"Wrote {request.file} ({len(text.encode(errors='replace')):,} bytes)")


def _wrapped(text: str, request: Request, out: Output) -> str:
    """JSON that is shown to a person, broken between words."""
    if request.sampling.schema is None or request.layout or not out.stdout.isatty():
        return text
    wrap = WordWrap(window_size(out.stdout).columns)
    return wrap.feed(text) + wrap.close()


def _result_text(given: Answer, request: Request, out: Output) -> str:
    if request.sampling.schema is not None:
        return structured_text(given, request.sampling, request.layout, out, file=request.file is not None)
    if not request.extract:
        text = given.text if out.format == "text" else dumps(as_json(given, out.model))
        tricks = deception_warnings(text)
    else:
        block = codeblocks.pick(given.text, request.extract)
        text, tricks = block.text, deception_warnings(block.text)
        if not block.closed:
            out.note("The code block has no end: the answer stopped within it")
    for trick in tricks:
        out.note(f"Warning: {trick}")
    return text if text.endswith("\n") else f"{text}\n"


def _plan_lines(
    asked: Message, sent: Sequence[Image], cost: Cost, model: str, schema: dict[str, Any] | None
) -> list[str]:
    lines = [f"model    {model}"]
    for number, (image, price) in enumerate(zip(sent, cost.images, strict=True), 1):
        width, height = image.size
        size = f"{width}×{height}" + (
            f" → {price.width}×{price.height}" if (price.width, price.height) != image.size else ""
        )
        lines.append(f"image {number}  {image.name}  {size}  {price.tokens:,} tokens")
    count = len(asked.text)
    lines.append(f"text     {count:,} character{'' if count == 1 else 's'}")
    if schema is not None:
        lines.append(f"schema   {describe_schema(schema)}")
    lines.append(f"prompt   {cost.prompt_tokens:,} tokens, {cost.image_tokens:,} of them images")
    lines.append(f"context  {cost.left:,} of {cost.context_window:,} tokens left for the answer")
    return lines


def _plan_json(
    asked: Message, sent: Sequence[Image], cost: Cost, model: str, schema: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "model": model,
        "text": asked.text,
        "images": [
            {
                "name": image.name,
                "width": image.size[0],
                "height": image.size[1],
                "sent_width": price.width,
                "sent_height": price.height,
                "tokens": price.tokens,
            }
            for image, price in zip(sent, cost.images, strict=True)
        ],
        "prompt_tokens": cost.prompt_tokens,
        "image_tokens": cost.image_tokens,
        "context_window": cost.context_window,
        "context_left": cost.left,
        **({} if schema is None else {"schema": schema}),
    }
