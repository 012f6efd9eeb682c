"""Measure the shipped checkpoint on the demo sets, as a user would, and print the scores as the table of docs/evals.md.

    python -m demo.scores

Half a minute. Answers are greedy, so the same checkpoint has the same scores everywhere.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pixtral_cli.evals import report, run_folder, task_registry

NAMES = [name for name in task_registry.task_names() if name.startswith("demo-")]
ABOUT = {
    "demo-shapes": "coloured shapes: which, how many, where",
    "demo-charts": "bar and line charts: values, extremes, where a run goes wrong",
    "demo-reading": "printed words",
}


def measure(name: str, folder: Path) -> report.Summary:
    """Run one set with the product's own command."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PIXTRAL_")}
    subprocess.run(
        [sys.executable, "-m", "pixtral_cli", "eval", name, "--model", "demo", "--output", str(folder / name)],
        env={**environment, "PIXTRAL_HOME": str(folder / "home")},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    run = run_folder.open_run(folder / name)
    return report.summarize(task_registry.get_task(name), run.records())


def table(scores: dict[str, report.Summary]) -> Iterator[str]:
    """Lines of Markdown: a row a set, with its interval and its kinds of question."""
    yield "| `pixtral eval` | what is asked | questions | right answers, % | 95 % interval | by kind, % |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    for name, total in scores.items():
        task, score = task_registry.get_task(name), total.metrics["stated"]
        kinds = ", ".join(f"{kind} {100 * mean:.0f}" for kind, (mean, _) in total.groups.items())
        interval = f"{report.format_score(task, score.low)}–{report.format_score(task, score.high)}"
        yield (
            f"| `{name}` | {ABOUT.get(name, task.title)} | {total.questions} | "
            f"{report.format_score(task, score.mean)} | {interval} | {kinds} |"
        )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        print("\n".join(table({name: measure(name, Path(folder)) for name in NAMES})))


if __name__ == "__main__":
    main()
