"""The summary of a session for lists: its header, branch, tags and number of images, in one query."""

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
EXTRA_COLUMNS = 5  # the columns after those of the header


@dataclass(frozen=True, slots=True)
class Summary:
    """A session in a list. `messages` counts those of the branch shown, `images` those of all branches.

    `branch` is the number of the branch shown, from 1, of `branches`. `origin` is the id of the session that it was
    forked from. Times are in seconds since 1970.
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


def header_of(row: Sequence[Any]) -> rows.Header:
    """The header in a row of COLUMNS. Raises DamagedRow."""
    return rows.Header.of(row[:-EXTRA_COLUMNS])


def summary_of(row: Sequence[Any]) -> Summary:
    """The summary in a row of COLUMNS. Raises DamagedRow."""
    header, (images, shown, head, tree, settings) = header_of(row), row[-EXTRA_COLUMNS:]
    times = header.created, header.updated
    messages = header.messages if shown is None else shown
    branch = branch_rows.shown_branch(head, tree) if tree else (1, 1)
    tags = tuple(map(str, json.loads(settings or "{}").get("tags") or ()))
    return Summary(
        header.name, header.title, header.system, header.model, header.origin, messages, *times, images, *branch, tags
    )  # fmt: skip
