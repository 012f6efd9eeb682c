"""The type of a task: where its rows are, how a row becomes questions, and which metrics mark the answers."""

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
    """A row does not have the task's columns; the message names the column."""


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """One row of a data set: its index from 0, and its values as in JSON; `load` decodes images."""

    index: int
    values: Mapping[str, Any]
    load: "Callable[[Any, str], Image]" = field(compare=False)

    def text(self, column: str, default: str | None = None) -> str:
        """A column's value as text; a missing one raises BadRow unless there is a default."""
        value = self.values.get(column)
        if value is None:
            if default is None:
                raise BadRow(f"column {column!r} is missing")
            return default
        return value if isinstance(value, str) else str(value)

    def texts(self, column: str) -> list[str]:
        """A column's values as texts, of a list or a single value; of an object its "answer"."""
        value = self.values.get(column)
        if value is None:
            raise BadRow(f"column {column!r} is missing")
        values = value if isinstance(value, list) else [value]
        return [str(one["answer"] if isinstance(one, dict) and "answer" in one else one) for one in values]

    def image(self, column: str) -> "Image":
        """The image in a column. Raises BadRow, ImageError."""
        value = self.values.get(column)
        if value is None:
            raise BadRow(f"column {column!r} holds no image")
        return self.load(value, f"row {self.index}, {column}")


@dataclass(frozen=True, slots=True)
class Question:
    """A question to the model: a conversation that ends with the user, then `follow_ups`, each after an answer.

    `groups`: the groups its score counts for; `given`: values that the marker needs and the model does not see.
    """

    key: str
    messages: tuple[Message, ...]
    references: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mark:
    """A metric's verdict on one question: `score`, counted `weight` times."""

    score: float
    weight: float = 1.0


Marker: TypeAlias = Callable[[Question, Sequence[str]], Mapping[str, Mark]]


@dataclass(frozen=True, slots=True)
class HubSource:
    """A data set on the hub: the files that match `files` at `revision`."""

    repo: str
    files: str
    revision: str = "main"


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """The judge's prompt and its highest rating."""

    prompt: str
    best: float = 10.0


@dataclass(frozen=True, slots=True)
class Task:
    """See docs/evals.md, Adding a task. `mark` is None where a judge marks. The first metric is the headline.

    `folder`: the rows that are part of the package; otherwise `source`: where they are on the hub.
    `published`: scores of Pixtral 12B for the first metric, by who reports them, in the metric's own scale.
    """

    name: str
    title: str
    source: HubSource | None
    ask: "Callable[[DatasetRow, Prompts], Iterable[Question]]"
    metrics: tuple[str, ...]
    max_tokens: int
    mark: Marker | None = None
    judged: JudgeSettings | None = None
    published: Mapping[str, float] = field(default_factory=dict)
    executes: bool = False
    folder: Path | None = None

    @property
    def percent(self) -> bool:
        """Whether scores are shares; a judge's are points."""
        return self.judged is None


def marker(**metrics: Metric) -> Marker:
    """Marks by metrics of the last answer and the references."""

    def mark(question: Question, answers: Sequence[str]) -> dict[str, Mark]:
        return {name: Mark(metric(answers[-1], question.references)) for name, metric in metrics.items()}

    return mark


def lettered_choices(choices: Sequence[str]) -> str:
    """Choices as lettered lines."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(CHOICE_LETTERS, choices, strict=False))


_IMAGE_MARK = re.compile(r"<image (\d+)>")


def place_images(text: str, image: "Callable[[int], Image]") -> "tuple[str | Image, ...]":
    """Splits a text at its `<image N>` marks and puts the images there; blank pieces are left out."""
    pieces = _IMAGE_MARK.split(text)
    parts: list[str | Image] = []
    for at, piece in enumerate(pieces):
        if at % 2:
            parts.append(image(int(piece)))
        elif piece.strip():
            parts.append(piece)
    return tuple(parts)
