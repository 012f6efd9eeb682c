"""A conversation: its messages, its branches and its images, saved to a store at every change."""

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.engine import Chunk, Engine, Sampling
from pixtral_cli.chat.image_numbers import ConversationImages, place_numbered, unknown_numbers
from pixtral_cli.chat.message import Message, Part, assistant, system
from pixtral_cli.chat.tree import MessageTree, Snapshot, Version
from pixtral_cli.errors import ContextError, ImageError, OutOfMemory, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Box

QUESTION_ERRORS = (ContextError, ImageError, OutOfMemory, UsageError)  # the same question would raise them again


class Store(Protocol):
    """Storage of one conversation. A method returns when its change is durable; it reports failures by other means."""

    def update(self, snapshot: Snapshot) -> None:
        """Save the state of the conversation, all but its system prompt."""
        ...

    def set_system(self, text: str | None) -> None:
        """Save the system prompt."""
        ...

    def start_new(self) -> None:
        """Leave the stored conversation as it is: what is saved from now on is a new one."""
        ...


class Conversation:
    """A tree of messages, of which one branch is shown: `history`. A new version of a turn adds a branch and removes nothing.

    A question without an answer is the last message of the history: `unanswered`. If its answer was stopped, the next
    question is sent to the engine together with it; if its answer raised one of QUESTION_ERRORS, the next question
    takes its place on another branch. Images are numbered from 1 in the order in which they were first attached; images
    of equal pixels share a number, and a number is never given to another image. The tool calls
    that were run for an answer are part of it; engines are given them as separate messages.
    """

    def __init__(
        self,
        system: str | None = None,
        messages: Iterable[Message] = (),
        store: Store | None = None,
        *,
        snapshot: Snapshot | None = None,
    ) -> None:
        remaining = list(messages)
        while remaining and remaining[0].role == "system":
            system = remaining[0].text if system is None else system
            del remaining[0]
        self._restore(snapshot or Snapshot.linear(remaining))
        self._system = system
        self._store = store

    def _restore(self, snapshot: Snapshot) -> None:
        self._tree = MessageTree(list(snapshot.nodes), snapshot.head)
        self._images = ConversationImages(snapshot.staged, snapshot.image_keys)
        for image in (*(image for node in snapshot.nodes for image in node.message.all_images), *snapshot.staged):
            self._images.numbers.number(image)

    def snapshot(self) -> Snapshot:
        """Its state, as a store saves it."""
        return Snapshot(tuple(self._tree.nodes), self._tree.head, self.staged, self._images.numbers.keys)

    @property
    def system(self) -> str | None:
        """The system prompt of the next answers: None is the model vendor's own, "" is none at all."""
        return self._system

    @system.setter
    def system(self, text: str | None) -> None:
        self._system = text
        if self._store:
            self._store.set_system(self._system)

    @property
    def history(self) -> tuple[Message, ...]:
        """The messages of the branch shown, without the system prompt."""
        return self._tree.messages()

    @property
    def unanswered(self) -> Message | None:
        """The last message of the history, if it is a question."""
        last = self.history[-1:]
        return last[0] if last and last[0].role == "user" else None

    @property
    def turns(self) -> tuple[Message, ...]:
        """The history without the unanswered question."""
        return self.history[:-1] if self.unanswered else self.history

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages before the next question: the system prompt, if any, and the history."""
        return self._request(self._parent_of_next())

    def messages_with(self, question: Message) -> tuple[Message, ...]:
        """The messages that an engine is given when `question` is asked next."""
        return _merged((*self._system_messages(), *self._messages_to(self._parent_of_next()), question))

    # Answers

    def ask(
        self,
        engine: Engine,
        content: str | Sequence[Part],
        images: Sequence[Image] = (),
        sampling: Sampling | None = None,
    ) -> Generator[Chunk, None, None]:
        """Ask, and yield the answer as it is generated. `images` precede the content.

        The question is stored before the engine starts, the answer before its last chunk is yielded. If the iterator is
        closed (`contextlib.closing`) or the engine fails, the part received so far is stored as an interrupted answer;
        before the first text or reasoning the question stays `unanswered`.
        """
        question = Message("user", (*images, *_parts(content)))
        if question == self.unanswered:
            yield from self.regenerate(engine, sampling)
        else:
            yield from self._ask(engine, question, self._parent_of_next(), sampling)

    def regenerate(self, engine: Engine, sampling: Sampling | None = None) -> Generator[Chunk, None, None]:
        """Answer the last question again. A finished answer is shown until the new one is complete."""
        yield from self._answer(engine, self._tree.last_question(), sampling)

    def edit(
        self, engine: Engine, content: str | Sequence[Part], sampling: Sampling | None = None
    ) -> Generator[Chunk, None, None]:
        """Ask in place of the last question, which remains with its answers as another version of the turn."""
        parent = self._tree.nodes[self._tree.last_question()].parent
        yield from self._ask(engine, Message("user", tuple(_parts(content))), parent, sampling)

    def _ask(
        self, engine: Engine, question: Message, parent: int | None, sampling: Sampling | None
    ) -> Generator[Chunk, None, None]:
        index = self._tree.add(question, parent)
        self._tree.show(index)
        for image in question.images:
            self._images.numbers.number(image)
        self._save()
        yield from self._answer(engine, index, sampling)

    def _answer(self, engine: Engine, question: int, sampling: Sampling | None) -> Generator[Chunk, None, None]:
        pieces: defaultdict[int, list[Chunk]] = defaultdict(list)  # of answers that are not on record, by their numbers
        try:
            stream = engine.stream(self._request(question), sampling or Sampling())
            try:
                for chunk in stream:
                    if chunk.text or chunk.reasoning or chunk.round:
                        pieces[chunk.index].append(chunk)
                    if chunk.finish_reason:
                        interrupted = chunk.finish_reason == "interrupted"
                        self._record(question, pieces.pop(chunk.index, ()), interrupted, beside=chunk.index > 0)
                    yield chunk
            finally:
                if close := getattr(stream, "close", None):
                    close()
        except QUESTION_ERRORS:
            if not pieces and not self._tree.children(question):
                self._tree.change(question, failed=True)
                self._save()
            if any(piece.round for piece in pieces[0]):
                self._record(question, pieces.pop(0), interrupted=True, failed=True)
            raise
        finally:
            for index, left in pieces.items():
                if left:
                    self._record(question, left, interrupted=True, beside=index > 0)

    def _record(
        self, question: int, pieces: Sequence[Chunk], interrupted: bool, *, failed: bool = False, beside: bool = False
    ) -> None:
        """Add an answer and show it, unless it was interrupted while a finished one is shown.

        `failed`: the results of its tools raised one of QUESTION_ERRORS; the next question takes its place.
        `beside`: it is not the first of several answers, which is the one shown.
        """
        text, reasoning = "".join(piece.text for piece in pieces), "".join(piece.reasoning for piece in pieces)
        rounds = tuple(piece.round for piece in pieces if piece.round)
        message = assistant(text, interrupted=interrupted, reasoning=reasoning, rounds=rounds)
        for image in message.all_images:
            self._images.numbers.number(image)
        answer = self._tree.add(message, question)
        self._tree.change(answer, failed=failed)
        shown = self._tree.nodes[self._tree.head] if self._tree.head is not None else None
        finished = shown and shown.message.role == "assistant" and not shown.message.interrupted
        keeps_head = (interrupted and finished) or (beside and self._tree.head != question)
        self._tree.show(self._tree.head if keeps_head else answer)
        self._tree.change(question, failed=False)
        self._images.unstage(self._tree.nodes[question].message.images)
        self._save()

    def _parent_of_next(self) -> int | None:
        """The node that the next question follows: the head, or the one before a failed turn at the head."""
        head = self._tree.head
        if head is None or not self._tree.nodes[head].failed:
            return head
        question = self._tree.path(head)[-2] if self._tree.nodes[head].message.role == "assistant" else head
        return self._tree.nodes[question].parent

    def _request(self, end: int | None) -> tuple[Message, ...]:
        return _merged((*self._system_messages(), *self._messages_to(end)))

    def _messages_to(self, end: int | None) -> list[Message]:
        """The messages as an engine is given them."""
        return tool_rounds.for_engine(self._tree.nodes[index].message for index in self._tree.path(end))

    def _system_messages(self) -> tuple[Message, ...]:
        return () if self._system is None else (system(self._system),)

    # History

    def undo(self) -> tuple[Part, ...]:
        """Show the conversation as it was before the last question; returns the question's parts. Raises UsageError."""
        question = self._tree.undo()
        self._save()
        return question.parts

    def redo(self) -> tuple[Part, ...]:
        """Take back the last `undo`, or show the newest turn that follows; returns its question's parts. Raises UsageError."""
        self._tree.redo()
        self._images.unstage(image for message in self.history for image in message.all_images)
        self._save()
        return self._tree.nodes[self._tree.last_question()].message.parts

    def versions(self, turn: int | None = None) -> tuple[Version, ...]:
        """Every version of a turn in the order they were made; of the last turn unless one is given, counted from 1."""
        return self._tree.versions(turn)

    def select(self, number: int, turn: int | None = None) -> None:
        """Show version `number` of a turn and what follows it, at every fork the newest. Raises UsageError."""
        if self._tree.select(number, turn):
            self._save()

    @property
    def branch(self) -> tuple[int, int]:
        """Which branch is shown, counted from 1 in the order in which they began, and how many there are."""
        return self._tree.branch()

    def clear(self) -> None:
        """Start a new conversation with the same system prompt. What was stored stays stored."""
        self._restore(Snapshot())
        if self._store:
            self._store.start_new()
            self._store.set_system(self._system)

    # Images

    @property
    def staged(self) -> tuple[Image, ...]:
        """The images attached to the next question, in order."""
        return self._images.staged

    @property
    def numbered(self) -> dict[int, Image]:
        """The images of the branch that is shown and the staged ones, by number in ascending order."""
        return self._images.numbered(self.history)

    @property
    def images(self) -> tuple[Image, ...]:
        """The images of the branch that is shown and the staged ones, in the order of their numbers."""
        return tuple(self.numbered.values())

    def image(self, number: int) -> Image:
        """Image `number`. Raises UsageError if there is none."""
        return self._images.find(number, self.history)

    def stage(self, image: Image) -> int:
        """Attach an image to the next question; returns its number."""
        if self._images.stage(image):
            self._save()
        return self._images.numbers.number(image)

    def crop(self, number: int, box: Box) -> int:
        """Stage the part of image `number` within `box`; returns the number of the part."""
        return self.stage(self.image(number).cropped(box))

    def times_sent(self, number: int) -> int:
        """The number of messages, over all branches, from which `drop` would remove image `number`; 0 if it is staged."""
        image = self.image(number)
        if self._images.is_staged(image):
            return 0
        return sum(image.key in {sent.key for sent in node.message.all_images} for node in self._tree.nodes)

    def drop(self, number: int) -> Image:
        """Unstage image `number`, or remove it from all messages if it was sent. The other images keep their numbers."""
        image = self.image(number)
        if self._images.is_staged(image):
            self._images.unstage([image])
        else:
            for index, node in enumerate(self._tree.nodes):
                self._tree.change(index, _without(node.message, image))
        self._save()
        return image

    def compose(self, text: str) -> tuple[Part, ...]:
        r"""The parts of the question `text`: the staged images that it does not name, then the text with each #N replaced.

        `#N` stays text where there is no image N; `\#N` is the text `#N`.
        """
        return place_numbered(text, self.numbered, self.staged)

    def upcoming_numbers(self, upcoming: Sequence[Image]) -> set[int]:
        """The numbers that these images will have once they are staged."""
        return self._images.numbers.prospective(upcoming)

    def missing(self, text: str, upcoming: Sequence[Image] = ()) -> tuple[int, ...]:
        """The numbers N of references #N in the text to no image, nor to one of `upcoming`, which are staged before it is sent."""
        return unknown_numbers(text, {*self.numbered, *self.upcoming_numbers(upcoming)})

    def _save(self) -> None:
        if self._store:
            try:
                self._store.update(self.snapshot())
            except BaseException:  # Ctrl-C: what is recorded here must be on disk too
                self._store.update(self.snapshot())
                raise


def _parts(content: str | Sequence[Part]) -> tuple[Part, ...]:
    return (content,) if isinstance(content, str) else tuple(content)


def _merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages with consecutive questions joined by a blank line: chat templates want the roles to alternate."""
    result: list[Message] = []
    for message in messages:
        if result and message.role == "user" == result[-1].role:
            message = Message("user", (*result.pop().parts, "\n\n", *message.parts))
        result.append(message)
    return tuple(result)


def _without(message: Message, image: Image) -> Message:
    """The message without an image, wherever it is in it."""
    if image.key not in {other.key for other in message.all_images}:
        return message
    kept = tuple(part for part in message.parts if isinstance(part, str) or part.key != image.key)
    return replace(message, parts=kept, rounds=tool_rounds.without(message.rounds, image))
