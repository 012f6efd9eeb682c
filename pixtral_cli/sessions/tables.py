"""The SQL schema of the session database, and the checksums that detect damaged rows."""

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

# Every table has another number of columns or other types: `repair` recognises rows of a damaged file by them.
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
# Version 3: further fields of a message as JSON: `reasoning`, the thinking before an answer; since version 4 `rounds`, the
# calls that were run for it: `text_end`, `reasoning_end` and `results` of `id`, `name`, `arguments`, `text`.
DETAILS = """
CREATE TABLE details (
    message INTEGER PRIMARY KEY REFERENCES messages ON DELETE CASCADE, fields TEXT NOT NULL, checksum INTEGER NOT NULL
)
"""
# Version 4 has the same tables. An image that a call has shown is a placement, whose `at` is -1 for the first call of the
# message, -2 for the second: what an earlier version would take for a place in the text.
TOOL_ROUNDS = "-- calls of tools in `details`"


class DamagedRow(Exception):
    """A row or a page of the database does not have the content that was written."""


def checksum(*values: object) -> int:
    """The CRC-32 of a row's values, which detects damage but not intent."""
    return zlib.crc32(repr(values).encode("utf-8", "backslashreplace"))


def is_intact(row: Sequence[Any]) -> bool:
    """Whether a row, whose last value is its checksum, has the content that was written."""
    return bool(checksum(*row[:-1]) == row[-1])


def is_intact_image(image: Sequence[Any]) -> bool:
    """Whether a row of `images` has the content that was written: the bytes are checked by their SHA-256 hash."""
    _, sha256, format_, width, height, data, stored_checksum = image
    unchanged = isinstance(data, bytes) and hashlib.sha256(data).hexdigest() == sha256
    return unchanged and checksum(sha256, format_, width, height) == stored_checksum
