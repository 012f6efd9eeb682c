"""The table of scores in docs/evals.md: a row a set, as `pixtral eval` has it."""

import re
from pathlib import Path

from demo.scores import NAMES, measure, table
from pixtral_cli.evals import run_folder, task_registry


def test_a_row_says_what_the_command_found(tmp_path: Path) -> None:
    total = measure("demo-reading", tmp_path)
    (*_, row) = table({"demo-reading": total})
    run = run_folder.open_run(tmp_path / "demo-reading")
    scores = [record["scores"]["stated"] for record in run.records()]
    assert row.startswith(
        f"| `demo-reading` | printed words | {len(scores)} | {100 * sum(scores) / len(scores):.1f} | "
    )
    assert re.search(r"\| read \d+, read count \d+ \|$", row)
    assert run.about["model"]["name"] == "demo"


def test_every_set_that_ships_is_measured() -> None:
    assert {name for name in task_registry.task_names() if task_registry.get_task(name).folder} == set(NAMES)
