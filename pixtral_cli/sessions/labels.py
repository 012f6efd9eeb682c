"""Ids, titles and tags of sessions."""

import json
import re
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tree import Snapshot
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions.branch_rows import read_settings, write_branches
from pixtral_cli.sessions.rows import Header, read, utf8_text
from pixtral_cli.sessions.tables import checksum

MAX_TITLE, MAX_TAG = 100, 40  # characters
ID_LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look alike


def write_labels(connection: sqlite3.Connection, session: int, change: Mapping[str, Any]) -> None:
    """Store the title or tags of a session, in its row and its settings, without marking it as touched. Raises DamagedRow."""
    query = "SELECT name, title, system, model, origin, messages, created, updated, checksum FROM sessions WHERE id = ?"
    header = Header.of(connection.execute(query, (session,)).fetchone())
    if connection.execute("SELECT 1 FROM branches WHERE session = ?", (session,)).fetchone() is None:
        messages = [message for message, _ in read(connection, session, header.messages)]
        write_branches(connection, session, Snapshot.linear(messages), {})
    settings = read_settings(connection, session) | dict(change)
    columns = "head, shown, touched, tree"
    row = connection.execute(f"SELECT {columns} FROM branches WHERE session = ?", (session,)).fetchone()
    text = json.dumps(settings)
    updated_row = (session, *row, text)
    update = "UPDATE branches SET (settings, checksum) = (?, ?) WHERE session = ?"
    connection.execute(update, (text, checksum(*updated_row[1:]), session))
    if title := change.get("title"):
        replace(header, title=utf8_text(title)).write(connection, session)


def new_id() -> str:
    """A random id of 6 characters, one of 700 million."""
    return "".join(secrets.choice(ID_LETTERS) for _ in range(6))


def title(messages: Sequence[Message]) -> str:
    """The title of a session by default: the first line of its first question, else the name of its first image."""
    for message in messages:
        if message.role == "user":
            words = " ".join(_text_with_image_numbers(message).strip().partition("\n")[0].split())
            name = words or (message.images[0].name if message.images else "")
            return utf8_text(name if len(name) <= 60 else name[:59] + "…")
    return ""


def _text_with_image_numbers(message: Message) -> str:
    """The text of a message, with the numbers of the images in it."""
    text = ""
    numbers: dict[str, int] = {}
    for part in message.parts:
        if isinstance(part, str):
            text += part
        else:
            number = numbers.setdefault(part.key, len(numbers) + 1)
            text += f"#{number}" if text.strip() else ""
    return text


def clean_title(title: str) -> str:
    """A title on one line, shortened to MAX_TITLE. Raises UsageError for an empty one."""
    words = " ".join(title.split())
    if not words:
        raise UsageError("A title wants a word", 'Such as "Receipts of May"')
    return words if len(words) <= MAX_TITLE else f"{words[: MAX_TITLE - 1]}…"


def clean_tag(tag: str) -> str:
    """A tag as it is stored: one word in lower case, without a leading #. Raises UsageError."""
    word = tag.strip().removeprefix("#").lower()
    if not word or len(word) > MAX_TAG or re.search(r"[\s,]", word):
        raise UsageError(f"{tag[:40]!r} is no tag", "A tag is one word, such as receipts")
    return word
