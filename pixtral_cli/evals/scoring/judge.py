"""A model as judge: its prompt, and the rating parsed from its verdict. Any engine can judge."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.chat.message import Message, Part, system
from pixtral_cli.chat.whole_answer import whole_answer
from pixtral_cli.errors import PixtralError
from pixtral_cli.evals.task import Question
from pixtral_cli.util.parallel import Cancellation

GREEDY = Sampling(temperature=0.0, max_tokens=2048)
MAX_TRIES = 3
RATING = re.compile(r"\[\[(\d+\.?\d*)\]\]")


class NoRating(PixtralError):
    """The judge wrote no valid rating in `MAX_TRIES` attempts."""


@dataclass(frozen=True, slots=True)
class Judge:
    """An engine with its instructions; ratings range from 1 to `highest`."""

    engine: Engine
    instructions: str
    highest: float

    def __call__(self, question: Question, answers: Sequence[str], stop: Cancellation) -> tuple[float, str]:
        """The rating of the last answer, and what the judge wrote. Raises NoRating, Cancelled and the engine's errors."""
        messages = (system(self.instructions), Message("user", tuple(judge_prompt(question, answers))))
        for _ in range(MAX_TRIES):
            verdict, _ = whole_answer(self.engine, messages, GREEDY, stop)
            score = parse_rating(verdict)
            if score is not None and 1 <= score <= self.highest:
                return score, verdict
        raise NoRating(
            f"The judge gave no rating from 1 to {self.highest:g}", "Run the same command again, or take another judge"
        )


def parse_rating(verdict: str) -> float | None:
    """The first number in double square brackets; None without one."""
    match = RATING.search(verdict)
    return float(match[1]) if match else None


def judge_prompt(question: Question, answers: Sequence[str]) -> list[Part]:
    """The parts of the judge's message: the conversation with its images, references, and the reply to rate."""
    parts: list[Part] = ["The conversation:\n\n"]
    for message in question.messages:
        parts += [f"### {'User' if message.role == 'user' else 'Assistant'}\n", *message.parts, "\n\n"]
    for answer, follow_up in zip(answers, question.follow_ups, strict=False):
        parts += [f"### Assistant\n{answer}\n\n### User\n{follow_up}\n\n"]
    for reference in question.references:
        parts += [f"### Reference reply to the last question\n{reference}\n\n"]
    parts += [f"### Reply to mark\n{answers[-1]}\n"]
    return _join_texts(parts)


def _join_texts(parts: Sequence[Part]) -> list[Part]:
    """The parts with adjacent texts joined."""
    joined: list[Part] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        else:
            joined.append(part)
    return joined
