"""The prompts of the tasks: our wording of the explicit protocol, or the published ones, parsed from a checkout."""

import ast
from dataclasses import dataclass, field
from pathlib import Path

from pixtral_cli.errors import UsageError

_PROTOCOL = """Look closely at everything you are shown and think it through one step at a time: first say what you see, then reason.
End with a line of exactly this form:
Final Answer: <answer>
Rules for <answer>:
"""
DEFAULT_PROMPTS = {
    "choice": _PROTOCOL
    + """- When options are listed, give the one right letter and nothing else, such as A.
- Otherwise give one number or one short phrase; a number without its unit.
- Copy words as they stand in the picture; do not rephrase them.
- An answer is always possible: if unsure, give your best one.
The last line must begin with Final Answer:""",
    "chart": _PROTOCOL
    + """- One number or one short phrase, with words and labels copied in full as they stand in the chart.
- A ratio as a decimal, 0.25 and not 1:4; a percentage with its % sign; any other number without a unit.
- Yes or No where that is asked.
The last line must begin with Final Answer:""",
    "word": "Reply with one word or one short phrase and nothing else.",
    "vqa": """Reply with as few words as possible: one word, one number or one short phrase.
- Numbers in digits (2, not two), without a unit.
- To a yes/no question reply yes or no, nothing vaguer.
- Every question can be answered: give your best guess.""",
    "letter": """Think it through one step at a time. End with a line of exactly this form, with the one right letter:
Final Answer: <letter>""",
    "math": r"""Solve this one step at a time. End with a line of exactly this form, in LaTeX where it is needed:
Final Answer: \boxed{<answer>}""",
    "code": "Complete this Python function. Reply with one Python code block that holds the whole function and its imports.",
    "judge": """You mark the reply that an assistant gave to the last question of a conversation, by comparing it with a reference reply.
What counts is whether it is right and whether it helps. Name every error and what would have been right, and be impartial:
neither length nor style earns points. Then rate the reply from 1 (useless or wrong) to 10 (perfect), as the last thing you
write, in exactly this form: Rating: [[5]]""",
    "judge-text": """You mark the reply that an assistant gave to the last question of a conversation. What counts is whether it helps,
is right, relevant, deep and as detailed as was asked for. Where a reference reply is shown, hold it against that. Explain
briefly and impartially: neither length nor style earns points. Then rate the reply from 1 to 10, as the last thing you
write, in exactly this form: Rating: [[5]]""",
}
# By task and prompt: the file below eval/tasks and the constant in a checkout of mistralai/mistral-evals.
PUBLISHED = {
    ("mmmu", "choice"): ("mmmu.py", "PROMPT"),
    ("mathvista", "choice"): ("mathvista.py", "PROMPT"),
    ("chartqa", "chart"): ("chartqa.py", "PROMPT"),
    ("docvqa", "word"): ("docvqa.py", "PROMPT"),
    ("vqav2", "vqa"): ("vqav2.py", "PROMPT"),
    ("mm-mt-bench", "judge"): ("mm_mt_bench.py", "SYSTEM_PROMPT"),
}


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a run by name. `source`: who worded them, recorded with the result."""

    texts: dict[str, str] = field(default_factory=lambda: dict(DEFAULT_PROMPTS))
    source: str = "pixtral"

    def __getitem__(self, name: str) -> str:
        return self.texts[name]


def load_published(checkout: Path, task: str) -> Prompts:
    """The default prompts, with those of a task replaced by the published ones.

    Raises UsageError when there are none to read.
    """
    locations = {name: location for (owner, name), location in PUBLISHED.items() if owner == task}
    if not locations:
        tasks = ", ".join(sorted({owner for owner, _ in PUBLISHED}))
        raise UsageError(f"There are no published prompts for {task}", f"There are for {tasks}")
    published = {
        name: _read_constant(_tasks_folder(checkout) / file, constant) for name, (file, constant) in locations.items()
    }
    return Prompts({**DEFAULT_PROMPTS, **published}, "mistral-evals")


def _tasks_folder(checkout: Path) -> Path:
    return checkout / "eval" / "tasks" if (checkout / "eval" / "tasks").is_dir() else checkout


def _read_constant(file: Path, name: str) -> str:
    """The string that a Python file assigns to a name, at module level or in a class. The file is not run.

    Raises UsageError.
    """
    hint = "--prompts must be a checkout of mistralai/mistral-evals"
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"{file} is missing", hint) from error
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{file} is not a Python file", hint) from error
    for node in ast.walk(tree):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        named = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        value = getattr(node, "value", None)
        if named and isinstance(value, ast.Constant) and isinstance(value.value, str):
            return value.value
    raise UsageError(f"{file} has no text named {name}", hint)
