"""The input line with key bindings, completion, history and toolbar, on prompt_toolkit."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession, print_formatted_text
from prompt_toolkit.application import run_in_terminal
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition, is_searching
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import get_typeahead, store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.output import Output
from prompt_toolkit.output.defaults import create_output
from prompt_toolkit.styles import Style

from pixtral_cli.errors import PixtralError
from pixtral_cli.terminal.output.keyboard import hold_keys, pending_keys
from pixtral_cli.terminal.preferences.keys import DEFAULT_KEYS
from pixtral_cli.terminal.repl.history import InputHistory, InputLine
from pixtral_cli.util.sanitize import clean

if TYPE_CHECKING:
    from pixtral_cli.terminal.repl.answer_input import AnswerInput
    from pixtral_cli.terminal.repl.completion import Suggestion

STYLES = {
    "bottom-toolbar": "noreverse fg:ansibrightblack",
    "placeholder": "fg:ansibrightblack",
    "prompt": "bold fg:ansicyan",
}
SIGNALS = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None))]
MARK, CONTINUATION = "> ", "  "
MAX_SHOWN_LINES = 20  # of a paste; a longer one is folded to one line until it is sent
REFRESH_INTERVAL = 0.5  # seconds between two updates of the toolbar while the model loads


class Prompt:
    """Reads lines. `suggest` completes the text before the cursor, `toolbar` returns the text below the input.

    `begun` is called once, when the prompt is shown for the first time, `emptied` whenever all text is deleted. `keys` and `theme` are those of the config.
    """

    def __init__(
        self,
        recall: InputHistory,
        suggest: "Callable[[str], Iterable[Suggestion]]",
        toolbar: Callable[[str, Sequence[str], int], str],
        begun: Callable[[], None] = lambda: None,
        emptied: Callable[[], None] = lambda: None,
        *,
        input: Input | None = None,
        output: Output | None = None,
        keys: Mapping[str, str] = DEFAULT_KEYS,
        theme: Mapping[str, str] | None = None,
    ) -> None:
        self._recall = recall
        self._begun = begun
        self._emptied = emptied
        self._pasted: list[str] = []
        self._folded: dict[str, str] = {}  # long pastes by their placeholders
        self._draft = ""
        self._tab = False  # Tab was pressed, and the completions are not known yet
        self._wanted = False  # a search for completions was requested and has not begun
        self._signal = 0
        self._session: PromptSession[str] = PromptSession(
            multiline=True,
            key_bindings=_keys(self, keys),
            completer=_Completer(suggest),
            complete_while_typing=Condition(self._eager),
            history=InMemoryHistory([line.text for line in recall.lines]),
            bottom_toolbar=lambda: toolbar(self._unfolded(self._buffer.text), tuple(self._pasted), self._columns),
            prompt_continuation=CONTINUATION,
            enable_suspend=True,
            search_ignore_case=True,
            reserve_space_for_menu=6,
            style=Style.from_dict(_styles(theme or {})),
            input=input,
            output=output or create_output(always_prefer_tty=True),
        )
        self._buffer.on_text_changed += self._changed
        self._buffer.on_completions_changed += self._found
        self._session.app.renderer.cpr_not_supported_callback = None  # no toolbar then, and no warning
        self._session.app.after_render += self._rendered

    @property
    def _columns(self) -> int:
        return self._session.app.output.get_size().columns

    @property
    def _buffer(self) -> Buffer:
        return self._session.default_buffer

    def read(self, draft: str = "", *, placeholder: str = "", busy: bool = False) -> InputLine:
        """The next line. Raises EOFError at Ctrl-D and KeyboardInterrupt at Ctrl-C, both on an empty line."""
        self._pasted, self._draft = [], ""
        try:
            with _restore_handlers(SIGNALS):
                text = self._unfolded(self._prompt(draft, placeholder, busy))
        finally:
            if self._signal:
                signal.raise_signal(self._signal)
        before = [block for line in self._recall.lines for block in line.pasted if block in text]
        line = InputLine(text, tuple(dict.fromkeys((*self._pasted, *before))), self._draft)
        self._recall.add(line)
        return line

    def enter_line(self, text: str) -> InputLine:
        """See `Reader`."""
        self._rendered(None)
        shown = clean(text).replace("\n", f"\n{CONTINUATION}")
        pieces = FormattedText([("class:prompt", MARK), ("", shown)])
        print_formatted_text(pieces, style=self._session.style, output=self._session.app.output)
        self._session.history.append_string(text)
        line = InputLine(text, (text,) if "\n" in text else ())
        self._recall.add(line)
        return line

    def _prompt(self, draft: str, placeholder: str, busy: bool) -> str:
        return self._session.prompt(
            FormattedText([("class:prompt", MARK)]),
            default=draft,
            placeholder=FormattedText([("class:placeholder", self._fitting(placeholder))]),
            refresh_interval=REFRESH_INTERVAL if busy else 0,
            pre_run=self._listen,
        )

    def _fitting(self, placeholder: str) -> str:
        """A placeholder that fits into the line, else what stands before its comma."""
        return placeholder if len(placeholder) + len(MARK) < self._columns else placeholder.partition(",")[0]

    def _listen(self) -> None:
        """Make SIGTERM and SIGHUP end the prompt; `read` raises them again when the terminal is restored."""
        for number in SIGNALS:
            with contextlib.suppress(NotImplementedError):  # on Windows
                asyncio.get_running_loop().add_signal_handler(number, self._hang_up, number)

    def _hang_up(self, number: int) -> None:
        self._recall.add(InputLine(self._buffer.text, tuple(self._pasted)))
        self._signal = number
        if not self._session.app.future or not self._session.app.future.done():
            self._session.app.exit(result="")

    def redraw(self) -> None:
        """Update the toolbar. May be called from any thread."""
        self._session.app.invalidate()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """See `Reader`: keys typed between two `read`s are not echoed and are kept for the next."""
        try:
            keyboard = self._session.input.fileno()
        except NotImplementedError:
            yield
            return
        with hold_keys(keyboard):
            self.unread(pending_keys(keyboard))
            yield

    @contextlib.contextmanager
    def while_answering(self, doing: Callable[[], str]) -> "Iterator[AnswerInput | None]":
        """See `Reader`: the input below an answer; None if it cannot be shown."""
        from pixtral_cli.terminal.repl.answer_input import AnswerInput, is_supported

        try:
            keyboard = self._session.input.fileno()
        except NotImplementedError:
            keyboard = -1
        if keyboard < 0 or not is_supported(keyboard, sys.stdout):
            yield None
            return
        with AnswerInput(keyboard, sys.stdout, doing) as typing:
            typing.process_keys(get_typeahead(self._session.input))
            yield typing

    def unread(self, typed: bytes) -> None:
        """See `Reader`."""
        keys: list[KeyPress] = []
        Vt100Parser(keys.append).feed_and_flush(typed.decode("utf-8", "replace"))
        store_typeahead(self._session.input, keys)

    def typed_ahead(self) -> bool:
        """See `Reader`."""
        with contextlib.suppress(NotImplementedError):
            self.unread(pending_keys(self._session.input.fileno()))
        keys = get_typeahead(self._session.input)
        store_typeahead(self._session.input, keys)
        return bool(keys)

    # Actions of keys

    def enter(self, buffer: Buffer) -> None:
        """Send the line, unless it has opened a block that is not closed."""
        from pixtral_cli.terminal.repl.input_parser import has_open_block

        if has_open_block(buffer.text):
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    def paste(self, buffer: Buffer, text: str) -> None:
        """Insert a paste. A block of several lines is recorded as pasted; a long one is shown as a placeholder."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        block = text.strip("\n")
        if "\n" in block:
            self._pasted.append(block)
        if (lines := block.count("\n") + 1) > MAX_SHOWN_LINES:
            mark = f"[{lines} lines pasted]"
            mark = next(
                each for each in (mark, *(f"{mark[:-1]} {n}]" for n in range(2, 99))) if each not in self._folded
            )
            self._folded[mark] = block
            buffer.insert_text(mark)
        else:
            buffer.insert_text(text if "\n" in block else block)

    def _unfolded(self, text: str) -> str:
        """The text with the placeholders replaced by the long pastes."""
        for mark, block in self._folded.items():
            text = text.replace(mark, block)
        return text

    def complete(self, buffer: Buffer) -> None:
        """Tab: insert the only completion, else select the next one; after a folder, complete in it."""
        state = buffer.complete_state
        if state is None or not state.completions:
            self._tab = True  # completions are being searched; `_found` continues
            if state is None:
                self._search(buffer)
            return
        if state.complete_index is None and len(state.completions) == 1:
            buffer.go_to_completion(0)
        elif state.complete_index is None or not buffer.document.text_before_cursor.endswith("/"):
            buffer.complete_next()
            return
        buffer.complete_state = None
        if buffer.document.text_before_cursor.endswith("/"):
            self._search(buffer)

    def _search(self, buffer: Buffer) -> None:
        """Search for completions, after an earlier search that still runs."""
        self._wanted = True
        buffer.start_completion()

    def _found(self, buffer: Buffer) -> None:
        if buffer.complete_state is None:
            if self._wanted:  # this is the earlier search, whose last step calls here
                asyncio.get_running_loop().call_soon(buffer.start_completion)
            return
        self._wanted = False
        if self._tab and buffer.complete_state.completions:
            self._tab = False
            self.complete(buffer)

    def give_up(self, buffer: Buffer) -> None:
        """Ctrl-C: clear the line, which stays in the history; on an empty line raise KeyboardInterrupt."""
        if not buffer.text:
            self._session.app.exit(exception=KeyboardInterrupt(), style="class:aborting")
            return
        self._recall.add(InputLine(buffer.text, tuple(self._pasted)))
        buffer.append_to_history()
        self._session.app.exit(result="", style="class:aborting")

    def paste_image(self, buffer: Buffer) -> None:
        """Attach the picture on the clipboard; the text of the line is kept."""
        self._draft = buffer.text
        self._session.app.exit(result="/paste")

    async def edit(self, buffer: Buffer) -> None:
        """Edit the line in the user's editor; after an error the line is unchanged."""

        from pixtral_cli.terminal.desktop import editor

        def edited() -> str:
            try:
                return editor.edit_text(buffer.text)
            except PixtralError as error:
                print(f"{error.message}. {error.hint}")
                return buffer.text

        buffer.document = Document(await run_in_terminal(edited))

    def _eager(self) -> bool:
        if not self._buffer.text:
            return False
        from pixtral_cli.terminal.repl.completion import completes_while_typing

        return completes_while_typing(self._buffer.document.text_before_cursor)

    def _rendered(self, sender: object) -> None:
        begun, self._begun = self._begun, lambda: None
        begun()

    def _changed(self, buffer: Buffer) -> None:
        self._tab = self._wanted = False
        if not buffer.text:
            self._pasted.clear()
            self._emptied()


