"""One question, one answer: the work of `pixtral ask`."""

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

from pixtral_cli import images
from pixtral_cli.chat import codeblocks
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Cost, Engine, Sampling
from pixtral_cli.chat.image_refs import place_images
from pixtral_cli.chat.message import Message, Part
from pixtral_cli.chat.text_files import fenced_file
from pixtral_cli.chat.toolbox.engine import RunnableTool
from pixtral_cli.errors import ImageError, NetworkError, PixtralError, UsageError
from pixtral_cli.images import folders
from pixtral_cli.images.formats import has_picture_extension
from pixtral_cli.images.image import Image
from pixtral_cli.sessions.answer_settings import AnswerSettings
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.structured.schema import with_schema_prompt
from pixtral_cli.terminal.ask import output_file
from pixtral_cli.terminal.ask import stdin as piped
from pixtral_cli.terminal.ask import watch as watching
from pixtral_cli.terminal.ask.tool_calls import in_rounds, with_tools
from pixtral_cli.terminal.output.notes import many_images_note
from pixtral_cli.terminal.output.output import confirm, dumps, window_size
from pixtral_cli.terminal.output.render import (
    Answer,
    Output,
    answer_of,
    as_json,
    collect_chunks,
    jsonl_pieces,
    render,
    show,
    statistics,
)
from pixtral_cli.terminal.output.structured import Layout, describe_schema, structured_text
from pixtral_cli.terminal.output.thinking import marked
from pixtral_cli.terminal.output.word_wrap import WordWrap
from pixtral_cli.util.inputs import refuse_overwriting_inputs
from pixtral_cli.util.sanitize import clean, deception_warnings, visible

STDIN = "-"


@dataclass(frozen=True)
class Request:
    """The question and how it is asked. `sources` are paths, URLs or `-`; `extract` the language of a code block."""

    question: str = ""
    sources: Sequence[str] = ()
    sampling: Sampling = field(default_factory=Sampling)
    read_stdin: bool = True
    piped: str | None = None  # the text of stdin, when it has been read already
    extract: str = ""
    layout: Layout = ""  # of an answer under a schema
    file: Path | None = None
    inputs: Sequence[str] = ()  # other files that are read, which `file` must not be
    verbose: bool = False
    offline: bool = False
    files: Sequence[str] = ()  # of text
    tools: Sequence[RunnableTool] = ()  # that the model may call
    yes_tools: bool = False  # without asking about each call


@dataclass(frozen=True)
class ConversationChoice:
    """Which conversation the question belongs to (`resume`: an id, "" the newest, None a new one), and if it is saved."""

    resume: str | None = None
    log: bool = True
    system: str | None = None
    model: str = ""
    settings: AnswerSettings = field(default_factory=AnswerSettings)


def expand_folders(request: Request, out: Output) -> Request:
    """The request with each folder's pictures in its place. Asks before it takes more than eight; raises UsageError, ImageError."""
    sources: list[str] = []
    for source in request.sources:
        found = folders.pictures_in(source) if folders.is_folder(source) else [source]
        if len(found) > folders.MANY:
            where = visible(source, 60)
            hint = f"Name those that matter: --image {visible(found[0], 60)}; pixtral batch asks about each"
            if not confirm(f"Attach all {len(found)} pictures of {where}?", out, hint):
                raise UsageError("Nothing was asked", hint)
        sources += found
    return replace(request, sources=sources)


def build_message(request: Request, out: Output, stdin: TextIO | None) -> Message:
    """The question with its images and what is piped in. Everything about it is checked before an engine is opened."""
    if request.file:
        output_file.check_writable(request.file)
        refuse_overwriting_inputs(
            request.file, [*request.sources, *request.files, *request.inputs, *_descriptor(stdin)]
        )
    if request.sources.count(STDIN) > 1:
        raise UsageError("Only one image can come on stdin", "Name --image - once")
    alone = request.question.strip()
    if request.sources and has_picture_extension(alone) and not re.search(r"\s", alone):
        raise UsageError(f"{visible(alone, 60)} is given in place of the question", "Repeat --image for each picture")
    images = [image for source in request.sources for image in _load_images(source, request.offline, stdin)]
    parts = place_images(request.question, images)
    texts = [fenced_file(file) for file in request.files]
    text = "\n\n".join(each for each in (*texts, read_piped(request, out, stdin).piped) if each)
    if not request.question.strip() and not text:
        raise UsageError("There is no question", 'For example: pixtral ask "What is this?" --image photo.jpg')
    for image in images:
        for note in image.notes:
            out.note(f"{image.name}: {note}")
    for name in _picture_names(request.question) if not images else ():
        out.note(f"{visible(name, 60)} is sent as text. To send the picture: --image")
    return Message("user", _with_piped(parts, text))


