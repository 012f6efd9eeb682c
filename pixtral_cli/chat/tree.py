"""The messages of a conversation as a tree: every version of a turn is a branch, and the head is the end of the shown one."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from pixtral_cli.chat.message import Message
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image


@dataclass(frozen=True, slots=True)
class Node:
    """A message and the index of the one it follows, None for a first one. `failed`: a question whose answer raised an error."""

    message: Message
    parent: int | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a turn: a question and one of its answers, if it has any. `current`: it is on the branch shown."""

    number: int
    question: Message
    answer: Message | None
    current: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of a conversation, without its system prompt, as a store saves it.

    `head` is the index of the last message shown, None before the first. `staged` are the images attached to the next
    question; `image_keys` are the keys of all images the conversation ever had, that of number N at index N - 1.
    """

    nodes: tuple[Node, ...] = ()
    head: int | None = None
    staged: tuple[Image, ...] = ()
    image_keys: tuple[str, ...] = ()

    @classmethod
    def linear(cls, messages: Iterable[Message]) -> "Snapshot":
        """A conversation without branches."""
        nodes = tuple(Node(message, number - 1 if number else None) for number, message in enumerate(messages))
        return cls(nodes, len(nodes) - 1 if nodes else None)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the branch that is shown."""
        return MessageTree(list(self.nodes), self.head).messages()

    @property
    def branch(self) -> tuple[int, int]:
        """Which branch is shown, counted from 1 in the order in which they began, and how many there are."""
        return MessageTree(list(self.nodes), self.head).branch()

    def on_branch(self, number: int) -> "Snapshot":
        """The same conversation with branch `number` shown to its end. Raises UsageError when there is no such branch."""
        leaves = MessageTree(list(self.nodes)).leaves()
        if not 1 <= number <= len(leaves):
            existing = f"there are {len(leaves)}" if len(leaves) > 1 else "there is one"
            raise UsageError(f"There is no branch {number}: {existing}", "Give a number from 1 on")
        return replace(self, head=leaves[number - 1])


@dataclass
class MessageTree:
    """Nodes in the order in which they were added, each after its parent. `head` is the index of the last one shown.

    Turns are counted from 1. What takes back, repeats or chooses a turn raises UsageError when there is no such turn.
    """

    nodes: list[Node] = field(default_factory=list)
    head: int | None = None
    _undone: list[int] = field(default_factory=list)  # the heads that `undo` left, the newest last

    def add(self, message: Message, parent: int | None) -> int:
        """Append a message that follows `parent`; returns its index. The head does not move."""
        self.nodes.append(Node(message, parent))
        return len(self.nodes) - 1

    def change(self, index: int, message: Message | None = None, *, failed: bool | None = None) -> None:
        """Replace a node's message or its mark `failed`; None leaves it as it is."""
        node = self.nodes[index]
        changed = replace(node, message=message or node.message, failed=node.failed if failed is None else failed)
        if changed != node:
            self.nodes[index] = changed

    def path(self, end: int | None) -> list[int]:
        """The indices of the messages from the first one to `end`."""
        return list(self._ancestors(end))[::-1]

    def _ancestors(self, index: int | None) -> Iterator[int]:
        while index is not None:
            yield index
            index = self.nodes[index].parent

    def messages(self) -> tuple[Message, ...]:
        """The messages of the branch that is shown."""
        return tuple(self.nodes[index].message for index in self.path(self.head))

    def children(self, parent: int | None) -> list[int]:
        """The children of a message, the oldest first."""
        return [index for index, node in enumerate(self.nodes) if node.parent == parent]

    def newest_leaf(self, index: int) -> int:
        """The end of the branch that continues from a message; at every fork the newest child is taken."""
        while children := self.children(index):
            index = children[-1]
        return index

    def questions(self) -> list[int]:
        """The indices of the user's messages on the branch that is shown."""
        return [index for index in self.path(self.head) if self.nodes[index].message.role == "user"]

    def tries(self, question: int) -> list[tuple[int, int | None]]:
        """(question, answer) of every version of a turn in the order they were made; answer None for a question without one."""
        versions: list[tuple[int, int | None]] = []
        for index in self.children(self.nodes[question].parent):
            if self.nodes[index].message.role == "user":
                answers = [child for child in self.children(index) if self.nodes[child].message.role == "assistant"]
                versions += [(index, answer) for answer in answers] or [(index, None)]
        return sorted(versions, key=lambda pair: pair[0] if pair[1] is None else pair[1])

    def last_question(self) -> int:
        """The index of the last question on the branch that is shown."""
        if questions := self.questions():
            return questions[-1]
        raise UsageError("There is no question yet", "Ask something first")

    def show(self, index: int | None) -> None:
        """Make a message the last one shown. `redo` then has nothing to take back."""
        self.head = index
        self._undone.clear()

    def undo(self) -> Message:
        """Show the conversation as it was before the last question; returns the question."""
        question = self.nodes[self.last_question()]
        assert self.head is not None
        self._undone.append(self.head)
        self.head = question.parent
        return question.message

    def redo(self) -> None:
        """Take back the last `undo`, or show the newest turn that follows the head."""
        if self._undone:
            self.head = self._undone.pop()
        elif following := self.children(self.head):
            answers = self.children(following[-1])
            self.head = answers[-1] if answers else following[-1]
        elif self.questions() and len(self.versions()) > 1:
            raise UsageError(
                "There is nothing to bring back", "What was undone before this question is a version of it: /versions"
            )
        else:
            raise UsageError("There is nothing to bring back.")

    def versions(self, turn: int | None = None) -> tuple[Version, ...]:
        """Every version of a turn in the order they were made; of the last turn by default."""
        shown = set(self.path(self.head))
        return tuple(
            Version(
                number, self.nodes[question].message, None if answer is None else self.nodes[answer].message,
                question in shown and (answer is None or answer in shown),
            )
            for number, (question, answer) in enumerate(self.tries(self._question(turn)), 1)
        )  # fmt: skip

    def select(self, number: int, turn: int | None = None) -> bool:
        """Show version `number` of a turn and what follows it, at every fork the newest; False if it is shown already."""
        tries = self.tries(self._question(turn))
        if not 1 <= number <= len(tries):
            existing = f"there are {len(tries)}" if len(tries) > 1 else "there is one"
            raise UsageError(f"No version {number}: {existing}.", "/versions lists them.")
        question, answer = tries[number - 1]
        target = question if answer is None else answer
        if target in self.path(self.head):
            return False
        self.show(self.newest_leaf(target))
        return True

    def _question(self, turn: int | None) -> int:
        questions = self.questions()
        if turn is None or not questions:
            return self.last_question()
        if not 1 <= turn <= len(questions):
            raise UsageError(f"No question {turn}: there are {len(questions)}.")
        return questions[turn - 1]

    def leaves(self) -> list[int]:
        """The indices of the last messages of all branches, in the order in which they were added."""
        parents = {node.parent for node in self.nodes}
        return [index for index in range(len(self.nodes)) if index not in parents]

    def branch(self) -> tuple[int, int]:
        """See `Snapshot.branch`; a head with messages after it counts as the newest branch that continues from it."""
        leaves = self.leaves()
        if self.head is None:
            return min(1, len(leaves)), len(leaves)
        return leaves.index(self.newest_leaf(self.head)) + 1, len(leaves)
