"""Asks one question and writes its answer: the work of `pixtral ask`."""

import contextlib
import time
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
from pixtral_cli.terminal.ask.tool_calls import output_between_calls, with_tools
from pixtral_cli.terminal.output.notes import many_images_note
from pixtral_cli.terminal.output.output import dumps, window_size
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
    truncation_hint,
    truncation_note,
)
from pixtral_cli.terminal.output.structured import structured_text
from pixtral_cli.terminal.output.thinking import with_marks
from pixtral_cli.terminal.output.word_wrap import WordWrap
from pixtral_cli.util.sanitize import clean, deception_warnings, visible


@dataclass(frozen=True)
class ConversationChoice:
    """The conversation that the question belongs to. `resume`: a session's id, "" for the newest, None for a new one.

    `log`: it is saved. `settings` are saved with it.
    """

    resume: str | None = None
    log: bool = True
    system: str | None = None
    model: str = ""
    settings: AnswerSettings = field(default_factory=AnswerSettings)


def with_staged(question: Message, conversation: Conversation, out: Output) -> Message:
    """The question, preceded by the images that are staged in the conversation."""
    attached = {image.key for image in question.images}
    staged = [image for image in conversation.staged if image.key not in attached]
    if staged:
        out.note(f"Sent with it, attached before: {', '.join(visible(image.name, 60) for image in staged)}")
    return Message("user", (*staged, *question.parts)) if staged else question


@contextlib.contextmanager
def open_conversation(
    sessions: Sessions, choice: ConversationChoice, out: Output
) -> Iterator[tuple[Conversation, str]]:
    """The conversation that the question belongs to, and its session's id, "" for one that is not saved."""
    if not choice.log:
        yield _detached_conversation(sessions, choice), ""
        return
    if choice.resume is None:
        session = sessions.start(model=choice.model, system=choice.system)
    else:
        session = sessions.resume(choice.resume or None, model=choice.model)
    with session:
        session.save_settings(
            {name: value for name, value in choice.settings.to_json().items() if "template" not in name}
        )
        conversation = session.conversation()
        if choice.system is not None and choice.system != conversation.system:
            conversation.system = choice.system
        try:
            yield conversation, session.id
        finally:
            for line in session.take_notes():  # --quiet must not hide that it is not saved
                out.tell(visible(line))


def _detached_conversation(sessions: Sessions, choice: ConversationChoice) -> Conversation:
    if choice.resume is None:
        return Conversation(choice.system)
    saved = sessions.load((sessions.find(choice.resume) if choice.resume else sessions.newest()).id)
    chosen = saved.summary.system if choice.system is None else choice.system
    return Conversation(chosen, snapshot=saved.snapshot)