def _descriptor(stream: TextIO | None) -> list[int]:
    """The file descriptor of stdin, where it has one."""
    try:
        return [stream.fileno()] if stream is not None else []
    except (OSError, ValueError):
        return []


def _picture_names(question: str) -> list[str]:
    """The paths of pictures that the question names, which are text all the same."""
    words = [question.strip(), *(word.strip("\"'`()[]{}<>,;:?!").removesuffix(".") for word in question.split())]
    names = dict.fromkeys(word for word in words if 0 < len(word) < 255 and has_picture_extension(word))
    return [word for word in names if Path(word).expanduser().is_file()][:3]


def read_piped(request: Request, out: Output, stdin: TextIO | None) -> Request:
    """The request with the text of stdin in it, which can be read only once."""
    if request.piped is not None:
        return request
    reads_stdin = request.read_stdin and STDIN not in request.sources
    return replace(request, piped=piped.read_text(stdin, out.note) if reads_stdin else "")


def with_staged(asked: Message, conversation: Conversation, out: Output) -> Message:
    """The question behind the pictures that wait in the conversation for the next one."""
    attached = {image.key for image in asked.images}
    waiting = [image for image in conversation.staged if image.key not in attached]
    if waiting:
        out.note(f"Sent with it, attached before: {', '.join(visible(image.name, 60) for image in waiting)}")
    return Message("user", (*waiting, *asked.parts)) if waiting else asked


@contextlib.contextmanager
def open_conversation(sessions: Sessions, kept: ConversationChoice, out: Output) -> Iterator[tuple[Conversation, str]]:
    """The conversation that the question belongs to, saved as it happens if it is to be kept, and its session's id."""
    if not kept.log:
        yield _detached_conversation(sessions, kept), ""
        return
    if kept.resume is None:
        session = sessions.start(model=kept.model, system=kept.system)
    else:
        session = sessions.resume(kept.resume or None, model=kept.model)
    with session:
        session.remember({name: value for name, value in kept.settings.to_json().items() if "template" not in name})
        conversation = session.conversation()
        if kept.system and kept.system != conversation.system:
            conversation.system = kept.system
        try:
            yield conversation, session.id
        finally:
            for line in session.take_notes():  # such as that it is not saved, which --quiet must not hide
                out.tell(visible(line))


def _detached_conversation(sessions: Sessions, kept: ConversationChoice) -> Conversation:
    if kept.resume is None:
        return Conversation(kept.system)
    saved = sessions.load((sessions.find(kept.resume) if kept.resume else sessions.newest()).id)
    return Conversation(kept.system or saved.summary.system, snapshot=saved.snapshot)