def _styles(theme: Mapping[str, str]) -> dict[str, str]:
    if not theme:
        return STYLES
    from pixtral_cli.terminal.preferences.theme import input_line_styles

    return STYLES | input_line_styles(theme)


def _keys(prompt: Prompt, chosen: Mapping[str, str]) -> KeyBindings:
    keys = KeyBindings()
    typing = ~is_searching

    @keys.add("enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        prompt.enter(event.current_buffer)

    @keys.add(*chosen["newline"].split(), filter=typing)
    @keys.add("escape", "enter", filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    @keys.add(*chosen["complete"].split(), filter=typing)
    def _(event: KeyPressEvent) -> None:
        prompt.complete(event.current_buffer)

    @keys.add("<bracketed-paste>")
    def _(event: KeyPressEvent) -> None:
        prompt.paste(event.current_buffer, event.data)

    @keys.add("c-c", filter=typing)
    def _(event: KeyPressEvent) -> None:
        prompt.give_up(event.current_buffer)

    @keys.add(*chosen["paste"].split(), filter=typing)
    def _(event: KeyPressEvent) -> None:
        prompt.paste_image(event.current_buffer)

    @keys.add(*chosen["editor"].split(), filter=typing)
    def _(event: KeyPressEvent) -> None:
        event.app.create_background_task(prompt.edit(event.current_buffer))

    return keys


class _Completer(Completer):
    """Converts suggestions to prompt_toolkit's completions."""

    def __init__(self, suggest: "Callable[[str], Iterable[Suggestion]]") -> None:
        self._suggest = suggest

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        for suggestion in self._suggest(document.text_before_cursor):
            yield Completion(suggestion.text, -suggestion.length, display_meta=suggestion.about)

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """All completions at once, so that Tab never takes the first of several for the only one; searched in a thread."""
        for completion in await asyncio.to_thread(list, self.get_completions(document, complete_event)):
            yield completion


@contextlib.contextmanager
def _restore_handlers(signals: Iterable[int]) -> Iterator[None]:
    """Restores the handlers of signals, which asyncio does not."""
    before = {number: signal.getsignal(number) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # it was not set from Python
                signal.signal(number, handler)
