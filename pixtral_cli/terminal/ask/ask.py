"""One question, one answer: the work of `pixtral ask`."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pixtral_cli.chat import codeblocks
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Engine
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import PixtralError
from pixtral_cli.sessions.answer_settings import AnswerSettings
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.terminal.ask import output_file
from pixtral_cli.terminal.ask import watch as watching
from pixtral_cli.terminal.ask.request import Request, build_message
from pixtral_cli.terminal.ask.several import show_answers
from pixtral_cli.terminal.ask.tool_calls import in_rounds, with_tools
from pixtral_cli.terminal.output.notes import many_images_note
from pixtral_cli.terminal.output.output import dumps, window_size
from pixtral_cli.terminal.output.render import (
    Answer,
    Output,
    answer_of,
    as_json,
    collect_chunks,
    cut_hint,
    cut_note,
    jsonl_pieces,
    render,
    show,
    statistics,
)
from pixtral_cli.terminal.output.structured import structured_text
from pixtral_cli.terminal.output.thinking import marked
from pixtral_cli.terminal.output.word_wrap import WordWrap
from pixtral_cli.util.sanitize import clean, deception_warnings, visible


@dataclass(frozen=True)
class ConversationChoice:
    """Which conversation the question belongs to (`resume`: an id, "" the newest, None a new one), and if it is saved."""

    resume: str | None = None
    log: bool = True
    system: str | None = None
    model: str = ""
    settings: AnswerSettings = field(default_factory=AnswerSettings)


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
        if kept.system is not None and kept.system != conversation.system:
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
    chosen = saved.summary.system if kept.system is None else kept.system
    return Conversation(chosen, snapshot=saved.snapshot)


def answer(request: Request, asked: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Ask, show or write the answer, and say on stderr what there is to say about it."""
    if note := many_images_note(conversation, "in `pixtral chat -c`, "):
        out.note(note)
    if request.tools:
        engine = with_tools(engine, request.tools, out, None, allowed=request.yes_tools)
        out = in_rounds(out)
    chunks = conversation.ask(engine, asked.parts, sampling=request.sampling)
    if request.sampling.n > 1:
        return _several(chunks, request, out, lambda: engine.measure([asked]).context_window)
    structured = request.sampling.schema is not None
    collected = request.extract or request.file or structured
    taken = collect_chunks(chunks, out) if collected else []
    given = answer_of(taken) if collected else render(chunks, out)
    if not structured:  # under a schema, what is wrong with it is an error
        _note_cut_or_empty(given, request, out, lambda: engine.measure([asked]).context_window)
    if collected:
        _tell_thinking(given, request, out)
        _write_result(given, request, out, taken)
    if request.verbose:
        window = engine.measure([asked]).context_window
        out.tell(statistics(given, window))
    return None


def _several(chunks: Iterator[Chunk], request: Request, out: Output, window: Callable[[], int]) -> None:
    """Show several answers, and say on stderr which were cut off."""
    answers, whole = show_answers(chunks, request.sampling.n, out)
    cut = [str(number) for number, given in enumerate(answers, 1) if given.finish_reason == "length"]
    if cut:
        which = f"Answer {cut[0]} was" if len(cut) == 1 else f"Answers {', '.join(cut)} were"
        out.note(f"{which} cut off; --max-tokens may allow more")
    if request.verbose:
        out.tell(statistics(whole, window()))


def _tell_thinking(given: Answer, request: Request, out: Output) -> None:
    """On stderr, where the answer leaves as a code block or a value that it would spoil."""
    alone = out.format == "text" and (request.extract or request.sampling.schema is not None)
    if alone and out.thinking == "show" and given.reasoning.strip():
        out.tell(clean(marked(given.reasoning)).rstrip("\n"))


def _note_cut_or_empty(given: Answer, request: Request, out: Output, window: Callable[[], int]) -> None:
    if given.finish_reason == "length":
        out.note(cut_note(given, request.sampling.max_tokens, "--max-tokens", window()))
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


def _write_result(given: Answer, request: Request, out: Output, pieces: Sequence[Chunk]) -> None:
    """The code block or the whole answer, to the file or stdout. What cannot be delivered is not lost."""
    try:
        text = _result_text(given, request, out, pieces)
        if request.file:
            _check_closed(given, request)
    except PixtralError:
        if given.text:
            out.tell(clean(given.text))
        raise
    if request.file is None:
        out.write(_wrapped(clean(text), request, out))
        return _check_closed(given, request)
    try:
        output_file.write(request.file, text)
    except PixtralError:
        show(given, out)
        raise
    return out.note(f"Wrote {request.file} ({len(text.encode(errors='replace')):,} bytes)")


def _check_closed(given: Answer, request: Request) -> None:
    """Raises PixtralError for a code block without an end, which may be the half of one; no file is written of it."""
    if (
        not request.extract
        or request.sampling.schema is not None
        or codeblocks.pick(given.text, request.extract).closed
    ):
        return
    cut = given.finish_reason != "stop"
    what = "The answer was cut off within the code block" if cut else "The code block of the answer has no end"
    hint = (
        cut_hint(given, request.sampling.max_tokens)
        if cut
        else "It may be whole all the same: look at it, or ask again"
    )
    raise PixtralError(f"{what}: {request.file} was not written" if request.file else what, hint)


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
        block = codeblocks.pick(given.text, request.extract)
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
