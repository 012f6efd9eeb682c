"""The texts about a batch: progress, failures, result and cost."""

from pathlib import Path

from pixtral_cli.batch.dry_run import CostTotal
from pixtral_cli.batch.runner import BatchProgress
from pixtral_cli.util.durations import clock
from pixtral_cli.util.sanitize import visible

MAX_FAILURES_SHOWN = 5  # further failures are found in the output only


def progress_parts(now: BatchProgress) -> list[str]:
    """The parts of the progress line after the count of rows, the most important first."""
    pieces = [f"{clock(now.left)} left"] if now.left else []
    if now.failed:
        pieces.append(f"{now.failed:,} failed")
    if now.rate is not None:
        pieces.append(f"{now.rate:.1f}/s" if now.rate >= 1 else f"{60 * now.rate:.1f}/min")
    return pieces


def row_note(first: BatchProgress, now: BatchProgress, model: str) -> str:
    """The note about the newest row: that it failed, or asks for another model than the one that answers; "" without one."""
    if now.failure:
        return failure_note(now.row, now.failure, now.failed - first.failed)
    if now.model not in ("", model) and now.done == first.done + 1:
        return f"The rows ask for {now.model}; {model} answers them"
    return ""


def failure_note(row: int, why: str, count: int) -> str:
    """The note about a failed row, the `count`th; beyond `MAX_FAILURES_SHOWN` one that there are more, and then ""."""
    if count > MAX_FAILURES_SHOWN:
        return "More rows fail" if count == MAX_FAILURES_SHOWN + 1 else ""
    return f"Row {row} failed: {visible(why, 100)}"


def resumed_note(rows: int, failed: int, file: Path) -> str:
    """The note about what an output holds already."""
    name = visible(str(file), 60)
    if not failed:
        return f"{name} answers {count_rows(rows)} already"
    return f"{name} answers {rows - failed:,} of {count_rows(rows)} already; --retry-failed asks the others again"


def stopped_note(now: BatchProgress, total: int | None, file: Path | None, *, fresh: bool = False) -> str:
    """The note when a batch is stopped. `fresh`: the command had --fresh and would begin anew again."""
    done = (
        f"Stopped after {now.done:,} of {count_rows(total)}"
        if total is not None
        else f"Stopped after {count_rows(now.done)}"
    )
    if not file:
        return f"{done}. With -o FILE, a batch goes on where it was stopped"
    return f"{done}. " + ("Without --fresh it goes on from there" if fresh else "The same command goes on from there")


def finished_note(first: BatchProgress, last: BatchProgress, seconds: float, file: Path | None) -> str:
    """The note at the end of a batch."""
    where = f", in {file}" if file else ""
    rows, failed = last.done - first.done, last.failed - first.failed
    answered = f"{rows - failed:,} of {count_rows(rows)}" if failed else count_rows(rows)
    return f"Answered {answered} in {clock(seconds)}{where}"


def cost_table(sum: CostTotal, model: str) -> str:
    """The text of `--dry-run`."""
    failing = f", {sum.failed:,} of them would fail" if sum.failed else ""
    return (
        f"model    {model}\n"
        f"rows     {sum.rows:,}{failing}\n"
        f"images   {sum.images:,}, {sum.image_tokens:,} tokens\n"
        f"prompts  {sum.prompt_tokens:,} tokens in all\n"
    )


def count_rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")
