"""Rebuilds a damaged session database from the rows that `salvage` reads."""

import contextlib
import sqlite3
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pixtral_cli.chat.message import Message, Part, Role
from pixtral_cli.chat.tree import Snapshot
from pixtral_cli.images.image import Image
from pixtral_cli.sessions import branch_rows, labels, rows, salvage, tables

LOST = "was lost when the session file was damaged]"  # the end of the text in place of a lost message or image

# The types of the columns of each table; a NULL first column is the rowid.
SQL_TEXT, SQL_NUMBER, SQL_NULL = str, (int, float), type(None)
SESSION_TYPES = (
    SQL_NULL,
    SQL_TEXT,
    SQL_TEXT,
    (str, SQL_NULL),
    SQL_TEXT,
    (str, SQL_NULL),
    int,
    SQL_NUMBER,
    SQL_NUMBER,
    int,
)
MESSAGE_TYPES = (SQL_NULL, int, int, SQL_TEXT, SQL_TEXT, int, int, SQL_TEXT, SQL_NUMBER, int)
IMAGE_TYPES = (SQL_NULL, SQL_TEXT, SQL_TEXT, int, int, bytes, int)
BRANCHES_TYPES = (SQL_NULL, (int, SQL_NULL), int, int, SQL_TEXT, SQL_TEXT, int)
PLACEMENT_TYPES = (int, int, SQL_TEXT, SQL_TEXT, (str, SQL_NULL), int)
DETAILS_TYPES = (SQL_NULL, SQL_TEXT, int)


@dataclass
class _Recovered:
    """The intact rows by id: messages by session and position, placements and details by message, the rest by session."""

    sessions: dict[int, rows.Header] = field(default_factory=dict)
    messages: dict[int, dict[int, tuple[int, list[Any]]]] = field(default_factory=lambda: defaultdict(dict))
    placements: dict[int, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    images: set[str] = field(default_factory=set)
    branches: dict[int, list[Any]] = field(default_factory=dict)
    details: dict[int, list[Any]] = field(default_factory=dict)


def recover_sessions(file: Path, log: Path, connection: sqlite3.Connection) -> tuple[int, int]:
    """Write every session of which a row is readable to the new database; returns how many, and how many have gaps.

    `log` is the write-ahead log of `file`. A text takes the place of each lost message and image.
    """
    recovered = _Recovered()
    for rowid, row in salvage.read_rows(file, log):
        if _has_types(row, SESSION_TYPES):
            with contextlib.suppress(tables.DamagedRow):
                recovered.sessions[rowid] = rows.Header.of(row[1:])
        elif _has_types(row, MESSAGE_TYPES):
            row[8] = float(row[8])  # in the file, a whole number is stored as such
            if tables.is_intact(row[1:]):
                recovered.messages[row[1]][row[2]] = (rowid, row)
        elif _has_types(row, PLACEMENT_TYPES) and tables.is_intact(row):
            recovered.placements[row[0]].append([rowid, *row])
        elif _has_types(row, BRANCHES_TYPES):
            recovered.branches[rowid] = row
        elif _has_types(row, DETAILS_TYPES) and tables.is_intact([rowid, *row[1:]]):
            recovered.details[rowid] = [rowid, *row[1:]]
        elif _has_types(row, IMAGE_TYPES) and tables.is_intact_image(row):
            recovered.images.add(row[1])
            connection.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    sessions = sorted(recovered.messages.keys() | recovered.sessions.keys())
    return len(sessions), sum([_write_session(connection, recovered, session) for session in sessions])


def _has_types(row: list[Any], types: tuple[Any, ...]) -> bool:
    return len(row) == len(types) and all(isinstance(value, type_) for value, type_ in zip(row, types, strict=True))


def _write_session(connection: sqlite3.Connection, recovered: _Recovered, session: int) -> bool:
    """Write one session; returns whether it has gaps."""
    messages, header = recovered.messages[session], recovered.sessions.get(session)
    earliest = min((row[8] for _, row in messages.values()), default=header.created if header else 0.0)
    history: list[tuple[Message, rows.Stamp]] = []
    for position in range(max([header.messages if header else 0, *(last + 1 for last in messages)])):
        if position in messages:
            id_, row = messages[position]
            history.append((_recover_message(recovered, id_, row), rows.Stamp(row[8], row[7])))
        else:
            role: Role = "assistant" if history and history[-1][0].role == "user" else "user"
            history.append((Message(role, (f"[this message {LOST}",)), rows.Stamp(earliest)))
    number = replace(header or _rebuilt_header(history), messages=len(history)).write(connection, None)
    for position, (message, stamp) in enumerate(history):
        rows.write(connection, number, position, message, stamp)
    snapshot, settings = _recover_branches(recovered, session, [message for message, _ in history])
    branch_rows.write_branches(connection, number, snapshot, settings)
    return header is None or any(LOST in message.text for message, _ in history)


def _recover_branches(recovered: _Recovered, session: int, messages: list[Message]) -> tuple[Snapshot, dict[str, Any]]:
    if row := recovered.branches.get(session):
        with contextlib.suppress(tables.DamagedRow):
            return branch_rows.parse_branches(row, messages)
    return branch_rows.infer_branches(messages), {}


def _rebuilt_header(history: list[tuple[Message, rows.Stamp]]) -> rows.Header:
    """The header of a session of which only messages are readable."""
    title = labels.title([message for message, _ in history])
    times = [stamp.created for _, stamp in history]
    models = [stamp.model for _, stamp in history]
    return rows.Header(labels.new_id(), title, None, max(models), None, 0, min(times), max(times))


def _recover_message(recovered: _Recovered, id_: int, row: list[Any]) -> Message:
    """A message with its readable images; a text takes the place of the others, at the end for those of tool calls."""
    text, count = row[4], row[5]
    placed: list[tuple[int, Part]] = []
    shown: list[tuple[int, Image]] = []
    details = recovered.details.get(id_)
    readable = sorted(recovered.placements[id_], key=lambda placement: (placement[2], placement[0]))[:count]
    for _, _, at, sha256, name, crop, _ in readable:
        found = sha256 in recovered.images
        image = Image(b"", name, "", 0, 0, sha256, rows.transform(crop))
        if at < 0 and found and details:
            shown.append((at, image))
        else:
            placed.append((at if at >= 0 else len(text), image if found and at >= 0 else f"[image {name} {LOST}"))
    parts = rows.place_images(text, sorted(placed, key=lambda pair: pair[0]))
    lost = (f"[an image {LOST}",) * (count - len(readable))
    parts = (*parts, *lost) if details else (*lost, *parts)  # its calls have places in the text
    return rows.with_details(Message(row[3], parts, bool(row[6])), details, shown)
