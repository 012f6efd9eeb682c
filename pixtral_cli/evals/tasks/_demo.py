"""The common part of the demo sets: rows of a picture, a question and a short answer, marked by the words it names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import states
from pixtral_cli.evals.task import DatasetRow, Mark, Question, Task

SETS = Path(__file__).parent.parent / "sets"


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    others = row.texts("others") if row.values.get("others") else []
    message = user(row.text("question"), [row.image("image")])
    yield Question(str(row.index), (message,), (row.text("answer"),), (row.text("kind"),), given={"others": others})


def mark(question: Question, answers: Sequence[str]) -> Mapping[str, Mark]:
    return {"stated": Mark(states(answers[-1], question.references[0], question.given["others"]))}


def task(name: str, title: str) -> Task:
    """A set that comes with the package."""
    return Task(name, title, None, ask, ("stated",), 200, mark, folder=SETS / name)
