"""Runs `pixtral batch`: opens engine and output, shows progress, retries failed rows, writes the CSV file."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

from pixtral_cli.batch import dry_run as costs
from pixtral_cli.batch import report
from pixtral_cli.batch.csv_rows import answers_as_csv
from pixtral_cli.batch.input import InputRow
from pixtral_cli.batch.journal import DeviceOutput, Journal, Output, ResumeState, StreamOutput
from pixtral_cli.batch.runner import BatchProgress, run_batch
from pixtral_cli.chat.engine import Engine
from pixtral_cli.cli.common import engine_setup
from pixtral_cli.cli.common.engine_setup import EngineChoice
from pixtral_cli.cli.jobs.batch_job import BatchJob, build_job, check_not_empty
from pixtral_cli.cli.jobs.batch_request import BatchRequest
from pixtral_cli.config import Config
from pixtral_cli.errors import BatchError, PixtralError, UsageError
from pixtral_cli.terminal.ask import output_file
from pixtral_cli.terminal.output import output as screen
from pixtral_cli.terminal.output.progress_bar import progress_bar
from pixtral_cli.util.locks import FileLock
from pixtral_cli.util.sanitize import visible


def preview(request: BatchRequest, chosen: EngineChoice, settings: Config, out: screen.Output) -> None:
    """`--dry-run`: print what the batch would cost. Raises BatchError when rows would fail."""
    job = build_job(request, chosen, settings)
    total = costs.CostTotal()
    rows = islice(job.source.rows(), request.limit)
    with (
        closing(chosen.open()) as engine,
        closing(costs.total_costs(job.plan(engine), rows)) as costs_so_far,
        progress_bar(out, job.total, "rows") as show,
    ):
        for now in costs_so_far:
            note = report.failure_note(now.row, now.failure, now.failed) if now.failed > total.failed else ""
            show(now.rows, [f"{now.failed:,} failed"] if now.failed else [], note)
            total = now
    check_not_empty(total.rows, job.source)
    out.write(report.cost_table(total, chosen.name))
    if total.failed:
        raise BatchError(f"{total.failed:,} of {report.count_rows(total.rows)} would fail")


def answer(request: BatchRequest, chosen: EngineChoice, settings: Config, out: screen.Output) -> None:
    """Answer the rows that the output does not answer yet. Raises BatchError when some failed."""
    job = build_job(request, chosen, settings)
    with _open_output(request, out) as output, closing(chosen.open()) as engine:
        if settings.engine == engine_setup.VLLM:  # loading takes minutes: it begins before the first row arrives
            engine_setup.load_with_spinner(engine, out)
        rows, before = job.source.rows(), ResumeState()
        if isinstance(output, Journal) and not request.fresh:
            before = output.resume(rows, job.settings, job.source.name)
            if request.retry_failed and before.failed:
                _retry_failed_rows(job, engine, output, before, out)
                rows = job.source.rows()
                before = output.resume(rows, job.settings, job.source.name)
        if before.lines:
            assert request.file
            out.note(report.resumed_note(before.lines, len(before.failed), request.file))
        rest = rows if request.limit is None else islice(rows, max(0, request.limit - before.lines))
        run = run_batch(
            job.plan(engine),
            rest,
            output,
            before=before,
            total=job.total,
            ready=lambda: _delete_old_answers(request, output),
        )
        last = _run_with_progress(
            run, job, out, request.file if isinstance(output, Journal) else None, fresh=request.fresh
        )
    check_not_empty(last.done, job.source)
    if request.table and request.file:
        _write_table(request.table, request.file, out, whole=not last.failed and last.done == job.total)
    if last.failed:
        hint = "Their lines say why; --retry-failed asks them again" if request.file else ""
        raise BatchError(f"{last.failed:,} of {report.count_rows(last.done)} failed", hint)


def _write_table(table: Path, lines: Path, out: screen.Output, *, whole: bool) -> None:
    """Write the answers in `lines` as a CSV file; `whole`: all rows are answered, so that `lines` is deleted."""
    with lines.open("rb") as stream:
        text, guarded = answers_as_csv(stream)
    output_file.write(table, text)
    if guarded:
        out.note(
            f"{guarded} cells begin like a formula; an apostrophe stands before each, so that no spreadsheet runs it"
        )
    if whole:
        lines.unlink()
    out.note(
        f"Wrote {visible(str(table), 60)}" + ("" if whole else f"; {lines.name} is kept to ask the remaining rows")
    )


def _delete_old_answers(request: BatchRequest, output: Output) -> None:
    """With --fresh, delete the old answers. Called when the engine has loaded, since everything before may fail."""
    if request.fresh and isinstance(output, Journal):
        _retry_path(output).unlink(missing_ok=True)
        output.clear()


def _retry_path(output: Journal) -> Path:
    """The file of the new answers to failed rows, until all of them are answered."""
    path = output.path.resolve()
    return path.with_name(f".{path.name[:200]}.retry")


def _retry_failed_rows(job: BatchJob, engine: Engine, output: Journal, before: ResumeState, out: screen.Output) -> None:
    """Answer the failed rows again, into a file beside the output that replaces their lines when all are answered."""
    out.note(f"Asking {report.count_rows(len(before.failed))} again")
    numbers = set(before.failed)
    with closing(Journal(_retry_path(output))) as journal:
        rows = _failed_rows(job, numbers)
        state = _resume_retry(journal, rows, job)
        if state is None or len(state.failed) == len(numbers):  # of other rows, or every row failed again
            journal.clear()
            rows, state = _failed_rows(job, numbers), ResumeState()
        retry = replace(job, total=len(numbers))
        _run_with_progress(
            run_batch(job.plan(engine), rows, journal, before=state, total=len(numbers)), retry, out, output.path
        )
        output.replace_failures(journal)


def _failed_rows(job: BatchJob, numbers: set[int]) -> Iterator[InputRow]:
    """The rows with these numbers, in order."""
    return (row for row in job.source.rows() if row.number in numbers)


def _resume_retry(journal: Journal, rows: Iterator[InputRow], job: BatchJob) -> ResumeState | None:
    """The state of an interrupted --retry-failed; None when its file answers other rows."""
    try:
        return journal.resume(rows, job.settings, job.source.name)
    except UsageError:
        return None


def _run_with_progress(
    states: Generator[BatchProgress, None, None],
    job: BatchJob,
    out: screen.Output,
    file: Path | None,
    *,
    fresh: bool = False,
) -> BatchProgress:
    """Run the batch and show its progress; returns the last state.

    If it is interrupted, prints a note on how to resume.
    """
    start, finished = time.monotonic(), False
    first = last = next(states)
    try:
        with closing(states), progress_bar(out, job.total, "rows") as show:
            show(first.done, report.progress_parts(first))
            for last in states:
                show(last.done, report.progress_parts(last), report.row_note(first, last, job.model))
        finished = True
    except BrokenPipeError:
        finished = True
        raise
    finally:
        if not finished and (last.done or not fresh):
            out.note(report.stopped_note(last, job.total, file, fresh=fresh))
    if last.done > first.done:
        out.note(report.finished_note(first, last, time.monotonic() - start, file))
    return last


@contextmanager
def _open_output(request: BatchRequest, out: screen.Output) -> Iterator[Output]:
    """The output of the lines: stdout, a device, or a file that stays locked meanwhile. Raises PixtralError for a locked one."""
    file = request.file
    if file is None:
        yield StreamOutput(out.write)
    elif file.exists() and not file.is_file():
        with file.open("wb", buffering=0) as device:
            yield DeviceOutput(device, file)
    else:
        lock = FileLock.acquire(file.resolve().with_name(f".{file.name[:200]}.lock"))
        if lock is None:
            raise PixtralError(f"Another process is writing {visible(str(file), 60)}", "Let it finish, or stop it")
        with lock, closing(Journal(file)) as journal:
            if request.fresh:
                journal.check()
            yield journal
