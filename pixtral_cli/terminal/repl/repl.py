"""The REPL: reads a line, parses it, runs its command or asks its question, and shows the answer.

Modules that are needed only after a line has been typed are imported then, so that the prompt appears at once.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from pixtral_cli import config
from pixtral_cli.chat.engine import Chunk, Engine
from pixtral_cli.chat.image_numbers import describe_numbers
from pixtral_cli.chat.message import Message, Part
from pixtral_cli.errors import ImageError, NetworkError, PixtralError, UsageError
from pixtral_cli.images import folders
from pixtral_cli.images.image import Image
from pixtral_cli.terminal.output.notes import count_of
from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.repl.history import InputLine
from pixtral_cli.terminal.repl.state import Draft, Leave, Outcome, StartAnswer, State

if TYPE_CHECKING:
    from pixtral_cli.terminal.output.render import Answer
    from pixtral_cli.terminal.repl.answer_input import AnswerInput
    from pixtral_cli.terminal.repl.input_parser import Question

KEPT = "Your question is kept"
BY_REGEN, BY_ENTER = f"{KEPT}: /regen asks it again", f"{KEPT}: Enter asks it again"


class Reader(Protocol):
    """A source of lines. `read` raises EOFError when there are no more, KeyboardInterrupt at Ctrl-C.

    `held` is the context in which keys are kept for the next `read`; `while_answering` that of an answer, with the input
    below it if that can be shown. `enter_line` shows and records a line as if it had been typed and returns it. `unread` gives keys back, `typed_ahead` tells whether there is input for `read`.
    """

    def read(self, draft: str = "", *, placeholder: str = "", busy: bool = False) -> InputLine: ...

    def enter_line(self, text: str) -> InputLine: ...

    def held(self) -> AbstractContextManager[None]: ...

    def while_answering(self, doing: Callable[[], str]) -> AbstractContextManager["AnswerInput | None"]: ...

    def unread(self, typed: bytes) -> None: ...

    def typed_ahead(self) -> bool: ...


class Repl:
    """A conversation at a terminal. `state` is what its commands act on; answers go to `out`.

    `first` is a question to ask before any line is read, `draft` stands in the first line that is read.
    """

    def __init__(
        self, state: State, reader: Reader, out: Output, placeholder: str = "", draft: str = "", first: str = ""
    ) -> None:
        self.state = state
        self._reader = reader
        self._out = out
        self._placeholder = placeholder
        self._draft = Draft(draft)
        self._first = first

    def run(self) -> None:
        """Read and handle lines until the user leaves. At the end the session is saved and unlocked, the engine closed."""
        self.state.confirm, self.state.ask_for = self._confirm, self._ask_for
        try:
            self._tell()
            with self._reader.held():
                while self._uninterrupted():
                    pass
            self.state.discard_unasked()
        finally:
            if self.state.session:
                self.state.session.close()
            self.state.backend.close()

    def _uninterrupted(self) -> bool:
        """One turn. Ctrl-C at a moment when there is nothing to stop ends the turn only."""
        try:
            return self._turn()
        except KeyboardInterrupt:
            return True

    def _turn(self) -> bool:
        """Read and handle one line; returns False after the last one."""
        draft, self._draft = self._draft, Draft("")
        self.state.edits = draft.edits
        first, self._first = self._first, ""
        busy = self.state.backend.state in ("waiting", "loading")
        try:
            if first:
                line = self._reader.enter_line(first)
            else:
                line = self._reader.read(draft.text, placeholder=self._placeholder, busy=busy)
            self.state.begin()
            edits = self.state.edits
            outcome = self._done(line, edits)
        except EOFError:
            return False
        except KeyboardInterrupt:
            self.state.notes.say("Ctrl-D or /bye leaves.")
            return True
        self._placeholder = ""
        self.state.keep_settings()
        self._tell()
        with contextlib.suppress(KeyboardInterrupt):
            self.state.count_again()
        if isinstance(outcome, Draft):
            self._draft = outcome
        elif line.draft:
            self._draft = Draft(line.draft, edits)
        return not isinstance(outcome, Leave)

    def _done(self, line: InputLine, edits: bool) -> Outcome:
        """Handle a line; errors are shown. After an error that editing the question can solve, it is the next draft."""
        from pixtral_cli.terminal.repl.input_parser import parse_command

        command = parse_command(line.text, line.pasted)
        mending = Draft(line.draft or line.text, edits) if line.draft or not command else None
        unanswered = self.state.conversation.unanswered
        try:
            outcome = self._understood(line, edits)
            if not isinstance(outcome, StartAnswer):
                return outcome
            self._answer(outcome)
        except PixtralError as error:
            put_back = mending if isinstance(error, ImageError | NetworkError | UsageError) else None
            if put_back and self.state.conversation.unanswered != unanswered:
                put_back = replace(put_back, edits=True)  # the question is on record: mended, it replaces that one
                if not line.draft:
                    error.hint = error.hint.replace(BY_REGEN, BY_ENTER)
            self.state.notes.error(error)
            return put_back
        except OSError as error:
            self.state.notes.error(PixtralError(f"{error.strerror or error}: {error.filename or 'input or output'}"))
            return mending
        except KeyboardInterrupt:
            self.state.notes.say("Stopped.")
            return None if self._reader.typed_ahead() else mending  # what was typed meanwhile is a line of its own
        except Exception as bug:  # in pixtral or a library; the conversation continues
            self._spoilt(bug)
        return None

    def _spoilt(self, bug: Exception) -> None:
        hint = "PIXTRAL_DEBUG=1 shows where"
        if self.state.conversation.unanswered:
            hint += f". {BY_REGEN}"
        self.state.notes.error(PixtralError(f"Internal error: {type(bug).__name__}", hint))
        if config.debug():
            import traceback

            self.state.notes.tell("".join(traceback.format_exception(bug)))

    def _understood(self, line: InputLine, edits: bool) -> Outcome:
        from pixtral_cli.terminal.repl import attachments, input_parser
        from pixtral_cli.terminal.repl.commands import table

        if line.text.strip().lower() in ("exit", "quit") and not edits:
            return Leave()
        known = [image.name for image in self.state.conversation.images]
        meant = input_parser.parse(line.text, folders.path_exists, line.pasted, known)
        absent = attachments.missing_names(meant) if isinstance(meant, input_parser.Question) else []
        if absent:
            meant = input_parser.parse(line.text, folders.path_exists, line.pasted, [*known, *absent])
        if isinstance(meant, input_parser.Command):
            return table.run(self.state, meant.name, meant.argument)
        return self._question(meant, edits, absent)

    def _question(self, meant: "Question", edits: bool, absent: Sequence[str] = ()) -> Outcome:
        """Attach the sources of a question, and ask it if it has any text. Raises PixtralError."""
        from pixtral_cli.terminal.repl import attachments

        state = self.state
        notes = [*(f"{name} is not here: sent as text" for name in absent), *meant.notes]
        notes += attachments.unattached_notes(meant)
        try:
            texts = [source.name for source in meant.sources if attachments.is_text(source.name)]
            images = [
                image for source in meant.sources if source.name not in texts for image in state.load(source.name)
            ]
        except ImageError as error:
            error.hint = f"{error.hint}{'. ' if error.hint else ''}In `backticks` a name is text"
            raise
        self._check_numbers(meant.text, images)
        for note in dict.fromkeys(notes):
            state.notes.say(note)
        blocks = "\n\n".join(self._text_block(name) for name in texts)
        if images:
            state.stage(images)
        if texts and not meant.text:
            raise UsageError(f"{texts[0]} is text, which goes with a question", f"E.g. @{texts[0]} What does it say?")
        if not meant.text:
            if state.conversation.staged and not images:
                state.notes.say("Ask something about what is attached; /images lists it, /drop N lets go of it.")
            return None
        text = state.template.question(meant.text) if state.template and not edits else meant.text
        parts = _strip_around_leading_images(state.conversation.compose(text))
        if blocks:
            *before, last = parts
            parts = (*before, f"{last}\n\n{blocks}") if isinstance(last, str) else (*parts, blocks)
        ask = state.conversation.edit if edits else state.conversation.ask
        return StartAnswer(lambda engine, sampling: ask(engine, parts, sampling=sampling))

    def _text_block(self, name: str) -> str:
        """A text file as a fenced block; notes its size. Raises UsageError, ContextError."""
        from pixtral_cli.chat.text_files import fenced_file

        block = fenced_file(name)
        lines = count_of(max(0, block.count("\n") - 1), "line")
        with contextlib.suppress(PixtralError):  # the question itself will raise it
            tokens = self.state.backend.measure([Message("user", (block,))]).prompt_tokens
            lines += f", {tokens:,} tokens"
        self.state.notes.say(f"{name}: {lines}")
        return block

    def _confirm(self, question: str) -> bool:
        """Ask the user a yes-or-no question."""
        return self._ask_for(f"{question} y or n", "y or n").strip().lower() in ("y", "yes")

    def _ask_for(self, question: str, placeholder: str = "") -> str:
        """Ask the user for a line; "" at the end of input and after Ctrl-C."""
        self.state.notes.say(question)
        try:
            return self._reader.read(placeholder=placeholder).text
        except (EOFError, KeyboardInterrupt):
            return ""

    def _check_numbers(self, text: str, more: Sequence[Image]) -> None:
        """Raises UsageError for `#N` without image N below 100 if there are images; `#333` may be a colour."""
        missing = self.state.conversation.missing(text, more)
        numbers = {*self.state.conversation.numbered, *self.state.conversation.upcoming_numbers(more)}
        if numbers and missing and missing[0] < 100:
            raise UsageError(
                f"No image #{missing[0]}: {describe_numbers(numbers)}",
                f"/images lists them; \\#{missing[0]} sends it as text",
            )

    def _answer(self, ask: StartAnswer) -> None:
        """Show an answer while it streams. After Ctrl-C the part that arrived is kept."""
        from pixtral_cli.terminal.output.render import statistics, truncation_note

        state = self.state
        if not self._out.spinner and state.backend.doing:
            state.notes.say(self._waiting())
        state.keep_settings()
        chunks = ask.start(self._engine(), state.sampling)
        before = state.conversation.turns
        try:
            state.answer = self._rendered(chunks)
        except KeyboardInterrupt:
            if not state.conversation.unanswered and state.conversation.turns == before:
                raise  # the question was not recorded yet
            again = "/regen asks it again." if state.conversation.unanswered else "The part above is kept."
            state.notes.say(f"Stopped. {again}")
            return
        except PixtralError as error:
            if state.conversation.unanswered and KEPT not in error.hint:  # one error may end several questions
                stop = "" if error.hint.endswith((".", "!", "?")) else "."
                error.hint = f"{error.hint}{stop} {BY_REGEN}" if error.hint else BY_REGEN
            raise
        self._check_schema(state.answer)
        self._offer_code(state.answer)
        cost, _ = state.measure()
        window = cost.context_window if cost else 0
        if state.answer.finish_reason == "length":
            state.notes.say(f"{truncation_note(state.answer, state.sampling.max_tokens, '/set max_tokens', window)}.")
        if state.settings.get("stats"):
            state.notes.say(statistics(state.answer, window))
        state.notes.draw("")

    def _engine(self) -> Engine:
        if not self.state.tools:
            return self.state.backend
        from pixtral_cli.terminal.repl.tool_calls import with_tools

        return with_tools(self.state)

    def _rendered(self, chunks: Iterator[Chunk]) -> "Answer":
        """Show the answer while it streams. Text typed meanwhile is shown below it, and is then in the prompt."""
        from pixtral_cli.terminal.output.render import render

        screen = self._screen()
        if self.state.tools:  # calls are shown and asked about while the answer is made
            return render(chunks, replace(screen, stream=False, spinner=False))
        if not self._out.markdown:  # nothing can be drawn
            return render(chunks, screen)
        with self._reader.while_answering(self._waiting) as typing:
            if typing is None:
                return render(chunks, screen)
            try:
                counted = typing.counted(chunks, self.state.measure_question)
                return render(counted, replace(screen, footer=typing.footer))
            finally:
                typing.read()
                self._reader.unread(typing.typed())

    def _offer_code(self, answer: "Answer") -> None:
        """Note the commands for the code blocks of an answer, if it has any."""
        if ("```" not in answer.text and "~~~" not in answer.text) or self.state.sampling.schema is not None:
            return
        from pixtral_cli.chat.codeblocks import blocks
        from pixtral_cli.terminal.repl.commands.code import offer

        if hint := offer(blocks(answer.text)):
            self.state.notes.say(hint)

    def _check_schema(self, answer: "Answer") -> None:
        """Note where an answer does not satisfy the schema; it remains in the conversation."""
        wanted = self.state.sampling.schema
        if wanted is None:
            return
        from pixtral_cli.structured import schema

        try:
            schema.validate(answer.text, wanted, truncated=answer.finish_reason == "length")
        except schema.AnswerMismatch as error:
            self.state.notes.say(f"{error.message}.")

    def _screen(self) -> Output:
        """The output of an answer under the present settings. With a schema it is JSON and not rendered as Markdown."""
        schema = self.state.sampling.schema is not None
        markdown = self._out.markdown and not schema and self.state.settings.get("markdown", True)
        return replace(
            self._out, model=self.state.backend.name, markdown=markdown, wrap=schema, doing=self._waiting,
            thinking=self.state.settings.get("thinking", "fold"),
        )  # fmt: skip

    def _waiting(self) -> str:
        """The progress line while a question waits for the model to load; "" when it is loaded."""
        doing = self.state.backend.doing
        return f"{doing}; your question waits" if doing else ""

    def _tell(self) -> None:
        """Show the messages of the engine and the session, such as that it cannot be saved."""
        news = self.state.backend.opening.news
        for note in [news.pop(0) for _ in range(len(news))]:
            self.state.notes.say(note)
        for note in self.state.session.take_notes() if self.state.session else ():
            self.state.notes.warn(note)


def _strip_around_leading_images(parts: Sequence[Part]) -> tuple[Part, ...]:
    """The parts without the spaces around the images that precede all text."""
    first = next((index for index, part in enumerate(parts) if isinstance(part, str) and part.strip()), len(parts))
    leading = tuple(part for part in parts[:first] if isinstance(part, Image))
    words = tuple(part.lstrip() if isinstance(part, str) else part for part in parts[first : first + 1])
    return (*leading, *words, *parts[first + 1 :])
