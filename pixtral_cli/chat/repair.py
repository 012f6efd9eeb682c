"""From the rows of a damaged session database to a whole one. Leaves finding rows to `salvage` and writing them to `records`."""

import hashlib
import json
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixtral_cli.chat import records, salvage
from pixtral_cli.chat.images import Box, Image
from pixtral_cli.chat.message import Message, Role

LOST = "was lost when the session file was damaged]"

TEXT, NUMBER, NOTHING = str, (int, float), type(None)
SESSION = (NOTHING, TEXT, TEXT, (str, NOTHING), TEXT, (str, NOTHING), NUMBER, NUMBER)
MESSAGE = (NOTHING, int, int, TEXT, TEXT, int, int, TEXT, NUMBER, int)
IMAGE = (NOTHING, TEXT, TEXT, int, int, bytes)
PLACEMENT = (int, int, TEXT, TEXT, (str, NOTHING))


@dataclass
class _Found:
    """Rows by their ids; messages by session and position."""

    sessions: dict[int, list[Any]] = field(default_factory=dict)
    messages: dict[int, dict[int, tuple[int, list[Any]]]] = field(default_factory=lambda: defaultdict(dict))
    placements: dict[int, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    images: set[str] = field(default_factory=set)


def carry(file: Path, log: Path, connection: sqlite3.Connection) -> tuple[int, int]:
    """Write every readable session of `file` to the new database; returns how many of how many that left a trace.

    A message or an image that is lost between others is named in its place.
    """
    found = _Found()
    for rowid, row in salvage.rows(file, log):
        if _fits(row, SESSION):
            found.sessions[rowid] = row
        elif _fits(row, MESSAGE) and row[9] == records.checksum(*row[1:7]):
            found.messages[row[1]][row[2]] = (rowid, row)
        elif _fits(row, PLACEMENT) and _box_fits(row[4]):
            found.placements[row[0]].append([rowid, *row])
        elif _fits(row, IMAGE) and hashlib.sha256(row[5]).hexdigest() == row[1]:
            found.images.add(row[1])
            connection.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?)", row)
    for session in sorted(found.messages):
        _session(connection, found, session)
    return len(found.messages), len({*found.messages, *found.sessions})


def _fits(row: list[Any], kinds: tuple[Any, ...]) -> bool:
    return len(row) == len(kinds) and all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True))


def _box_fits(crop: str | None) -> bool:
    try:
        return crop is None or [type(side) for side in json.loads(crop)] == [int] * 4
    except (ValueError, TypeError):
        return False


def _session(connection: sqlite3.Connection, found: _Found, session: int) -> None:
    said = found.messages[session]
    history = []
    role: Role = "assistant"
    for position in range(max(said) + 1):
        if position in said:
            id_, row = said[position]
            role = row[3]
            history.append((_message(found, id_, row), records.Stamp(row[8], row[7])))
        else:
            role = "assistant" if role == "user" else "user"
            history.append((Message(role, (f"[this message {LOST}",)), history[-1][1] if history else records.Stamp(0)))
    row = found.sessions.get(session) or _unknown(history)
    connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [session, *row[1:]])
    for position, (message, stamp) in enumerate(history):
        records.write(connection, session, position, message, stamp)


def _unknown(history: list[tuple[Message, records.Stamp]]) -> list[Any]:
    """The row of a session that is known by its messages only."""
    title = records.title([message for message, _ in history])
    times = [stamp.created for _, stamp in history]
    models = [stamp.model for _, stamp in history]
    return [None, records.new_name(), title, None, max(models), None, min(times), max(times)]


def _message(found: _Found, id_: int, row: list[Any]) -> Message:
    """A message with what is left of its images; the others are named in the text."""
    text, count = row[4], row[5]
    placed = []
    kept = sorted(found.placements[id_], key=lambda placement: (placement[2], placement[0]))[:count]
    for _, _, at, sha256, name, crop in kept:
        box = Box(*json.loads(crop)) if crop else None
        here = Image(b"", name, "", 0, 0, sha256, box) if sha256 in found.images else f"[image {name} {LOST}"
        placed.append((at, here))
    parts = records.parts(text, placed)
    lost = (f"[an image {LOST}",) * (count - len(kept))
    return Message(row[3], (*lost, *parts), bool(row[6]))
