"""The type of a task: where its rows are, how a row becomes questions, and how answers are scored."""

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from pixtral_cli.chat.message import Message

if TYPE_CHECKING:
    from pixtral_cli.evals.prompts import Prompts
    from pixtral_cli.images.image import Image

Metric: TypeAlias = Callable[[str, Sequence[str]], float]
CHOICE_LETTERS = string.ascii_uppercase


class BadRow(Exception):
    """A row lacks a column of the task or has a wrong value in it; the message names the column."""


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One row of a data set. `index`: from 0; `values`: by column, as in JSON; `load`: reads an image from a value."""

    index: int
    values: Mapping[str, Any]
    load: "Callable[[Any, str], Image]" = field(compare=False)

    def text(self, column: str, default: str | None = None) -> str:
        """A column's value as text, or `default` where it is missing.

        Raises BadRow for a missing value without a default.
        """
        value = self.values.get(column)
        if value is None:
            if default is None:
                raise BadRow(f"column {column!r} is missing")
            return default
        return value if isinstance(value, str) else str(value)

    def texts(self, column: str) -> list[str]:
        """A column's value, a list or a single value, as a list of texts; an object stands for its "answer".

        Raises BadRow.
        """
        value = self.values.get(column)
        if value is None:
            raise BadRow(f"column {column!r} is missing")
        values = value if isinstance(value, list) else [value]
        return [str(entry["answer"] if isinstance(entry, dict) and "answer" in entry else entry) for entry in values]

    def image(self, column: str) -> "Image":
        """The image in a column. Raises BadRow, ImageError."""
        value = self.values.get(column)
        if value is None:
            raise BadRow(f"column {column!r} holds no image")
        return self.load(value, f"row {self.index}, {column}")


@dataclass(frozen=True, slots=True)
class Question:
    """A question: a conversation that ends with a user message; `follow_ups` are asked one after each answer.

    `key`: unique in the data set; `groups`: the groups its score counts for; `metadata`: values for the scorer alone.
    """

    key: str
    messages: tuple[Message, ...]
    references: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Score:
    """A metric's score of one question, counted `weight` times in means."""

    value: float
    weight: float = 1.0


Scorer: TypeAlias = Callable[[Question, Sequence[str]], Mapping[str, Score]]


@dataclass(frozen=True, slots=True)
class HubSource:
    """A data set on the hub: the files that match `files` at `revision`."""

    repo: str
    files: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """The name of the judge's prompt, and the highest rating."""

    prompt: str
    highest: float = 10.0


@dataclass(frozen=True, slots=True)
class Task:
    """A task; see docs/evals.md, Adding a task. The first metric is the main one. `score`: None where a judge rates.

    `folder`: rows that are part of the package; `source`: rows on the hub. `executes`: runs programs that models write.
    `published`: scores of Pixtral 12B in the first metric, by who reports them.
    """

    name: str
    title: str
    source: HubSource | None
    ask: "Callable[[DatasetRow, Prompts], Iterable[Question]]"
    metrics: tuple[str, ...]
    max_tokens: int
    score: Scorer | None = None
    judged: JudgeSettings | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    executes: bool = False
    folder: Path | None = None

    @property
    def percent(self) -> bool:
        """Whether scores are fractions, shown as percent; a judge's ratings are points."""
        return self.judged is None


def scorer(**metrics: Metric) -> Scorer:
    """A scorer that applies these metrics to the last answer and the references."""

    def score(question: Question, answers: Sequence[str]) -> dict[str, Score]:
        return {name: Score(metric(answers[-1], question.references)) for name, metric in metrics.items()}

    return score


def lettered_choices(choices: Sequence[str]) -> str:
    """The choices as lines: A. …, B. …"""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(CHOICE_LETTERS, choices, strict=False))


_IMAGE_TAG = re.compile(r"<image (\d+)>")


def place_images(text: str, image: "Callable[[int], Image]") -> "tuple[str | Image, ...]":
    """The parts of a message: the text with its `<image N>` tags replaced by images; blank texts are left out."""
    pieces = _IMAGE_TAG.split(text)
    parts: list[str | Image] = []
    for index, piece in enumerate(pieces):
        if index % 2:
            parts.append(image(int(piece)))
        elif piece.strip():
            parts.append(piece)
    return tuple(parts)