def answer(request: Request, asked: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Ask, show or write the answer, and say on stderr what there is to say about it."""
    if note := many_images_note(conversation, "in `pixtral chat -c`, "):
        out.note(note)
    if request.tools:
        engine = with_tools(engine, request.tools, out, None, allowed=request.yes_tools)
        out = in_rounds(out, asks=not request.yes_tools)
    chunks = conversation.ask(engine, asked.parts, sampling=request.sampling)
    structured = request.sampling.schema is not None
    collected = request.extract or request.file or structured
    taken = collect_chunks(chunks, out) if collected else []
    given = answer_of(taken) if collected else render(chunks, out)
    if not structured:  # under a schema, what is wrong with it is an error
        _note_cut_or_empty(given, out)
    if collected:
        _tell_thinking(given, request, out)
        _write_result(given, request, out, taken)
    if request.verbose:
        window = engine.measure([asked]).context_window
        out.tell(statistics(given, window))


def _tell_thinking(given: Answer, request: Request, out: Output) -> None:
    """On stderr, where the answer leaves as a code block or a value that it would spoil."""
    alone = out.format == "text" and (request.extract or request.sampling.schema is not None)
    if alone and out.thinking == "show" and given.reasoning.strip():
        out.tell(clean(marked(given.reasoning)).rstrip("\n"))


def _note_cut_or_empty(given: Answer, out: Output) -> None:
    if given.finish_reason == "length":
        out.note("The answer was cut off: --max-tokens or the context window was reached")
    elif not given.text.strip():
        out.note("The model's answer is empty")


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
    sent = [image for message in messages for image in message.images]
    if out.format == "text":
        out.write(
            "".join(
                f"{clean(line)}\n" for line in _plan_lines(request, asked, conversation.system, sent, cost, out.model)
            )
        )
    else:
        out.write(
            dumps(_plan_json(request, asked, conversation.system, sent, cost, out.model), out.stdout.encoding) + "\n"
        )


def _load_images(source: str, offline: bool, stdin: TextIO | None) -> list[Image]:
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


def _with_piped(parts: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    """The question, a blank line, then what was piped in; each alone where the other is missing."""
    if not text:
        return parts
    *before, last = parts
    if isinstance(last, str):
        return (*before, f"{last}\n\n{text}" if last.strip() else text)
    return (*parts, text)


def _write_result(given: Answer, request: Request, out: Output, pieces: Sequence[Chunk]) -> None:
    """The code block or the whole answer, to the file or stdout. What cannot be delivered is not lost."""
    try:
        text = _result_text(given, request, out, pieces)
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


def _result_text(given: Answer, request: Request, out: Output, pieces: Sequence[Chunk]) -> str:
    """The output: the schema's value, the code block or the answer, in the requested format."""
    if request.sampling.schema is not None:
        return structured_text(given, request.sampling, request.layout, out, file=request.file is not None)
    text, more = given.text, {}
    if request.extract:
        block = _code_block(given, request, out)
        text, more = block.text, {"code": block.text, "language": block.language}
    for warning in deception_warnings(text):
        out.note(f"Warning: {warning}")
    if out.thinking == "show" and not request.extract and given.reasoning.strip():
        text = marked(given.reasoning) + text.lstrip("\n")
    if out.format != "text":
        text = dumps(as_json(given, out) | more)
    if out.format == "jsonl":
        lines = [line for piece in pieces for line in jsonl_pieces(piece, out)]
        text = "".join(f"{dumps(line)}\n" for line in lines) + text
    return text if text.endswith("\n") else f"{text}\n"


def _code_block(given: Answer, request: Request, out: Output) -> codeblocks.CodeBlock:
    """The block that was asked for. Raises PixtralError for one that is cut off and would replace a file."""
    block = codeblocks.pick(given.text, request.extract)
    if block.closed:
        return block
    if request.file and given.finish_reason != "stop":
        raise PixtralError(
            f"The answer was cut off within the code block: {request.file} was not written",
            "Raise --max-tokens, or ask for less",
        )
    out.note("The code block has no end: the answer stopped within it")
    return block


def _plan_lines(
    request: Request, asked: Message, system: str | None, sent: Sequence[Image], cost: Cost, model: str
) -> list[str]:
    lines = [f"model    {model}"]
    for label, image, price in zip(_labels(request, asked, sent), sent, cost.images, strict=True):
        width, height = image.size
        size = f"{width}×{height}" + (
            f" → {price.width}×{price.height}" if (price.width, price.height) != image.size else ""
        )
        lines.append(f"image {label}  {image.name}  {size}  {price.tokens:,} tokens")
    count = len(asked.text)
    if system:
        lines += _quoted("system", system)
    lines += _quoted(f"text     {count:,} character{'' if count == 1 else 's'}", asked.text)
    if request.sampling.schema is not None:
        lines.append(f"schema   {describe_schema(request.sampling.schema)}")
    lines.append(f"prompt   {cost.prompt_tokens:,} tokens, {cost.image_tokens:,} of them images")
    lines.append(f"context  {cost.left:,} of {cost.context_window:,} tokens left for the answer")
    return lines


def _quoted(label: str, text: str) -> list[str]:
    """A label, and below it a text as it is sent."""
    return [label, *(f"         {line}" for line in text.split("\n"))]


def _labels(request: Request, asked: Message, sent: Sequence[Image]) -> list[str]:
    """The label of each image: `{1}` as in the question, in the order of --image; of earlier messages `#1`."""
    earlier = len(sent) - len(asked.images)
    order = {Path(source).name: number for number, source in reversed(list(enumerate(request.sources, 1)))}
    ours = [order.get(image.name, number) for number, image in enumerate(asked.images, 1)]
    if len(set(ours)) < len(ours):
        ours = list(range(1, len(ours) + 1))
    return [*(f"#{number}" for number in range(1, earlier + 1)), *(f"{{{number}}}" for number in ours)]


def _plan_json(
    request: Request, asked: Message, system: str | None, sent: Sequence[Image], cost: Cost, model: str
) -> dict[str, Any]:
    schema = request.sampling.schema
    return {
        "model": model,
        "system": system,
        "text": asked.text,
        "images": [
            {
                "label": label,
                "name": image.name,
                "width": image.size[0],
                "height": image.size[1],
                "sent_width": price.width,
                "sent_height": price.height,
                "tokens": price.tokens,
            }
            for label, image, price in zip(_labels(request, asked, sent), sent, cost.images, strict=True)
        ],
        "prompt_tokens": cost.prompt_tokens,
        "image_tokens": cost.image_tokens,
        "context_window": cost.context_window,
        "context_left": cost.left,
        **({} if schema is None else {"schema": schema}),
    }
