"""MM-MT-Bench: conversations about images; each turn is asked after the reference replies to earlier ones, and judged."""

import json
from collections.abc import Iterator
from typing import Any

from pixtral_cli.chat.message import Message, Part, Role
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.task import BadRow, DatasetRow, HubSource, JudgeSettings, Question, Task


def ask(row: DatasetRow, prompts: Prompts) -> Iterator[Question]:
    try:
        conversation = json.loads(row.text("conversation"))
        messages = [_message(turn, row) for turn in conversation]
    except (ValueError, TypeError, LookupError) as error:
        raise BadRow("column 'conversation' is not a conversation") from error
    category = row.text("category", "")
    for turn in range(len(messages) // 2):
        history, reply = messages[: 2 * turn + 1], messages[2 * turn + 1]
        groups = (*filter(None, [category]), f"turn {turn + 1}")
        yield Question(f"{row.index}.{turn + 1}", tuple(history), (reply.text,), groups)


def _message(turn: dict[str, Any], row: DatasetRow) -> Message:
    roles: dict[str, Role] = {"user": "user", "assistant": "assistant"}
    content = turn["content"]
    parts: list[Part] = [content] if isinstance(content, str) else [_part(chunk, row) for chunk in content]
    return Message(roles[turn["role"]], tuple(parts))


def _part(chunk: dict[str, Any], row: DatasetRow) -> Part:
    return row.image("image") if chunk["type"] == "image" else str(chunk["text"])


TASK = Task(
    name="mm-mt-bench",
    title="MM-MT-Bench",
    source=HubSource("mistralai/MM-MT-Bench", "data/eval-*.parquet"),
    ask=ask,
    metrics=("judge",),
    judged=JudgeSettings("judge"),
    max_tokens=4096,
    published={"Pixtral report": 6.05},
)
