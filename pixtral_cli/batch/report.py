"""A batch in words: how it goes, what came of it, what it would cost. Leaves where they are shown to others."""

from pathlib import Path

from pixtral_cli.batch.dry_run import CostTotal
from pixtral_cli.batch.runner import BatchProgress
from pixtral_cli.util.durations import clock
from pixtral_cli.util.sanitize import visible

MAX_FAILURES_SHOWN = 5  # failures that are told one by one; the output tells them all


def progress_parts(now: BatchProgress) -> list[str]:
    """What follows the count of rows, the most important first."""
    pieces = [f"{clock(now.left)} left"] if now.left else []
    if now.failed:
        pieces.append(f"{now.failed:,} failed")
    if now.rate is not None:
        pieces.append(f"{now.rate:.1f}/s" if now.rate >= 1 else f"{60 * now.rate:.1f}/min")
    return pieces


def row_note(first: BatchProgress, now: BatchProgress, model: str) -> str:
    """What is to be told of the newest row: that it failed, or asked for another model than the one that answers all."""
    if now.failure:
        return failure_note(now.row, now.failure, now.failed - first.failed)
    if now.model not in ("", model) and now.done == first.done + 1:
        return f"The rows ask for {now.model}; {model} answers them"
    return ""


def failure_note(row: int, why: str, count: int) -> str:
    """A line for a row that failed, the `count`th; "" when enough have been told."""
    if count > MAX_FAILURES_SHOWN:
        return ""
    return f"Row {row} failed: {visible(why, 100)}" + (
        ". Of more failures the output alone tells" if count == MAX_FAILURES_SHOWN else ""
    )


def stopped_note(now: BatchProgress, total: int | None, file: Path | None, *, fresh: bool = False) -> str:
    """How to go on. `fresh`: the command began the output anew, and would again."""
    done = (
        f"Stopped after {now.done:,} of {count_rows(total)}"
        if total is not None
        else f"Stopped after {count_rows(now.done)}"
    )
    if not file:
        return f"{done}. With -o FILE, a batch goes on where it was stopped"
    return f"{done}. " + ("Without --fresh it goes on from there" if fresh else "The same command goes on from there")


def finished_note(first: BatchProgress, last: BatchProgress, seconds: float, file: Path | None) -> str:
    """What this run did."""
    where = f", in {file}" if file else ""
    return f"Answered {count_rows(last.done - first.done)} in {clock(seconds)}{where}"


def cost_table(sum: CostTotal, model: str) -> str:
    """What `--dry-run` prints."""
    failing = f", {sum.failed:,} of them would fail" if sum.failed else ""
    return (
        f"model    {model}\n"
        f"rows     {sum.rows:,}{failing}\n"
        f"images   {sum.images:,}, {sum.image_tokens:,} tokens\n"
        f"prompts  {sum.prompt_tokens:,} tokens in all\n"
    )


def count_rows(count: int) -> str:
    return f"{count:,} row" + ("" if count == 1 else "s")
