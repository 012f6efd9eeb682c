"""What the demo tasks share: rows of an image, a question and a short answer, scored by the words that an answer names."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pixtral_cli.chat.message import user
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring.metrics import states
from pixtral_cli.evals.task import DatasetRow, Question, Score, Task

SETS = Path(__file__).parent.parent / "sets"


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    others = row.texts("others") if row.values.get("others") else []
    message = user(row.text("question"), [row.image("image")])
    yield Question(str(row.index), (message,), (row.text("answer"),), (row.text("kind"),), metadata={"others": others})


def score(question: Question, answers: Sequence[str]) -> Mapping[str, Score]:
    return {"stated": Score(states(answers[-1], question.references[0], question.metadata["others"]))}


def task(name: str, title: str) -> Task:
    """A task whose rows are part of the package."""
    return Task(name, title, None, ask, ("stated",), 200, score, folder=SETS / name)
