"""The messages of a conversation as a tree: every try is a branch, the head says which one is shown, nothing is removed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from pixtral_cli.chat.message import Message
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image


@dataclass(frozen=True, slots=True)
class Node:
    """A message and the index of the one it follows, None for a first one. `failed`: its question ended in an error."""

    message: Message
    parent: int | None = None
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a store keeps of a conversation besides its system prompt.

    `head` is the index of the last message shown, None before the first. `image_keys` are the keys of all images there
    ever were, number N at N - 1; `staged` are those attached to the question to come.
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
        """The same conversation with that branch shown, whole. Raises UsageError when there is none of that number."""
        leaves = MessageTree(list(self.nodes)).leaves()
        if not 1 <= number <= len(leaves):
            existing = f"there are {len(leaves)}" if len(leaves) > 1 else "there is one"
            raise UsageError(f"There is no branch {number}: {existing}", "Give a number from 1 on")
        return replace(self, head=leaves[number - 1])


@dataclass
class MessageTree:
    """Nodes in the order in which they were added, each after its parent; `head` is the end of the branch shown."""

    nodes: list[Node] = field(default_factory=list)
    head: int | None = None

    def add(self, message: Message, parent: int | None) -> int:
        """Append a message after `parent`; returns its index. The head stays."""
        self.nodes.append(Node(message, parent))
        return len(self.nodes) - 1

    def change(self, index: int, message: Message | None = None, *, failed: bool | None = None) -> None:
        node = self.nodes[index]
        changed = replace(node, message=message or node.message, failed=node.failed if failed is None else failed)
        if changed != node:
            self.nodes[index] = changed

    def path(self, end: int | None) -> list[int]:
        """The indices from a first message to `end`."""
        return list(self._up(end))[::-1]

    def _up(self, index: int | None) -> Iterator[int]:
        while index is not None:
            yield index
            index = self.nodes[index].parent

    def messages(self) -> tuple[Message, ...]:
        """The branch shown."""
        return tuple(self.nodes[index].message for index in self.path(self.head))

    def children(self, parent: int | None) -> list[int]:
        """The children of a message, the oldest first."""
        return [index for index, node in enumerate(self.nodes) if node.parent == parent]

    def newest_leaf(self, index: int) -> int:
        """The end of the branch that goes on from a message, at every fork by the newest try."""
        while children := self.children(index):
            index = children[-1]
        return index

    def questions(self) -> list[int]:
        """The user's messages of the branch shown."""
        return [index for index in self.path(self.head) if self.nodes[index].message.role == "user"]

    def tries(self, question: int) -> list[tuple[int, int | None]]:
        """All questions asked at this place, each with each of its answers (or None), in the order they were made."""
        turns: list[tuple[int, int | None]] = []
        for index in self.children(self.nodes[question].parent):
            if self.nodes[index].message.role == "user":
                answers = [one for one in self.children(index) if self.nodes[one].message.role == "assistant"]
                turns += [(index, answer) for answer in answers] or [(index, None)]
        return sorted(turns, key=lambda pair: pair[0] if pair[1] is None else pair[1])

    def leaves(self) -> list[int]:
        """The last messages of all branches, in the order in which they were added."""
        parents = {node.parent for node in self.nodes}
        return [index for index in range(len(self.nodes)) if index not in parents]

    def branch(self) -> tuple[int, int]:
        """See `Snapshot.branch`; a head with messages after it counts as the newest branch that goes on from there."""
        leaves = self.leaves()
        if self.head is None:
            return min(1, len(leaves)), len(leaves)
        return leaves.index(self.newest_leaf(self.head)) + 1, len(leaves)
