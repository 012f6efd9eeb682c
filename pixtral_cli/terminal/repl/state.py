"""The state that the commands of the REPL act on, and the outcomes that they return."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Cost, Engine, ImageCost, Sampling
from pixtral_cli.chat.image_numbers import IMAGE_REF
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import ImageError, NetworkError, PixtralError, UsageError
from pixtral_cli.images.image import Image, is_url
from pixtral_cli.terminal.output.notes import Notes
from pixtral_cli.terminal.preferences.keys import DEFAULT_KEYS
from pixtral_cli.terminal.repl.backend import Backend, ModelOpener

if TYPE_CHECKING:
    from pixtral_cli.chat.toolbox.engine import RunnableTool
    from pixtral_cli.sessions.library import Sessions
    from pixtral_cli.sessions.session import Session
    from pixtral_cli.terminal.desktop.clipboard import Desktop
    from pixtral_cli.terminal.output.render import Answer
    from pixtral_cli.terminal.repl.chosen_template import ChosenTemplate


@dataclass(frozen=True, slots=True)
class Draft:
    """Text for the next input line, to be edited or sent. `edits`: it replaces the last question."""

    text: str
    edits: bool = False


@dataclass(frozen=True, slots=True)
class StartAnswer:
    """An answer to show. `start` asks the engine for it."""

    start: Callable[[Engine, Sampling], Iterator[Chunk]]


@dataclass(frozen=True, slots=True)
class Leave:
    """The user leaves the REPL."""


Outcome: TypeAlias = Draft | StartAnswer | Leave | None


def _this_desktop() -> "Desktop":
    from pixtral_cli.terminal.desktop import clipboard

    return clipboard.desktop()


@dataclass
class State:
    """The conversation, the backend that answers, and the settings.

    `open` finds a model by its name and raises ModelError. `sessions` opens the saved sessions; `later` starts the session
    of a new conversation, at the first line.
    """

    conversation: Conversation
    backend: Backend
    open: Callable[[str], ModelOpener]
    notes: Notes
    sessions: "Callable[[], Sessions]"
    session: "Session | None" = None
    later: "Callable[[], Session] | None" = None
    models: Callable[[], Sequence[str]] = tuple
    thumbnail: Callable[[Image, str], str] = lambda image, wanted: ""
    desktop: "Callable[[], Desktop]" = _this_desktop
    settings: dict[str, Any] = field(default_factory=dict)
    answer: "Answer | None" = None
    template: "ChosenTemplate | None" = None
    context: str = ""  # the use of the context window as text, "" if it is unknown
    _counted: tuple[object, ...] = ()  # the objects that `context` was counted for
    edits: bool = False  # the line that is typed replaces the last question
    given_images: frozenset[str] = frozenset()  # the keys of the images that the command line named
    editing: bool = True  # the input line has key bindings
    keys: Mapping[str, str] = field(default_factory=lambda: DEFAULT_KEYS)  # key bindings by action
    tools: "Sequence[RunnableTool]" = ()  # tools that the model may call
    yes_tools: bool = False  # calls are run without asking
    confirm: Callable[[str], bool] = lambda question: True  # asks the user a yes-or-no question
    ask_for: Callable[[str], str] = lambda question: ""  # asks the user for a line
    image_costs: dict[str, ImageCost] = field(default_factory=dict)  # by image key, as far as they were counted

    def begin(self) -> None:
        """Start the session of a new conversation, if that is to be saved: there is something to save now."""
        if self.later:
            start, self.later = self.later, None
            self.keep_in(start())

    def discard_unasked(self) -> None:
        """Remove the session if nothing was ever asked in it and all it holds are the command line's images."""
        staged = self.conversation.staged
        if (
            self.session
            and not self.conversation.snapshot().nodes
            and {each.key for each in staged} <= self.given_images
        ):
            numbers = self.numbers
            for image in staged:
                self.conversation.drop(numbers[image.key])

    def end_edit(self) -> None:
        """The line was emptied: what is typed then is a new question."""
        self.edits = False

    def keep_in(self, session: "Session") -> None:
        """Continue in a session, with the images that are staged."""
        staged = self.conversation.staged
        self.session, self.conversation = session, session.conversation()
        for image in staged:
            self.conversation.stage(image)

    @property
    def sampling(self) -> Sampling:
        """The model's sampling parameters, overridden by the settings."""
        names = Sampling.__dataclass_fields__
        return replace(self.backend.opening.sampling, **{k: v for k, v in self.settings.items() if k in names})

    def keep_settings(self) -> None:
        """Save the present settings of the answers with the session."""
        if self.session:
            from pixtral_cli.sessions.answer_settings import AnswerSettings

            opening, chosen = self.backend.opening, self.template
            name, values = (chosen.template.name, chosen.values) if chosen else ("", {})
            kept = AnswerSettings.of(
                opening.name, opening.engine, opening.server, self.sampling, opening.usual, name, values
            )
            self.session.save_settings(kept.to_json())

    @property
    def numbers(self) -> dict[str, int]:
        """The number of each image by its key."""
        return {image.key: number for number, image in self.conversation.numbered.items()}

    def said(self, message: Message) -> str:
        """A message as text, its images as `[#N NAME]`."""
        numbers, words = self.numbers, ""
        for part in message.parts:
            piece = f"[#{numbers[part.key]} {part.name}]" if isinstance(part, Image) else part
            words += f" {piece}" if words.endswith("]") and re.match(r"[\w\[]", piece) else piece
        return words

    def measure(self) -> tuple[Cost | None, dict[str, ImageCost]]:
        """The cost of the conversation with the staged images, and of each image by its key; (None, {}) if unknown."""
        messages = self.conversation.messages_with(Message("user", self.conversation.staged or ("",)))
        self._counted = self._to_count()
        try:
            cost = self._measure(messages)
        except PixtralError:  # the next question says what is wrong
            self.context = ""
            return None, {}
        keys = [image.key for message in messages for image in message.images]
        self.context = f"{cost.prompt_tokens:,} of {cost.context_window:,}"
        each = dict(zip(keys, cost.images, strict=True))
        self.image_costs |= each
        return cost, each

    def count_again(self) -> None:
        """Update `context` if the conversation has changed; "" while it cannot be counted."""
        now = self._to_count()
        if len(now) == len(self._counted) and all(a is b for a, b in zip(now, self._counted, strict=True)):
            return
        if self.backend.state == "ready":
            self.measure()
        else:
            self.context = ""

    def _to_count(self) -> tuple[object, ...]:
        """The objects that the context depends on."""
        conversation = self.conversation
        return (self.backend, conversation.system, *conversation.history, *conversation.staged)

    def sent_again(self, text: str) -> list[str]:
        """Texts for the toolbar about images that a question sends again by `#N`, with their tokens."""
        numbers = dict.fromkeys(int(found[1]) for found in IMAGE_REF.finditer(text))
        staged = {image.key for image in self.conversation.staged}
        there = self.conversation.numbered
        again = [number for number in numbers if number in there and there[number].key not in staged]
        if any(there[number].key not in self.image_costs for number in again):
            if self.backend.state != "ready" or self.backend.opening.server:
                return [f"#{number} again" for number in again]
            self.measure()
        costs = {number: self.image_costs.get(there[number].key) for number in again}
        return [f"#{number} again" + (f", {cost.tokens:,} tokens" if cost else "") for number, cost in costs.items()]

    def agree_to_many(self, names: Sequence[str], named: str) -> None:
        """Ask before many pictures of a folder or a pattern are attached. Raises UsageError if the user declines."""
        from pixtral_cli.images.folders import CONFIRM_ABOVE

        if len(names) > max(CONFIRM_ABOVE, len(named.split())) and not self.confirm(
            f"Attach all {len(names)} pictures of {named}?"
        ):
            raise UsageError("Nothing was attached", f"Name those that matter: @{names[0]}")

    def load(self, name: str) -> list[Image]:
        """The images of a name; of a folder or a pattern those that can be read, the others are reported.

        Raises ImageError, NetworkError, UsageError if there is none.
        """
        from pixtral_cli.terminal.repl import attachments

        names = attachments.expand(name)
        self.agree_to_many(names, name)
        return self.load_each(names)

    def load_each(self, names: Sequence[str]) -> list[Image]:
        """The images of these names. Errors of single ones are reported; the first is raised if none can be read."""
        from pixtral_cli.terminal.repl import attachments

        found: list[Image] = []
        wrong: list[PixtralError] = []
        with self.notes.fetch_indicator([each for each in names if is_url(each) and each[:4].lower() == "http"]):
            for name in names:
                try:
                    found += attachments.load_images(name)
                except (ImageError, NetworkError) as error:
                    wrong.append(error)
        if wrong and not found:
            raise wrong[0]
        for each in wrong:
            self.notes.error(each)
        return found

    def measure_question(self) -> Cost | None:
        """The cost of the question that is being answered, with its history; None if it cannot be counted."""
        question = self.conversation.unanswered
        try:
            return self._measure(self.conversation.messages_with(question) if question else self.conversation.messages)
        except PixtralError:
            return None

    def _measure(self, messages: Sequence[Message]) -> Cost:
        return self.backend.measure(messages, [each.tool for each in self.tools])

    def stage(self, images: Sequence[Image]) -> None:
        """Attach images to the next question, and show their tokens. Ctrl-C while they are counted attaches none."""
        from pixtral_cli.terminal.repl import attachments

        self.begin()
        before = {image.key for image in self.conversation.staged}
        for image in images:
            self.conversation.stage(image)
        numbers = self.numbers
        try:
            cost, each = self.measure()
        except KeyboardInterrupt:
            for key in {image.key for image in images} - before:
                self.conversation.drop(numbers[key])
            raise
        for image in images:
            if picture := self.thumbnail(image, self.settings.get("preview", "on")):
                self.notes.draw(picture)
            self.notes.rows([attachments.image_row(numbers[image.key], image, each.get(image.key))])
            for note in image.notes:
                self.notes.say(f"   {note}")
        if cost:
            self.notes.say(attachments.context_left_text(cost))
