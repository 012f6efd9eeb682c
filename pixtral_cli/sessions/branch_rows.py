"""The table `branches`: the tree of a session's messages and the settings of its answers, one row a session."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tree import MessageTree, Node, Snapshot
from pixtral_cli.sessions.tables import DamagedRow, checksum, is_intact


def write_branches(
    connection: sqlite3.Connection, session: int, snapshot: Snapshot, settings: Mapping[str, Any]
) -> None:
    """Insert or replace the row of a session."""
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
    """The conversation with these messages, all that are stored, and its settings. Raises DamagedRow."""
    row = connection.execute("SELECT * FROM branches WHERE session = ?", (session,)).fetchone()
    return (Snapshot.linear(messages), {}) if row is None else parse_branches(row, messages)


def shown_branch(head: int | None, tree: str) -> tuple[int, int]:
    """See `Snapshot.branch`; from the columns `head` and `tree` of `branches`. Raises DamagedRow."""
    try:
        placeholder = Message("user", ())
        nodes = [Node(placeholder, parent) for parent in json.loads(tree)["parents"]]
        return MessageTree(nodes, head).branch()
    except (ValueError, KeyError, TypeError, IndexError):
        raise DamagedRow("the branches of a session") from None


def read_settings(connection: sqlite3.Connection, session: int) -> dict[str, Any]:
    """The stored settings of a session's answers. Raises DamagedRow."""
    row = connection.execute("SELECT * FROM branches WHERE session = ?", (session,)).fetchone()
    if row is not None and not is_intact(row[1:]):
        raise DamagedRow("the branches of a session")
    settings = {} if row is None else json.loads(row[-2])
    return settings if isinstance(settings, dict) else {}


def parse_branches(row: Sequence[Any], messages: Sequence[Message]) -> tuple[Snapshot, dict[str, Any]]:
    """The tree and settings in a row of `branches`. Raises DamagedRow when it is damaged or does not fit the messages."""
    _, head, _, _, tree, settings, _ = row
    if not is_intact(row[1:]):
        raise DamagedRow("the branches of a session")
    stored_tree = json.loads(tree)
    parents, failed, stored = stored_tree["parents"], {*stored_tree["failed"]}, list(messages)
    staged = stored.pop().images if stored_tree["draft"] and stored else ()
    if len(parents) != len(stored):
        raise DamagedRow("the branches of a session")
    nodes = tuple(
        Node(message, parent, index in failed)
        for index, (message, parent) in enumerate(zip(stored, parents, strict=True))
    )
    return Snapshot(nodes, head, staged, tuple(stored_tree["images"])), json.loads(settings)


def infer_branches(messages: Sequence[Message]) -> Snapshot:
    """The conversation when its row of `branches` is lost. An answer after an answer is taken as another version of it."""
    nodes: list[Node] = []
    for index, message in enumerate(messages):
        parent = index - 1 if index else None
        if parent is not None and message.role == "assistant" == nodes[parent].message.role:
            parent = nodes[parent].parent
        nodes.append(Node(message, parent))
    return Snapshot(tuple(nodes), len(nodes) - 1 if nodes else None)
