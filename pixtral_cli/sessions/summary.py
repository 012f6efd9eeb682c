"""A session in a list: its header, its branches, its tags and how many images it has."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pixtral_cli.sessions import branch_rows, rows

COLUMNS = (
    "s.name, s.title, s.system, s.model, s.origin, s.messages, s.created, s.updated, s.checksum, "
    "(SELECT count(DISTINCT p.image) FROM placements p JOIN messages m ON p.message = m.id WHERE m.session = s.id), "
    "(SELECT shown FROM branches b WHERE b.session = s.id), (SELECT head FROM branches b WHERE b.session = s.id), "
    "(SELECT tree FROM branches b WHERE b.session = s.id), (SELECT settings FROM branches b WHERE b.session = s.id)"
)
NOT_HEADER = 5  # columns after those of a header


@dataclass(frozen=True, slots=True)
class Summary:
    """A session in a list: `messages` are those of the branch shown, `images` those of all branches.

    `branch` is the one shown, counted from 1, of so many `branches`.
    `origin` is the session it was forked from, times are seconds since 1970.
    """

    id: str
    title: str
    system: str | None
    model: str
    origin: str | None
    messages: int
    created: float
    updated: float
    images: int
    branch: int = 1
    branches: int = 1
    tags: tuple[str, ...] = ()

    @property
    def titled(self) -> str:
        """The title, behind it the tags."""
        return " ".join((self.title, *(f"#{tag}" for tag in self.tags)))


def session_header(row: Sequence[Any]) -> rows.Header:
    """A row of COLUMNS as a summary. Raises DamagedRow."""
    return rows.Header.of(row[:-NOT_HEADER])


def session_summary(row: Sequence[Any]) -> Summary:
    about, (images, shown, head, tree, settings) = session_header(row), row[-NOT_HEADER:]
    times = about.created, about.updated
    messages = about.messages if shown is None else shown
    branch = branch_rows.shown_branch(head, tree) if tree else (1, 1)
    tags = tuple(map(str, json.loads(settings or "{}").get("tags") or ()))
    return Summary(
        about.name, about.title, about.system, about.model, about.origin, messages, *times, images, *branch, tags
    )  # fmt: skip
