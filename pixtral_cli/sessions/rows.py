"""Messages as rows and rows as messages: the tables of the session database.

The text of a message is one column; its images are placements at an offset in it, and the bytes of each are there once.
"""

import hashlib
import json
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from pixtral_cli.chat.message import Message, Part
from pixtral_cli.chat.tree import MessageTree, Node, Snapshot
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Transform

# No two tables have the same number of columns: that is how their rows are distinguished in a damaged file.
SCHEMA = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, system TEXT, model TEXT NOT NULL,
    origin TEXT, messages INTEGER NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE, position INTEGER NOT NULL,
    role TEXT NOT NULL, text TEXT NOT NULL, images INTEGER NOT NULL, interrupted INTEGER NOT NULL, model TEXT NOT NULL,
    created REAL NOT NULL, checksum INTEGER NOT NULL, UNIQUE (session, position)
);
CREATE TABLE images (
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, format TEXT NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, data BLOB NOT NULL, checksum INTEGER NOT NULL
);
CREATE TABLE placements (
    message INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE, at INTEGER NOT NULL, image TEXT NOT NULL,
    name TEXT NOT NULL, crop TEXT, checksum INTEGER NOT NULL
);
CREATE INDEX placed ON placements (message);
CREATE INDEX shown ON placements (image);
"""

# Version 2: `tree` is JSON of `parents`, `failed`, `images` (all image keys in the order of their numbers) and `draft`
# (the last row holds the staged images). A session without such a row has one branch, in the order of positions.
# `touched` counts the writes to all sessions: it orders them, whatever the clock says.
BRANCHES = """
CREATE TABLE branches (
    session INTEGER PRIMARY KEY REFERENCES sessions ON DELETE CASCADE, head INTEGER, shown INTEGER NOT NULL,
    touched INTEGER NOT NULL, tree TEXT NOT NULL, settings TEXT NOT NULL, checksum INTEGER NOT NULL
);
CREATE INDEX touched ON branches (touched)
"""

# Version 3: what a message has besides parts, as JSON: `reasoning`, what was thought before the answer.
DETAILS = """
CREATE TABLE details (
    message INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE, fields TEXT NOT NULL, checksum INTEGER NOT NULL
)
"""

ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is read as another


class DamagedRow(Exception):
    """A row is not as it was written."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a message was saved, in seconds since 1970, and which model wrote it ("" for a user's)."""

    created: float
    model: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """A session without its messages; times in seconds since 1970."""

    name: str
    title: str
    system: str | None
    model: str
    origin: str | None
    messages: int
    created: float
    updated: float

    def write(self, connection: sqlite3.Connection, session: int | None) -> int:
        """Insert the row of a session, or replace what it says; returns its number."""
        if session is None:
            cursor = connection.execute(
                "INSERT INTO sessions (name, title, model, messages, created, updated, checksum) "
                "VALUES (?, '', '', 0, 0, 0, 0)",
                (self.name,),
            )
            session = cursor.lastrowid
            assert session is not None  # SQLite sets it at every insert
        columns = "name, title, system, model, origin, messages, created, updated, checksum"
        update = f"UPDATE sessions SET ({columns}) = (?, ?, ?, ?, ?, ?, ?, ?, ?) WHERE id = ?"
        connection.execute(update, (*astuple(self), checksum(*astuple(self)), session))
        return session

    @classmethod
    def of(cls, row: Sequence[Any]) -> "Header":
        """A row of `sessions` without its id. Raises DamagedRow."""
        name, title, system, model, origin, messages, created, updated, right = row
        if not isinstance(created, int | float) or not isinstance(updated, int | float):
            raise DamagedRow("the time of a session")
        header = cls(name, title, system, model, origin, messages, float(created), float(updated))
        if checksum(*astuple(header)) != right:
            raise DamagedRow("the header of a session")
        return header


def checksum(*values: object) -> int:
    """Finds a row that was changed by anything but this program."""
    return zlib.crc32(repr(values).encode("utf-8", "backslashreplace"))


