"""Rebuilds a damaged session database from the rows that `salvage` finds."""

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

LOST = "was lost when the session file was damaged]"

TEXT, NUMBER, NOTHING = str, (int, float), type(None)
SESSION = (NOTHING, TEXT, TEXT, (str, NOTHING), TEXT, (str, NOTHING), int, NUMBER, NUMBER, int)
MESSAGE = (NOTHING, int, int, TEXT, TEXT, int, int, TEXT, NUMBER, int)
IMAGE = (NOTHING, TEXT, TEXT, int, int, bytes, int)
BRANCHES = (NOTHING, (int, NOTHING), int, int, TEXT, TEXT, int)
PLACEMENT = (int, int, TEXT, TEXT, (str, NOTHING), int)
DETAILS = (NOTHING, TEXT, int)


@dataclass
class _Recovered:
    """Rows by their ids; messages by session and position."""

    sessions: dict[int, rows.Header] = field(default_factory=dict)
    messages: dict[int, dict[int, tuple[int, list[Any]]]] = field(default_factory=lambda: defaultdict(dict))
    placements: dict[int, list[list[Any]]] = field(default_factory=lambda: defaultdict(list))
    images: set[str] = field(default_factory=set)
    branches: dict[int, list[Any]] = field(default_factory=dict)
    details: dict[int, list[Any]] = field(default_factory=dict)


def recover_sessions(file: Path, log: Path, connection: sqlite3.Connection) -> tuple[int, int]:
    """Write every session that left a trace in `file` to the new database; returns how many, and how many have gaps.

    Where a message or an image is lost, its place says so.
    """
    recovered = _Recovered()
    for rowid, row in salvage.read_rows(file, log):
        if _has_types(row, SESSION):
            with contextlib.suppress(tables.DamagedRow):
                recovered.sessions[rowid] = rows.Header.of(row[1:])
        elif _has_types(row, MESSAGE):
            row[8] = float(row[8])  # in the file, a whole number is stored as such
            if tables.intact(row[1:]):
                recovered.messages[row[1]][row[2]] = (rowid, row)
        elif _has_types(row, PLACEMENT) and tables.intact(row):
            recovered.placements[row[0]].append([rowid, *row])
        elif _has_types(row, BRANCHES):
            recovered.branches[rowid] = row
        elif _has_types(row, DETAILS) and tables.intact([rowid, *row[1:]]):
            recovered.details[rowid] = [rowid, *row[1:]]
        elif _has_types(row, IMAGE) and tables.image_intact(row):
            recovered.images.add(row[1])
            connection.execute("INSERT OR IGNORE INTO images VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    sessions = sorted(recovered.messages.keys() | recovered.sessions.keys())
    return len(sessions), sum([_session(connection, recovered, session) for session in sessions])


def _has_types(row: list[Any], kinds: tuple[Any, ...]) -> bool:
    return len(row) == len(kinds) and all(isinstance(value, kind) for value, kind in zip(row, kinds, strict=True))


def _session(connection: sqlite3.Connection, recovered: _Recovered, session: int) -> bool:
    """Write one session; returns whether it has gaps."""
    messages, header = recovered.messages[session], recovered.sessions.get(session)
    early = min((row[8] for _, row in messages.values()), default=header.created if header else 0.0)
    history: list[tuple[Message, rows.Stamp]] = []
    for position in range(max([header.messages if header else 0, *(last + 1 for last in messages)])):
        if position in messages:
            id_, row = messages[position]
            history.append((_message(recovered, id_, row), rows.Stamp(row[8], row[7])))
        else:
            role: Role = "assistant" if history and history[-1][0].role == "user" else "user"
            history.append((Message(role, (f"[this message {LOST}",)), rows.Stamp(early)))
    number = replace(header or _rebuilt_header(history), messages=len(history)).write(connection, None)
    for position, (message, stamp) in enumerate(history):
        rows.write(connection, number, position, message, stamp)
    snapshot, settings = _branches(recovered, session, [message for message, _ in history])
    branch_rows.write_branches(connection, number, snapshot, settings)
    return header is None or any(LOST in message.text for message, _ in history)


def _branches(recovered: _Recovered, session: int, messages: list[Message]) -> tuple[Snapshot, dict[str, Any]]:
    if row := recovered.branches.get(session):
        with contextlib.suppress(tables.DamagedRow):
            return branch_rows.branches(row, messages)
    return branch_rows.guess_branches(messages), {}


def _rebuilt_header(history: list[tuple[Message, rows.Stamp]]) -> rows.Header:
    """The header of a session that is known by its messages only."""
    title = labels.title([message for message, _ in history])
    times = [stamp.created for _, stamp in history]
    models = [stamp.model for _, stamp in history]
    return rows.Header(labels.new_id(), title, None, max(models), None, 0, min(times), max(times))


def _message(recovered: _Recovered, id_: int, row: list[Any]) -> Message:
    """A message with what is left of its images; the others are named in the text, behind it where calls have shown them."""
    text, count = row[4], row[5]
    placed: list[tuple[int, Part]] = []
    shown: list[tuple[int, Image]] = []
    details = recovered.details.get(id_)
    kept = sorted(recovered.placements[id_], key=lambda placement: (placement[2], placement[0]))[:count]
    for _, _, at, sha256, name, crop, _ in kept:
        found = sha256 in recovered.images
        image = Image(b"", name, "", 0, 0, sha256, rows.transform(crop))
        if at < 0 and found and details:
            shown.append((at, image))
        else:
            placed.append((at if at >= 0 else len(text), image if found and at >= 0 else f"[image {name} {LOST}"))
    parts = rows.parts(text, sorted(placed, key=lambda each: each[0]))
    lost = (f"[an image {LOST}",) * (count - len(kept))
    parts = (*parts, *lost) if details else (*lost, *parts)  # its calls have places in the text
    return rows.with_details(Message(row[3], parts, bool(row[6])), details, shown)
