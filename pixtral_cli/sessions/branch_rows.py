"""The tree of a session's messages and the settings of its answers, as a row of `branches`."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tree import MessageTree, Node, Snapshot
from pixtral_cli.sessions.tables import DamagedRow, checksum, intact


def write_branches(
    connection: sqlite3.Connection, session: int, snapshot: Snapshot, settings: Mapping[str, Any]
) -> None:
    """Write the tree of a session's messages, and the settings that its answers are asked with."""
    tree = {
        "parents": [node.parent for node in snapshot.nodes],
        "failed": [index for index, node in enumerate(snapshot.nodes) if node.failed],
        "images": snapshot.image_keys,
        "draft": bool(snapshot.staged),
    }
    (touched,) = connection.execute("SELECT coalesce(max(touched), 0) + 1 FROM branches").fetchone()
    row = (snapshot.head, len(snapshot.messages), touched, json.dumps(tree), json.dumps(settings))
    insert = "INSERT OR REPLACE INTO branches VALUES (?, ?, ?, ?, ?, ?, ?)"
    connection.execute(insert, (session, *row, checksum(*row)))


def read_branches(
    connection: sqlite3.Connection, session: int, messages: Sequence[Message]
) -> tuple[Snapshot, dict[str, Any]]:
    """The conversation that these messages make, and its settings. Raises DamagedRow."""
    row = connection.execute("SELECT * FROM branches WHERE session = ?", (session,)).fetchone()
    return (Snapshot.linear(messages), {}) if row is None else branches(row, messages)


def shown_branch(head: int | None, tree: str) -> tuple[int, int]:
    """Which branch is shown and how many there are, from the columns of `branches`. Raises DamagedRow."""
    try:
        nothing = Message("user", ())
        nodes = [Node(nothing, parent) for parent in json.loads(tree)["parents"]]
        return MessageTree(nodes, head).branch()
    except (ValueError, KeyError, TypeError, IndexError):
        raise DamagedRow("the branches of a session") from None


def read_settings(connection: sqlite3.Connection, session: int) -> dict[str, Any]:
    """The stored settings of a session's answers. Raises DamagedRow."""
    row = connection.execute("SELECT * FROM branches WHERE session = ?", (session,)).fetchone()
    if row is not None and not intact(row[1:]):
        raise DamagedRow("the branches of a session")
    settings = {} if row is None else json.loads(row[-2])
    return settings if isinstance(settings, dict) else {}


def branches(row: Sequence[Any], messages: Sequence[Message]) -> tuple[Snapshot, dict[str, Any]]:
    """The tree and the settings in a row of `branches`. Raises DamagedRow when it is damaged, or of other messages."""
    _, head, _, _, tree, settings, _ = row
    if not intact(row[1:]):
        raise DamagedRow("the branches of a session")
    about = json.loads(tree)
    parents, failed, stored = about["parents"], {*about["failed"]}, list(messages)
    staged = stored.pop().images if about["draft"] and stored else ()
    if len(parents) != len(stored):
        raise DamagedRow("the branches of a session")
    nodes = tuple(
        Node(message, parent, index in failed)
        for index, (message, parent) in enumerate(zip(stored, parents, strict=True))
    )
    return Snapshot(nodes, head, staged, tuple(about["images"])), json.loads(settings)


def guess_branches(messages: Sequence[Message]) -> Snapshot:
    """The conversation where its branches were lost: an answer after an answer is taken as another try."""
    nodes: list[Node] = []
    for index, message in enumerate(messages):
        parent = index - 1 if index else None
        if parent is not None and message.role == "assistant" == nodes[parent].message.role:
            parent = nodes[parent].parent
        nodes.append(Node(message, parent))
    return Snapshot(tuple(nodes), len(nodes) - 1 if nodes else None)