def write(connection: sqlite3.Connection, session: int, position: int, message: Message, stamp: Stamp) -> None:
    """Insert one message with its images."""
    text = utf8_text(message.text)
    about = (session, position, message.role, text, len(message.images), int(message.interrupted))
    row = (*about, stamp.model, float(stamp.created))
    columns = "session, position, role, text, images, interrupted, model, created, checksum"
    insert = f"INSERT INTO messages ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    cursor = connection.execute(insert, (*row, checksum(*row)))
    at = 0
    for part in message.parts:
        if isinstance(part, str):
            at += len(part)
            continue
        store_image(connection, part)
        placement = (cursor.lastrowid, at, part.sha256, utf8_text(part.name), str(part.transform) or None)
        connection.execute("INSERT INTO placements VALUES (?, ?, ?, ?, ?, ?)", (*placement, checksum(*placement)))
    if fields := message_details(message):
        details = (cursor.lastrowid, json.dumps(fields))
        connection.execute("INSERT INTO details VALUES (?, ?, ?)", (*details, checksum(*details)))


def message_details(message: Message) -> dict[str, Any]:
    """What a message has besides role, parts and interruption."""
    return {"reasoning": utf8_text(message.reasoning)} if message.reasoning else {}


def with_details(message: Message, row: Sequence[Any] | None) -> Message:
    """The message with the fields of its row of `details`, if it has one. Raises DamagedRow."""
    if row is None:
        return message
    if not intact(row):
        raise DamagedRow("the details of a message")
    return replace(message, reasoning=json.loads(row[1]).get("reasoning", ""))


def store_image(connection: sqlite3.Connection, image: Image) -> None:
    """Store an image's bytes unless they are there already."""
    if not connection.execute("SELECT 1 FROM images WHERE sha256 = ?", (image.sha256,)).fetchone():
        row = (image.sha256, image.format, image.width, image.height)
        insert = "INSERT INTO images (sha256, format, width, height, data, checksum) VALUES (?, ?, ?, ?, ?, ?)"
        connection.execute(insert, (*row, image.data, checksum(*row)))


def read(connection: sqlite3.Connection, session: int, count: int) -> list[tuple[Message, Stamp]]:
    """A session's messages in order. Raises DamagedRow where one is not as it was written, or if there are not `count`."""
    images: dict[str, Image] = {}
    result = []
    query = "SELECT * FROM messages WHERE session = ? ORDER BY position"
    for expected, row in enumerate(connection.execute(query, (session,))):
        places = connection.execute(
            "SELECT * FROM placements WHERE message = ? ORDER BY at, rowid", (row[0],)
        ).fetchall()
        if row[2] != expected or not intact(row[1:]) or len(places) != row[5] or not all(map(intact, places)):
            raise DamagedRow(f"message {expected} of session {session}")
        _, _, _, role, text, _, interrupted, model, created, _ = row
        placed = [(at, _image(connection, images, sha256, name, crop)) for _, at, sha256, name, crop, _ in places]
        details = connection.execute("SELECT * FROM details WHERE message = ?", (row[0],)).fetchone()
        message = with_details(Message(role, parts(text, placed), bool(interrupted)), details)
        result.append((message, Stamp(created, model)))
    if len(result) != count:
        raise DamagedRow(f"{len(result)} of {count} messages of session {session}")
    return result


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


def relabel(connection: sqlite3.Connection, session: int, change: Mapping[str, Any]) -> None:
    """Change the title and tags of a session in its row and among its settings; when it was last touched stays. Raises DamagedRow."""
    query = "SELECT name, title, system, model, origin, messages, created, updated, checksum FROM sessions WHERE id = ?"
    header = Header.of(connection.execute(query, (session,)).fetchone())
    if connection.execute("SELECT 1 FROM branches WHERE session = ?", (session,)).fetchone() is None:
        said = [message for message, _ in read(connection, session, header.messages)]
        write_branches(connection, session, Snapshot.linear(said), {})
    settings = read_settings(connection, session) | dict(change)
    columns = "head, shown, touched, tree"
    row = connection.execute(f"SELECT {columns} FROM branches WHERE session = ?", (session,)).fetchone()
    text = json.dumps(settings)
    known = (session, *row, text)
    update = "UPDATE branches SET (settings, checksum) = (?, ?) WHERE session = ?"
    connection.execute(update, (text, checksum(*known[1:]), session))
    if title := change.get("title"):
        replace(header, title=utf8_text(title)).write(connection, session)


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


