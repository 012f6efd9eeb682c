"""Messages as rows and rows as messages: the tables of the session database. Leaves files, locks and damage to others.

The text of a message is one column; its images are placements at an offset in it, and the bytes of each are there once.
"""

import hashlib
import json
import secrets
import sqlite3
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pixtral_cli.chat.images import Box, Image
from pixtral_cli.chat.message import Message, Part

# No two tables have the same number of columns: that is how rows are told apart in a damaged file.
SCHEMA = """
CREATE TABLE sessions (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, title TEXT NOT NULL, system TEXT, model TEXT NOT NULL,
    origin TEXT, created REAL NOT NULL, updated REAL NOT NULL
);
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES sessions ON DELETE CASCADE, position INTEGER NOT NULL,
    role TEXT NOT NULL, text TEXT NOT NULL, images INTEGER NOT NULL, interrupted INTEGER NOT NULL, model TEXT NOT NULL,
    created REAL NOT NULL, checksum INTEGER NOT NULL, UNIQUE (session, position)
);
CREATE TABLE images (
    id INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, format TEXT NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, data BLOB NOT NULL
);
CREATE TABLE placements (
    message INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE, at INTEGER NOT NULL, image TEXT NOT NULL,
    name TEXT NOT NULL, crop TEXT
);
CREATE INDEX placed ON placements (message);
CREATE INDEX shown ON placements (image);
"""


LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # none that is read as another


class Damaged(Exception):
    """What stands in the file is not what was written."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a message was said, in seconds since 1970, and by which model it was answered ("" for a user's)."""

    created: float
    model: str = ""


def checksum(session: int, position: int, role: str, text: str, images: int, interrupted: bool) -> int:
    """What finds a row that was changed by anything but this program."""
    return zlib.crc32(f"{session} {position} {role} {images} {int(interrupted)} {text}".encode())


def write(connection: sqlite3.Connection, session: int, position: int, message: Message, stamp: Stamp) -> None:
    """Insert one message with its images."""
    text = storable(message.text)
    sums = checksum(session, position, message.role, text, len(message.images), message.interrupted)
    row = (
        session,
        position,
        message.role,
        text,
        len(message.images),
        message.interrupted,
        stamp.model,
        stamp.created,
        sums,
    )
    columns = "session, position, role, text, images, interrupted, model, created, checksum"
    cursor = connection.execute(f"INSERT INTO messages ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    at = 0
    for part in message.parts:
        if isinstance(part, str):
            at += len(part)
            continue
        keep(connection, part)
        crop = json.dumps([part.crop.left, part.crop.top, part.crop.width, part.crop.height]) if part.crop else None
        placement = (cursor.lastrowid, at, part.sha256, storable(part.name), crop)
        connection.execute("INSERT INTO placements VALUES (?, ?, ?, ?, ?)", placement)


def keep(connection: sqlite3.Connection, image: Image) -> None:
    """Store an image's bytes unless they are there already."""
    if not connection.execute("SELECT 1 FROM images WHERE sha256 = ?", (image.sha256,)).fetchone():
        connection.execute(
            "INSERT INTO images (sha256, format, width, height, data) VALUES (?, ?, ?, ?, ?)",
            (image.sha256, image.format, image.width, image.height, image.data),
        )


def read(connection: sqlite3.Connection, session: int) -> list[tuple[Message, Stamp]]:
    """A session's messages in order. Raises Damaged where one is not as it was written."""
    found: dict[str, Image] = {}
    result = []
    query = "SELECT * FROM messages WHERE session = ? ORDER BY position"
    for expected, row in enumerate(connection.execute(query, (session,))):
        id_, _, position, role, text, images, interrupted, model, created, sums = row
        places = connection.execute("SELECT * FROM placements WHERE message = ? ORDER BY at, rowid", (id_,)).fetchall()
        right = checksum(session, position, role, text, images, interrupted)
        if position != expected or sums != right or len(places) != images:
            raise Damaged(f"message {position} of session {session}")
        placed = [(at, _image(connection, found, sha256, name, crop)) for _, at, sha256, name, crop in places]
        result.append((Message(role, parts(text, placed), bool(interrupted)), Stamp(created, model)))
    return result


def parts(text: str, placed: Iterable[tuple[int, Part]]) -> tuple[Part, ...]:
    """The text with each image at its offset."""
    result: list[Part] = []
    end = 0
    for at, image in placed:
        result += [text[end:at], image]
        end = at
    result.append(text[end:])
    return tuple(part for part in result if part) or ("",)


def _image(connection: sqlite3.Connection, found: dict[str, Image], sha256: str, name: str, crop: str | None) -> Image:
    if sha256 not in found:
        row = connection.execute(
            "SELECT format, width, height, data FROM images WHERE sha256 = ?", (sha256,)
        ).fetchone()
        if row is None or hashlib.sha256(row[3]).hexdigest() != sha256:
            raise Damaged(f"image {sha256}")
        format_, width, height, data = row
        found[sha256] = Image(data, name, format_, width, height, sha256)
    whole = found[sha256]
    box = Box(*json.loads(crop)) if crop else None
    return Image(whole.data, name, whole.format, whole.width, whole.height, sha256, box)


def truncate(connection: sqlite3.Connection, session: int, start: int) -> set[str]:
    """Delete the messages from position `start` on; returns the hashes of the images that stood in them."""
    where = "message IN (SELECT id FROM messages WHERE session = ? AND position >= ?)"
    placed = connection.execute(f"SELECT DISTINCT image FROM placements WHERE {where}", (session, start)).fetchall()
    connection.execute("DELETE FROM messages WHERE session = ? AND position >= ?", (session, start))
    return {sha256 for (sha256,) in placed}


def forget(connection: sqlite3.Connection, images: Iterable[str]) -> int:
    """Delete those of the images that stand in no message any more; returns how many."""
    unused = "DELETE FROM images WHERE sha256 = ? AND sha256 NOT IN (SELECT image FROM placements)"
    return sum(connection.execute(unused, (sha256,)).rowcount for sha256 in images)


def new_name() -> str:
    """A short id: one of 700 million."""
    return "".join(secrets.choice(LETTERS) for _ in range(6))


def title(messages: Sequence[Message]) -> str:
    """What a session is called: the first line of its first question, else its first image's name."""
    for message in messages:
        if message.role == "user":
            words = " ".join(message.text.strip().partition("\n")[0].split())
            name = words or (message.images[0].name if message.images else "")
            return storable(name if len(name) <= 60 else name[:59] + "…")
    return ""


def storable(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, as undecodable bytes leave them, become question marks."""
    return text.encode("utf-8", "replace").decode()
