"""A conversation: its messages, its branches and the numbers of its images."""

from collections import defaultdict
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.engine import Chunk, Engine, Sampling
from pixtral_cli.chat.image_numbers import ImageNumbers, named_numbers, place_numbered
from pixtral_cli.chat.message import Message, Part, assistant, system
from pixtral_cli.chat.tree import MessageTree, Snapshot
from pixtral_cli.errors import ContextError, ImageError, OutOfMemory, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Box

UNANSWERABLE = (ContextError, ImageError, OutOfMemory, UsageError)  # errors of a question, which it will meet again


class Store(Protocol):
    """Storage of a conversation. A method returns when its change is durable; failures are reported elsewhere."""

    def keep(self, snapshot: Snapshot) -> None:
        """This is the conversation now, without the system prompt."""
        ...

    def set_system(self, text: str | None) -> None:
        """The system prompt is now `text`."""
        ...

    def start_new(self) -> None:
        """Keep what there is as it is; what follows is a new conversation."""
        ...


@dataclass(frozen=True, slots=True)
class Version:
    """One try of a turn: a question with one of its answers, or without any. `current`: it is on the branch shown."""

    number: int
    question: Message
    answer: Message | None
    current: bool


class Conversation:
    """A tree of messages, of which one branch is shown: `history`. A new try adds a branch and removes nothing.

    A question that got no answer is the last of the history: `unanswered`. What is asked after one that was stopped goes
    to the engine together with it; one whose answer failed with an error is left on a branch of its own. The calls of
    tools that were run for an answer are part of it; engines are given them as messages of their own.
    Images are numbered from 1 in the order in which they were first attached, equal pixels once. A number is never given
    to another image.
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
        self._undone: list[int] = []  # the heads that `undo` left
        self.staged: tuple[Image, ...] = snapshot.staged
        self._numbers = ImageNumbers(snapshot.image_keys)
        for image in (*(image for node in snapshot.nodes for image in node.message.all_images), *snapshot.staged):
            self._numbers.number(image)

    def snapshot(self) -> Snapshot:
        """All of it, as a store keeps it."""
        return Snapshot(tuple(self._tree.nodes), self._tree.head, self.staged, self._numbers.keys)

    @property
    def system(self) -> str | None:
        """The system prompt; setting it holds for the answers to come.

        None leaves it to the model's vendor, "" has none at all.
        """
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
        """The last message, if it is a question."""
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
        """The messages that an engine is given when this is asked."""
        return _merged((*self._system_messages(), *self._messages_to(self._parent_of_next()), question))

    # Answers

    def ask(
        self,
        engine: Engine,
        content: str | Sequence[Part],
        images: Sequence[Image] = (),
        sampling: Sampling | None = None,
    ) -> Generator[Chunk, None, None]:
        """Ask, and yield the answer as it comes. `images` precede the content.

        The question is stored before the engine starts, the answer before its last chunk is yielded. Closed, or failing
        in the middle, the part there is becomes an interrupted answer; before the first text or thought the question is
        `unanswered`. Close the iterator (`contextlib.closing`) to stop.
        """
        question = Message("user", (*images, *_parts(content)))
        if question == self.unanswered:
            yield from self.regenerate(engine, sampling)
        else:
            yield from self._ask(engine, question, self._parent_of_next(), sampling)

    def regenerate(self, engine: Engine, sampling: Sampling | None = None) -> Generator[Chunk, None, None]:
        """Answer the last question again. A finished answer stays the one shown until the new one is whole."""
        yield from self._answer(engine, self._last_question(), sampling)

    def edit(
        self, engine: Engine, content: str | Sequence[Part], sampling: Sampling | None = None
    ) -> Generator[Chunk, None, None]:
        """Ask this at the place of the last question, which stays with its answers as another version."""
        parent = self._tree.nodes[self._last_question()].parent
        yield from self._ask(engine, Message("user", tuple(_parts(content))), parent, sampling)

    def _ask(
        self, engine: Engine, question: Message, parent: int | None, sampling: Sampling | None
    ) -> Generator[Chunk, None, None]:
        self._tree.head = index = self._tree.add(question, parent)
        self._undone.clear()
        for image in question.images:
            self._numbers.number(image)
        self._keep()
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
        except UNANSWERABLE:
            if not pieces and not self._tree.children(question):
                self._tree.change(question, failed=True)
                self._keep()
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
        """Add an answer. It is shown, unless it was cut short and a finished one is there.

        `failed`: what its tools gave made an error that would come again; it is left on a branch of its own.
        `beside`: it is a further one of several answers, of which the first is shown.
        """
        text, reasoning = "".join(piece.text for piece in pieces), "".join(piece.reasoning for piece in pieces)
        rounds = tuple(piece.round for piece in pieces if piece.round)
        message = assistant(text, interrupted=interrupted, reasoning=reasoning, rounds=rounds)
        for image in message.all_images:
            self._numbers.number(image)
        answer = self._tree.add(message, question)
        self._tree.change(answer, failed=failed)
        shown = self._tree.nodes[self._tree.head] if self._tree.head is not None else None
        finished = shown and shown.message.role == "assistant" and not shown.message.interrupted
        if not (interrupted and finished) and not (beside and self._tree.head != question):
            self._tree.head = answer
        self._undone.clear()
        self._tree.change(question, failed=False)
        sent = {image.key for image in self._tree.nodes[question].message.images}
        self.staged = tuple(image for image in self.staged if image.key not in sent)
        self._keep()

    def _parent_of_next(self) -> int | None:
        """The node that the next question follows: the head, or what is before the turn that failed at the head."""
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
        """Show the conversation as it was before the last question; returns the question's parts. `redo` brings it back."""
        question = self._tree.nodes[self._last_question()]
        assert self._tree.head is not None
        self._undone.append(self._tree.head)
        self._tree.head = question.parent
        self._keep()
        return question.message.parts

    def redo(self) -> tuple[Part, ...]:
        """Take back the last `undo`, or show the newest turn that follows; returns its question's parts. Raises UsageError."""
        before = self._tree.head
        if self._undone:
            self._tree.head = self._undone.pop()
        elif after := self._tree.children(before):
            answers = self._tree.children(after[-1])
            self._tree.head = answers[-1] if answers else after[-1]
        else:
            others = self._tree.questions() and len(self.versions()) > 1
            raise (
                UsageError(
                    "There is nothing to bring back",
                    "What was undone before this question is a version of it: /versions",
                )
                if others
                else UsageError("There is nothing to bring back.")
            )
        shown = {image.key for message in self.history for image in message.all_images}
        self.staged = tuple(image for image in self.staged if image.key not in shown)
        self._keep()
        return self._tree.nodes[self._last_question()].message.parts

    def versions(self, turn: int | None = None) -> tuple[Version, ...]:
        """Every try of a turn in the order they were made; the last turn unless another is named, counted from 1."""
        shown = set(self._tree.path(self._tree.head))
        return tuple(
            Version(
                number, self._tree.nodes[question].message,
                None if answer is None else self._tree.nodes[answer].message,
                question in shown and (answer is None or answer in shown),
            )
            for number, (question, answer) in enumerate(self._tree.tries(self._question(turn)), 1)
        )  # fmt: skip

    def select(self, number: int, turn: int | None = None) -> None:
        """Show version `number` of a turn and what followed it, at every fork the newest. Raises UsageError."""
        tries = self._tree.tries(self._question(turn))
        if not 1 <= number <= len(tries):
            existing = f"there are {len(tries)}" if len(tries) > 1 else "there is one"
            raise UsageError(f"No version {number}: {existing}.", "/versions lists them.")
        question, answer = tries[number - 1]
        target = question if answer is None else answer
        if target not in self._tree.path(self._tree.head):
            self._tree.head = self._tree.newest_leaf(target)
            self._undone.clear()
            self._keep()

    @property
    def branch(self) -> tuple[int, int]:
        """Which branch is shown, counted from 1 in the order in which they began, and how many there are."""
        return self._tree.branch()

    def clear(self) -> None:
        """Start anew under the same system prompt. What was stored stays stored as a conversation of its own."""
        self._restore(Snapshot())
        if self._store:
            self._store.start_new()
            self._store.set_system(self._system)

    def _question(self, turn: int | None) -> int:
        questions = self._tree.questions()
        if turn is None or not questions:
            return self._last_question()
        if not 1 <= turn <= len(questions):
            raise UsageError(f"No question {turn}: there are {len(questions)}.")
        return questions[turn - 1]

    def _last_question(self) -> int:
        if questions := self._tree.questions():
            return questions[-1]
        raise UsageError("There is no question yet to take back or repeat", "Ask something first")

    # Images

    @property
    def numbered(self) -> dict[int, Image]:
        """The images of the branch shown and those staged, by their numbers in order."""
        numbered = {self._numbers.number(image): image for image in reversed(self.staged)}
        numbered |= {
            self._numbers.number(image): image
            for message in reversed(self.history)
            for image in reversed(message.all_images)
        }
        return dict(sorted(numbered.items()))

    @property
    def images(self) -> tuple[Image, ...]:
        """The images of the branch shown and those staged, in the order of their numbers."""
        return tuple(self.numbered.values())

    def image(self, number: int) -> Image:
        """Image `number`; raises UsageError if there is none."""
        images = self.numbered
        if number in images:
            return images[number]
        existing = f"there are {len(images)}" if len(images) > 1 else "there is one" if images else "there is none yet"
        if 1 <= number <= len(self._numbers.keys):
            existing = "it was dropped, or belongs to another version"
        raise UsageError(f"No image #{number}: {existing}.", "/images lists them.")

    def stage(self, image: Image) -> int:
        """Attach an image to the question to come; returns its number."""
        if image.key not in {staged.key for staged in self.staged}:
            self.staged = (*self.staged, image)
            self._numbers.number(image)
            self._keep()
        return self._numbers.number(image)

    def crop(self, number: int, box: Box) -> int:
        """Stage the part `box` of image `number`; returns the number of the part."""
        return self.stage(self.image(number).cropped(box))

    def times_sent(self, number: int) -> int:
        """Of how many messages, in all branches, `drop` would take image `number`; 0 where it would unstage it."""
        key = self.image(number).key
        if key in {staged.key for staged in self.staged}:
            return 0
        return sum(key in {image.key for image in node.message.all_images} for node in self._tree.nodes)

    def drop(self, number: int) -> Image:
        """Unstage image `number`, or take it out of all messages if it was sent. The other numbers stay."""
        image = self.image(number)
        if image.key in {staged.key for staged in self.staged}:
            self.staged = tuple(staged for staged in self.staged if staged.key != image.key)
            self._keep()
        else:
            for index, node in enumerate(self._tree.nodes):
                self._tree.change(index, _without(node.message, image))
            self._keep()
        return image

    def compose(self, text: str) -> tuple[Part, ...]:
        r"""The question that `text` asks: the staged images, then the text with images where it says #N.

        A staged image named in the text is placed there only. `#N` of no image stays text, and `\#N` becomes `#N`.
        """
        return place_numbered(text, self.numbered, self.staged)

    def missing(self, text: str, coming: Sequence[Image] = ()) -> tuple[int, ...]:
        """The numbers N that `text` names as #N although there is no such image, also once those `coming` are staged."""
        known = {*self.numbered, *self._numbers.coming(coming)}
        return tuple(number for number in named_numbers(text) if number not in known)

    # Keeping

    def _keep(self) -> None:
        if self._store:
            try:
                self._store.keep(self.snapshot())
            except BaseException:  # Ctrl-C: what is recorded here must be on disk too
                self._store.keep(self.snapshot())
                raise


def _parts(content: str | Sequence[Part]) -> tuple[Part, ...]:
    return (content,) if isinstance(content, str) else tuple(content)


def _merged(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Questions that follow one another as one, with a blank line between: models know nothing but turns."""
    result: list[Message] = []
    for message in messages:
        if result and message.role == "user" == result[-1].role:
            message = Message("user", (*result.pop().parts, "\n\n", *message.parts))
        result.append(message)
    return tuple(result)


def _without(message: Message, image: Image) -> Message:
    if image.key not in {each.key for each in message.all_images}:
        return message
    kept = tuple(part for part in message.parts if isinstance(part, str) or part.key != image.key)
    return replace(message, parts=kept, rounds=tool_rounds.without(message.rounds, image))