def intact(row: Sequence[Any]) -> bool:
    """Is a row, its checksum last, as it was written?"""
    return bool(checksum(*row[:-1]) == row[-1])


def image_intact(image: Sequence[Any]) -> bool:
    """Is a row of `images` as it was written?"""
    _, sha256, format_, width, height, data, right = image
    known = isinstance(data, bytes) and hashlib.sha256(data).hexdigest() == sha256
    return known and checksum(sha256, format_, width, height) == right


def parts(text: str, placed: Iterable[tuple[int, Part]]) -> tuple[Part, ...]:
    """The text with each image at its offset."""
    result: list[Part] = []
    end = 0
    for at, image in placed:
        result += [text[end:at], image]
        end = at
    result.append(text[end:])
    return tuple(part for part in result if part) or ("",)


def _image(connection: sqlite3.Connection, images: dict[str, Image], sha256: str, name: str, crop: str | None) -> Image:
    if sha256 not in images:
        row = connection.execute("SELECT * FROM images WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None or not image_intact(row):
            raise DamagedRow(f"image {sha256}")
        _, _, format_, width, height, data, _ = row
        images[sha256] = Image(data, name, format_, width, height, sha256)
    same = images[sha256]
    return Image(same.data, name, same.format, same.width, same.height, sha256, transform(crop))


def transform(text: str | None) -> Transform:
    """The column `crop`: JSON of a transform, or (in old files) the four numbers of a crop."""
    fields = json.loads(text) if text else {}
    return Transform.from_json(fields if isinstance(fields, dict) else {"crop": fields})


def session_number(connection: sqlite3.Connection, name: str) -> int | None:
    """The number of a session. Without the index: a damaged one could hide it."""
    row = connection.execute("SELECT id FROM sessions NOT INDEXED WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    if not isinstance(row[0], int):
        raise DamagedRow("the schema")
    return row[0]


def truncate(connection: sqlite3.Connection, session: int, start: int) -> set[str]:
    """Delete the messages from position `start` on; returns the hashes of the images that stood in them."""
    where = "message IN (SELECT id FROM messages WHERE session = ? AND position >= ?)"
    placed = connection.execute(f"SELECT DISTINCT image FROM placements WHERE {where}", (session, start)).fetchall()
    connection.execute("DELETE FROM messages WHERE session = ? AND position >= ?", (session, start))
    return {sha256 for (sha256,) in placed}


def delete_unused_images(connection: sqlite3.Connection, images: Iterable[str]) -> int:
    """Delete those of the images that are in no message any more; returns how many."""
    unused = "DELETE FROM images WHERE sha256 = ? AND sha256 NOT IN (SELECT image FROM placements)"
    return sum(connection.execute(unused, (sha256,)).rowcount for sha256 in images)


def delete_all_unused_images(connection: sqlite3.Connection) -> int:
    """Delete the images that are in no message; returns how many."""
    return connection.execute("DELETE FROM images WHERE sha256 NOT IN (SELECT image FROM placements)").rowcount


def new_id() -> str:
    """A short id: one of 700 million."""
    return "".join(secrets.choice(ID_LETTERS) for _ in range(6))


def title(messages: Sequence[Message]) -> str:
    """The title of a session: the first line of its first question, else its first image's name."""
    for message in messages:
        if message.role == "user":
            words = " ".join(_said(message).strip().partition("\n")[0].split())
            name = words or (message.images[0].name if message.images else "")
            return utf8_text(name if len(name) <= 60 else name[:59] + "…")
    return ""


def _said(message: Message) -> str:
    """The text of a message, with the numbers of the images in it."""
    text, number = "", 0
    for part in message.parts:
        if isinstance(part, str):
            text += part
        else:
            number += 1
            text += f"#{number}" if text.strip() else ""
    return text


def utf8_text(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, as undecodable bytes leave them, become question marks."""
    return text.encode("utf-8", "replace").decode()