def answer(request: Request, question: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Ask, and show the answer or write it to the file; notes about it go to stderr. Raises PixtralError."""
    if note := many_images_note(conversation, "in `pixtral chat -c`, "):
        out.note(note)
    if request.tools:
        engine = with_tools(engine, request.tools, out, None, allowed=request.yes_tools)
        out = output_between_calls(out)
    chunks = conversation.ask(engine, question.parts, sampling=request.sampling)
    if request.sampling.n > 1:
        return _several(chunks, request, out, lambda: engine.measure([question]).context_window)
    structured = request.sampling.schema is not None
    collected = request.extract or request.file or structured
    chunks_received = collect_chunks(chunks, out) if collected else []
    result = answer_of(chunks_received) if collected else render(chunks, out)
    if not structured:  # with a schema these are errors
        _note_cut_or_empty(result, request, out, lambda: engine.measure([question]).context_window)
    if collected:
        _tell_thinking(result, request, out)
        _write_result(result, request, out, chunks_received)
    if request.verbose:
        window = engine.measure([question]).context_window
        out.tell(statistics(result, window))
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


def _tell_thinking(result: Answer, request: Request, out: Output) -> None:
    """Write the thinking to stderr if stdout gets a code block or a JSON value alone."""
    alone = out.format == "text" and (request.extract or request.sampling.schema is not None)
    if alone and out.thinking == "show" and result.reasoning.strip():
        out.tell(clean(with_marks(result.reasoning)).rstrip("\n"))


def _note_cut_or_empty(result: Answer, request: Request, out: Output, window: Callable[[], int]) -> None:
    if result.finish_reason == "length":
        out.note(truncation_note(result, request.sampling.max_tokens, "--max-tokens", window()))
    elif not result.text.strip():
        out.note("The model's answer is empty")


def watch(request: Request, question: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Answer, and answer again whenever a picture changes, each time from the same conversation. Ends with Ctrl-C.

    After an error the next change is waited for.
    """
    files = watching.watched_files(request.sources)
    changes = watching.changes(files)
    watched = "; ".join(visible(file.name, 40) for file in files[:3]) + (
        f" and {len(files) - 3} more" * (len(files) > 3)
    )
    first = True
    while True:
        try:
            answer(request, question, Conversation(conversation.system, snapshot=conversation.snapshot()), engine, out)
        except PixtralError as error:
            out.tell(f"{visible(error.message)}. Waiting for the picture to change")
        else:
            if first and out.stderr.isatty():
                out.note(f"Watching {watched}; Ctrl-C ends")
            first = False
        question = _changed_message(request, changes, out)
        if out.stderr.isatty():
            out.note(f"{time.strftime('%H:%M:%S')}, changed:")


def _changed_message(request: Request, changes: Iterator[None], out: Output) -> Message:
    """The question with its pictures as they are after the next change that leaves them readable."""
    while True:
        next(changes)
        try:
            return build_message(request, out, None)
        except PixtralError as error:
            out.tell(f"{visible(error.message)}. Waiting for the picture to change")


def _write_result(result: Answer, request: Request, out: Output, pieces: Sequence[Chunk]) -> None:
    """Write the code block or the whole answer to the file or stdout. After an error the answer is shown on the terminal."""
    try:
        text = _result_text(result, request, out, pieces)
        if request.file:
            _check_closed(result, request)
    except PixtralError:
        if result.text:
            out.tell(clean(result.text))
        raise
    if request.file is None:
        out.write(_wrapped(clean(text), request, out))
        return _check_closed(result, request)
    try:
        output_file.write(request.file, text)
    except PixtralError:
        show(result, out)
        raise
    return out.note(f"Wrote {request.file} ({len(text.encode(errors='replace')):,} bytes)")


def _check_closed(result: Answer, request: Request) -> None:
    """Raises PixtralError for a code block without a closing fence, which may be incomplete."""
    if (
        not request.extract
        or request.sampling.schema is not None
        or codeblocks.pick(result.text, request.extract).closed
    ):
        return
    cut = result.finish_reason != "stop"
    problem = "The answer was cut off within the code block" if cut else "The code block of the answer has no end"
    hint = (
        truncation_hint(result, request.sampling.max_tokens)
        if cut
        else "It may be whole all the same: look at it, or ask again"
    )
    raise PixtralError(f"{problem}: {request.file} was not written" if request.file else problem, hint)


def _wrapped(text: str, request: Request, out: Output) -> str:
    """JSON for a terminal is wrapped between words; other text is returned unchanged."""
    if request.sampling.schema is None or request.layout or not out.stdout.isatty():
        return text
    wrap = WordWrap(window_size(out.stdout).columns)
    return wrap.feed(text) + wrap.close()


def _result_text(result: Answer, request: Request, out: Output, pieces: Sequence[Chunk]) -> str:
    """The text of the output: the JSON value, the code block or the answer, in the requested format."""
    if request.sampling.schema is not None:
        return structured_text(result, request.sampling, request.layout, out, file=request.file is not None)
    text, more = result.text, {}
    if request.extract:
        block = codeblocks.pick(result.text, request.extract)
        text, more = block.text, {"code": block.text, "language": block.language}
    for warning in deception_warnings(text):
        out.note(f"Warning: {warning}")
    if out.thinking == "show" and not request.extract and result.reasoning.strip():
        text = with_marks(result.reasoning) + text.lstrip("\n")
    if out.format != "text":
        text = dumps(as_json(result, out) | more)
    if out.format == "jsonl":
        lines = [line for piece in pieces for line in jsonl_pieces(piece, out)]
        text = "".join(f"{dumps(line)}\n" for line in lines) + text
    return text if text.endswith("\n") else f"{text}\n"
