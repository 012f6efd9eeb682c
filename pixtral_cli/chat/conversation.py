"""A conversation: the sole owner of its history and of the numbers of its images. Leaves answering to an engine, keeping to a store."""

import re
from collections.abc import Generator, Sequence
from typing import Protocol

from pixtral_cli.chat.engine import Chunk, Engine, Sampling
from pixtral_cli.chat.message import Message, Part, assistant, system
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Box

IMAGE_REF = re.compile(r"(?<![\w#&/\\])#(\d{1,4})(?!\w)")
ESCAPED_REF = re.compile(r"\\(#\d{1,4})(?!\w)")


class Store(Protocol):
    """Where a conversation is kept. A method returns when its change is durable; one that cannot be says so elsewhere and returns."""

    def keep(self, messages: Sequence[Message]) -> None:
        """This is all that was said, without the system prompt; a user's message at the end has no answer yet."""
        ...

    def instruct(self, text: str | None) -> None:
        """The system prompt is now `text`."""
        ...

    def renew(self) -> None:
        """Keep what there is as it is; what follows is a new conversation."""
        ...


class Conversation:
    """What was said, in order. The history holds whole turns: a question that got no answer stands in `unanswered`.

    Images are numbered from 1 in the order in which they were first attached, equal pixels once: those of the history,
    of the unanswered question, then those staged. So the numbers follow from the history and survive saving.
    """

    def __init__(self, system: str | None = None, messages: Sequence[Message] = (), store: Store | None = None) -> None:
        said = list(messages)
        while said and said[0].role == "system":
            system = system or said[0].text
            del said[0]
        self.unanswered = said.pop() if said and said[-1].role == "user" else None
        self.turns: tuple[Message, ...] = tuple(said)
        self.staged: tuple[Image, ...] = ()
        self._system = system
        self._store = store

    @property
    def system(self) -> str | None:
        """The system prompt; setting it holds for the answers to come."""
        return self._system

    @system.setter
    def system(self, text: str | None) -> None:
        self._system = text or None
        if self._store:
            self._store.instruct(self._system)

    @property
    def messages(self) -> tuple[Message, ...]:
        """What an engine is handed: the system prompt, if any, and the history."""
        return (*self._prompt(), *self.turns)

    # Answers

    def ask(
        self,
        engine: Engine,
        said: str | Sequence[Part],
        images: Sequence[Image] = (),
        sampling: Sampling | None = None,
    ) -> Generator[Chunk, None, None]:
        """Ask, and yield the answer as it comes. `images` precede what is said.

        The question is stored before the engine starts, the answer before its last chunk is yielded. Closed, or failing
        in the middle, the part there is becomes an interrupted answer; before the first text the history stays as it
        was and the question is in `unanswered`. Close the iterator (`contextlib.closing`) to stop.
        """
        question = Message("user", (*images, *_parts(said)))
        yield from self._answer(engine, self.turns, question, sampling)

    def regenerate(self, engine: Engine, sampling: Sampling | None = None) -> Generator[Chunk, None, None]:
        """Answer the last question again, or the unanswered one. The old answer stays until the new one begins."""
        if self.unanswered:
            yield from self._answer(engine, self.turns, self.unanswered, sampling)
        else:
            base = self.turns[: self._last_question()]
            yield from self._answer(engine, base, self.turns[len(base)], sampling)

    def edit(
        self, engine: Engine, said: str | Sequence[Part], sampling: Sampling | None = None
    ) -> Generator[Chunk, None, None]:
        """Ask this in place of the last question, which stays with its answer until the new answer begins."""
        base = self.turns if self.unanswered else self.turns[: self._last_question()]
        yield from self._answer(engine, base, Message("user", tuple(_parts(said))), sampling)

    def _answer(
        self, engine: Engine, base: tuple[Message, ...], question: Message, sampling: Sampling | None
    ) -> Generator[Chunk, None, None]:
        if question not in self.turns[len(base) :]:
            self.unanswered = question
            self._keep()
        pieces: list[str] = []
        recorded = False
        stream = engine.stream((*self._prompt(), *base, question), sampling or Sampling())
        try:
            for chunk in stream:
                pieces.append(chunk.text)
                if chunk.finish_reason:
                    recorded = True
                    self._record(base, question, "".join(pieces), chunk.finish_reason == "interrupted")
                yield chunk
        finally:
            if close := getattr(stream, "close", None):
                close()
            if not recorded and any(pieces):
                self._record(base, question, "".join(pieces), interrupted=True)

    def _record(self, base: tuple[Message, ...], question: Message, text: str, interrupted: bool) -> None:
        self.turns = (*base, question, assistant(text, interrupted=interrupted))
        self.unanswered = None
        sent = {image.key for image in question.images}
        self.staged = tuple(image for image in self.staged if image.key not in sent)
        self._keep()

    # History

    def undo(self) -> tuple[Part, ...]:
        """Take back the unanswered question, or the last one with its answer; returns the question's parts."""
        if self.unanswered:
            question, self.unanswered = self.unanswered, None
        else:
            last = self._last_question()
            question, self.turns = self.turns[last], self.turns[:last]
        self._keep()
        return question.parts

    def clear(self) -> None:
        """Start anew under the same system prompt. What was stored stays stored as a conversation of its own."""
        self.turns, self.unanswered, self.staged = (), None, ()
        if self._store:
            self._store.renew()
            self._store.instruct(self._system)

    def _last_question(self) -> int:
        for position in reversed(range(len(self.turns))):
            if self.turns[position].role == "user":
                return position
        raise UsageError("There is no question yet to take back or repeat.")

    # Images

    @property
    def images(self) -> tuple[Image, ...]:
        """Every image of the conversation; number N is at N - 1."""
        found = {image.key: image for message in self._said() for image in message.images}
        for image in self.staged:
            found.setdefault(image.key, image)
        return tuple(found.values())

    def image(self, number: int) -> Image:
        """Image `number`, counted from 1; raises UsageError if there is none."""
        images = self.images
        if not 1 <= number <= len(images):
            there = f"there are {len(images)}" if len(images) > 1 else "there is one" if images else "there is none yet"
            raise UsageError(f"No image #{number}: {there}.", "/images lists them.")
        return images[number - 1]

    def stage(self, image: Image) -> int:
        """Attach an image to the question to come; returns its number."""
        if image.key not in {staged.key for staged in self.staged}:
            self.staged = (*self.staged, image)
        return [known.key for known in self.images].index(image.key) + 1

    def crop(self, number: int, box: Box) -> int:
        """Stage the part `box` of image `number`; returns the number of the part."""
        return self.stage(self.image(number).cropped(box))

    def drop(self, number: int) -> Image:
        """Unstage image `number`, or take it out of the history if it was sent. Higher numbers move down by one."""
        image = self.image(number)
        if image.key in {staged.key for staged in self.staged}:
            self.staged = tuple(staged for staged in self.staged if staged.key != image.key)
        else:
            self._forget(image)
        return image

    def _forget(self, image: Image) -> None:
        if self.unanswered:
            self.unanswered = _without(self.unanswered, image)
        self.turns = tuple(_without(message, image) for message in self.turns)
        self._keep()

    def compose(self, text: str) -> tuple[Part, ...]:
        r"""The question that `text` asks: the staged images, then the text with images where it says #N.

        A staged image named in the text stands there only. `#N` of no image stays text, and `\#N` becomes it.
        """
        images = self.images
        parts: list[Part] = []
        end = 0
        for found in IMAGE_REF.finditer(text):
            if 1 <= (number := int(found[1])) <= len(images):
                parts += [ESCAPED_REF.sub(r"\1", text[end : found.start()]), images[number - 1]]
                end = found.end()
        parts.append(ESCAPED_REF.sub(r"\1", text[end:]))
        placed = {part.key for part in parts if isinstance(part, Image)}
        return (*(image for image in self.staged if image.key not in placed), *(part for part in parts if part))

    def missing(self, text: str) -> tuple[int, ...]:
        """The numbers N that `text` names as #N although there is no such image; `compose` leaves them text."""
        count = len(self.images)
        return tuple(number for found in IMAGE_REF.finditer(text) if not 1 <= (number := int(found[1])) <= count)

    def _prompt(self) -> tuple[Message, ...]:
        return (system(self._system),) if self._system else ()

    def _said(self) -> tuple[Message, ...]:
        return (*self.turns, self.unanswered) if self.unanswered else self.turns

    def _keep(self) -> None:
        if self._store:
            try:
                self._store.keep(self._said())
            except BaseException:  # Ctrl-C: what is on record here must be on disk, for the user is told so
                self._store.keep(self._said())
                raise


def _parts(said: str | Sequence[Part]) -> tuple[Part, ...]:
    return (said,) if isinstance(said, str) else tuple(said)


def _without(message: Message, image: Image) -> Message:
    kept = tuple(part for part in message.parts if isinstance(part, str) or part.key != image.key)
    return message if len(kept) == len(message.parts) else Message(message.role, kept, message.interrupted)
