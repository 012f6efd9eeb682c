"""What is shown of a batch: progress, failures, result and cost, as text."""

from pathlib import Path

from pixtral_cli.batch.dry_run import CostTotal
from pixtral_cli.batch.runner import BatchProgress
from pixtral_cli.util.durations import format_clock
from pixtral_cli.util.sanitize import visible

MAX_FAILURES_SHOWN = 5  # further failures are in the output only


def progress_parts(progress: BatchProgress) -> list[str]:
    """The parts of the progress line after the count of rows, the most important first."""
    parts = [f"{format_clock(progress.left)} left"] if progress.left else []
    if progress.failed:
        parts.append(f"{progress.failed:,} failed")
    if progress.rate is not None:
        parts.append(f"{progress.rate:.1f}/s" if progress.rate >= 1 else f"{60 * progress.rate:.1f}/min")
    return parts


def row_note(first: BatchProgress, progress: BatchProgress, model: str) -> str:
    """The note about the newest row: it failed, or the rows name another model than the one that answers; "" for none."""
    if progress.failure:
        return failure_note(progress.row, progress.failure, progress.failed - first.failed)
    if progress.model not in ("", model) and progress.done == first.done + 1:
        return f"The rows ask for {progress.model}; {model} answers them"
    return ""


def failure_note(row: str, why: str, count: int) -> str:
    """The note about a failed row, the `count`th; beyond `MAX_FAILURES_SHOWN` one that there are more, and then ""."""
    if count > MAX_FAILURES_SHOWN:
        return "More rows fail" if count == MAX_FAILURES_SHOWN + 1 else ""
    return f"{row} failed: {visible(why, 100)}"


def resumed_note(rows: int, failed: int, file: Path) -> str:
    """The note about what an output holds already."""
    name = visible(str(file), 60)
    if not failed:
        return f"{name} answers {count_rows(rows)} already"
    return f"{name} answers {rows - failed:,} of {count_rows(rows)} already; --retry-failed asks the others again"


def stopped_note(progress: BatchProgress, total: int | None, file: Path | None, *, fresh: bool = False) -> str:
    """The note when a batch is stopped. `fresh`: the command had --fresh and would begin anew again."""
    done = (
        f"Stopped after {progress.done:,} of {count_rows(total)}"
        if total is not None
        else f"Stopped after {count_rows(progress.done)}"
    )
    if not file:
        return f"{done}. With -o FILE, a batch goes on where it was stopped"
    return f"{done}. " + ("Without --fresh it goes on from there" if fresh else "The same command goes on from there")


def finished_note(first: BatchProgress, last: BatchProgress, seconds: float, file: Path | None) -> str:
    """The note at the end of a batch."""
    where = f", in {file}" if file else ""
    rows, failed = last.done - first.done, last.failed - first.failed
    answered = f"{rows - failed:,} of {count_rows(rows)}" if failed else count_rows(rows)
    return f"Answered {answered} in {format_clock(seconds)}{where}"


def cost_table(total: CostTotal, model: str) -> str:
    """The text of `--dry-run`."""
    failing = f", {total.failed:,} of them would fail" if total.failed else ""
    return (
        f"model    {model}\n"
        f"rows     {total.rows:,}{failing}\n"
        f"images   {total.images:,}, {total.image_tokens:,} tokens\n"
        f"prompts  {total.prompt_tokens:,} tokens in all\n"
    )


def count_rows(count: int) -> str:
    """The count with its noun: 1 row, 2 rows."""
    return f"{count:,} row" + ("" if count == 1 else "s")
