"""Writes messages to the tables of the session database and reads them back.

The text of a message is one column. Its images are rows of `placements`, each with an offset in the text (characters);
the bytes of an image are stored once.
Calls of tools are among the details of the answer that they were run for.
"""

import itertools
import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from pixtral_cli.chat.message import CallResult, Message, Part, ToolRound
from pixtral_cli.chat.tools import ToolCall
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Transform
from pixtral_cli.sessions.tables import DamagedRow, checksum, is_intact, is_intact_image


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a message was saved, in seconds since 1970, and the name of the model that wrote it ("" for a user's)."""

    created: float
    model: str = ""


@dataclass(frozen=True, slots=True)
class Header:
    """A row of `sessions`: all of a session but its messages, whose number is `messages`. Times in seconds since 1970."""

    name: str
    title: str
    system: str | None
    model: str
    origin: str | None
    messages: int
    created: float
    updated: float

    def write(self, connection: sqlite3.Connection, session: int | None) -> int:
        """Insert a row (`session` None) or update row `session`; returns the row's id."""
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
        """The header in a row of `sessions`, given without its id. Raises DamagedRow."""
        name, title, system, model, origin, messages, created, updated, stored_checksum = row
        if not isinstance(created, int | float) or not isinstance(updated, int | float):
            raise DamagedRow("the time of a session")
        header = cls(name, title, system, model, origin, messages, float(created), float(updated))
        if checksum(*astuple(header)) != stored_checksum:
            raise DamagedRow("the header of a session")
        return header


def write(connection: sqlite3.Connection, session: int, position: int, message: Message, stamp: Stamp) -> None:
    """Insert one message with its images. `position` counts the session's messages from 0."""
    text = utf8_text(message.text)
    about = (session, position, message.role, text, len(message.all_images), int(message.interrupted))
    row = (*about, stamp.model, float(stamp.created))
    columns = "session, position, role, text, images, interrupted, model, created, checksum"
    insert = f"INSERT INTO messages ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    cursor = connection.execute(insert, (*row, checksum(*row)))
    for at, image in _placed(message):
        store_image(connection, image)
        placement = (cursor.lastrowid, at, image.sha256, utf8_text(image.name), str(image.transform) or None)
        connection.execute("INSERT INTO placements VALUES (?, ?, ?, ?, ?, ?)", (*placement, checksum(*placement)))
    if fields := message_details(message):
        details = (cursor.lastrowid, json.dumps(fields))
        connection.execute("INSERT INTO details VALUES (?, ?, ?)", (*details, checksum(*details)))


def _placed(message: Message) -> Iterator[tuple[int, Image]]:
    """The images of a message with their positions: the characters before it, or minus the number of the call that showed it."""
    at = 0
    for part in message.parts:
        if isinstance(part, str):
            at += len(part)
        else:
            yield at, part
    results = (result for each in message.rounds for result in each.results)
    for number, result in enumerate(results, 1):
        yield from ((-number, image) for image in result.images)


def message_details(message: Message) -> dict[str, Any]:
    """What a message has besides role, parts and interruption."""
    details: dict[str, Any] = {"reasoning": utf8_text(message.reasoning)} if message.reasoning else {}
    if message.rounds:
        details["rounds"] = [_round_fields(each) for each in message.rounds]
    return details


def _round_fields(each: ToolRound) -> dict[str, Any]:
    results = [
        {
            "id": result.call.id,
            "name": result.call.name,
            "arguments": utf8_text(result.call.arguments),
            "text": utf8_text(result.text),
        }
        for result in each.results
    ]
    return {"text_end": each.text_end, "reasoning_end": each.reasoning_end, "results": results}


def with_details(message: Message, row: Sequence[Any] | None, shown: Iterable[tuple[int, Image]] = ()) -> Message:
    """The message with the fields of its row of `details`, if it has one; `shown` are the images of its calls by their
    places. Raises DamagedRow."""
    if row is None:
        return message
    if not is_intact(row):
        raise DamagedRow("the details of a message")
    fields = json.loads(row[1])
    by_call: defaultdict[int, list[Image]] = defaultdict(list)
    for at, image in shown:
        by_call[-at].append(image)
    numbers = itertools.count(1)
    rounds = tuple(
        ToolRound(
            tuple(
                CallResult(
                    ToolCall(one["id"], one["name"], one["arguments"]), one["text"], tuple(by_call[next(numbers)])
                )
                for one in each["results"]
            ),
            each["text_end"],
            each["reasoning_end"],
        )
        for each in fields.get("rounds", ())
    )
    return replace(message, reasoning=fields.get("reasoning", ""), rounds=rounds)


def store_image(connection: sqlite3.Connection, image: Image) -> None:
    """Store an image unless one with the same bytes is stored already."""
    if not connection.execute("SELECT 1 FROM images WHERE sha256 = ?", (image.sha256,)).fetchone():
        row = (image.sha256, image.format, image.width, image.height)
        insert = "INSERT INTO images (sha256, format, width, height, data, checksum) VALUES (?, ?, ?, ?, ?, ?)"
        connection.execute(insert, (*row, image.data, checksum(*row)))


def read(connection: sqlite3.Connection, session: int, count: int) -> list[tuple[Message, Stamp]]:
    """A session's messages in order. Raises DamagedRow if one is damaged or there are not `count` of them."""
    images: dict[str, Image] = {}
    result = []
    query = "SELECT * FROM messages WHERE session = ? ORDER BY position"
    for expected, row in enumerate(connection.execute(query, (session,))):
        placements = connection.execute(
            "SELECT * FROM placements WHERE message = ? ORDER BY at, rowid", (row[0],)
        ).fetchall()
        if (
            row[2] != expected
            or not is_intact(row[1:])
            or len(placements) != row[5]
            or not all(map(is_intact, placements))
        ):
            raise DamagedRow(f"message {expected} of session {session}")
        _, _, _, role, text, _, interrupted, model, created, _ = row
        placed_images = [
            (at, _image(connection, images, sha256, name, crop)) for _, at, sha256, name, crop, _ in placements
        ]
        details = connection.execute("SELECT * FROM details WHERE message = ?", (row[0],)).fetchone()
        shown = [(at, image) for at, image in placed_images if at < 0]
        message = Message(role, place_images(text, [each for each in placed_images if each[0] >= 0]), bool(interrupted))
        message = with_details(message, details, shown)
        result.append((message, Stamp(created, model)))
    if len(result) != count:
        raise DamagedRow(f"{len(result)} of {count} messages of session {session}")
    return result


def place_images(text: str, placed_images: Iterable[tuple[int, Part]]) -> tuple[Part, ...]:
    """The text with each image at its offset."""
    result: list[Part] = []
    end = 0
    for at, image in placed_images:
        result += [text[end:at], image]
        end = at
    result.append(text[end:])
    return tuple(part for part in result if part) or ("",)


def _image(connection: sqlite3.Connection, images: dict[str, Image], sha256: str, name: str, crop: str | None) -> Image:
    if sha256 not in images:
        row = connection.execute("SELECT * FROM images WHERE sha256 = ?", (sha256,)).fetchone()
        if row is None or not is_intact_image(row):
            raise DamagedRow(f"image {sha256}")
        _, _, format_, width, height, data, _ = row
        images[sha256] = Image(data, name, format_, width, height, sha256)
    stored = images[sha256]
    return Image(stored.data, name, stored.format, stored.width, stored.height, sha256, transform(crop))


def transform(text: str | None) -> Transform:
    """The value of the column `crop`: JSON of a transform, in older files of the four numbers of a crop."""
    fields = json.loads(text) if text else {}
    return Transform.from_json(fields if isinstance(fields, dict) else {"crop": fields})


def session_number(connection: sqlite3.Connection, name: str) -> int | None:
    """The row id of a session; None if there is none. Searches without the index, which may be damaged."""
    row = connection.execute("SELECT id FROM sessions NOT INDEXED WHERE name = ?", (name,)).fetchone()
    if row is None:
        return None
    if not isinstance(row[0], int):
        raise DamagedRow("the schema")
    return row[0]


def truncate(connection: sqlite3.Connection, session: int, start: int) -> set[str]:
    """Delete the messages from position `start` on; returns the SHA-256 hashes of the images in them."""
    where = "message IN (SELECT id FROM messages WHERE session = ? AND position >= ?)"
    placed_images = connection.execute(
        f"SELECT DISTINCT image FROM placements WHERE {where}", (session, start)
    ).fetchall()
    connection.execute("DELETE FROM messages WHERE session = ? AND position >= ?", (session, start))
    return {sha256 for (sha256,) in placed_images}


def delete_unused_images(connection: sqlite3.Connection, images: Iterable[str]) -> int:
    """Delete those of these images (SHA-256 hashes) that no message has; returns how many."""
    unused = "DELETE FROM images WHERE sha256 = ? AND sha256 NOT IN (SELECT image FROM placements)"
    return sum(connection.execute(unused, (sha256,)).rowcount for sha256 in images)


def delete_all_unused_images(connection: sqlite3.Connection) -> int:
    """Delete all images that no message has; returns how many."""
    return connection.execute("DELETE FROM images WHERE sha256 NOT IN (SELECT image FROM placements)").rowcount


def utf8_text(text: str) -> str:
    """Text that UTF-8 can encode: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode()
