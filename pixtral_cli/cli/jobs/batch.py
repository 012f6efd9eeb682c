"""Runs a batch from its flags to its end: rows, engine, output and progress put together."""

import hashlib
import json
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pixtral_cli.batch import dry_run as costs
from pixtral_cli.batch import report
from pixtral_cli.batch.csv_rows import CsvRows, answers_as_csv, is_csv
from pixtral_cli.batch.input import FileLines, InputRow, RowSource, StdinLines, match_files
from pixtral_cli.batch.journal import DeviceOutput, Journal, Output, ResumeState, StreamOutput
from pixtral_cli.batch.results import ResultShape
from pixtral_cli.batch.row_reader import RowOpener, RowReader, common_form
from pixtral_cli.batch.runner import UNKNOWN_SHAPE, BatchPlan, BatchProgress, run_batch
from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.chat.templates import FilledTemplate, Template
from pixtral_cli.cli.common import engine_setup, template_options
from pixtral_cli.cli.common.engine_setup import EngineChoice
from pixtral_cli.config import Config
from pixtral_cli.errors import BatchError, PixtralError, UsageError
from pixtral_cli.structured import schema as schemas
from pixtral_cli.terminal.ask import output_file
from pixtral_cli.terminal.output import output as screen
from pixtral_cli.terminal.output.progress_bar import progress_bar
from pixtral_cli.util.inputs import refuse_overwriting_inputs
from pixtral_cli.util.locks import FileLock
from pixtral_cli.util.sanitize import visible

LOCAL_CONCURRENCY, REMOTE_CONCURRENCY = 4, 8  # rows asked at a time: of a model on this machine, of one behind a URL
EXAMPLE = "For example: pixtral batch rows.jsonl -o answers.jsonl"
GLOB_EXAMPLE = "For example: pixtral batch --glob 'scans/*.png' Transcribe -o texts.jsonl"


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """The options of `pixtral batch`. `words` are a file, or the question where `patterns` name the files."""

    words: Sequence[str]
    patterns: Sequence[str] = ()
    output: Path | None = None
    schema: str | None = None
    stop: Sequence[str] = ()
    template: Template | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    limit: int | None = None
    concurrency: int | None = None
    fresh: bool = False
    retry: bool = False
    allow_private: bool = False
    all_formats: bool = False
    each: Mapping[str, Any] = field(default_factory=dict)  # fields of the sampling that are no settings

    @property
    def file(self) -> Path | None:
        """The file that lines are written to, unless that is stdout; of a CSV file, the one beside it that it is made of."""
        file = self.output if str(self.output) not in ("-", "/dev/stdout") else None
        return file.with_name(f"{file.name}.jsonl") if file and self.table else file

    @property
    def table(self) -> Path | None:
        """The CSV file that the answers are to be in, if one is wanted."""
        return self.output if is_csv(self.output) else None

    def filled(self, text: str) -> FilledTemplate:
        """The template filled with `text`, which is the question or a row's prompt: prompt and system prompt."""
        return self.template.fill(text, self.values) if self.template else FilledTemplate(text, None)


@dataclass(frozen=True, slots=True)
class Job:
    """A batch that can be run. `total` is the number of rows, if known; `settings` identifies what answers depend on."""

    source: RowSource
    total: int | None
    open: RowOpener
    model: str
    settings: str
    concurrency: Callable[[Engine], int]
    unknown: ResultShape = UNKNOWN_SHAPE  # of a row that cannot be read
    structured: bool = False

    def plan(self, engine: Engine) -> BatchPlan:
        return BatchPlan(
            self.open, engine, self.model, self.settings, self.concurrency(engine), screen.dumps, self.unknown,
            self.structured,
        )  # fmt: skip


def check(request: BatchRequest) -> None:
    """Raises UsageError for words that make no sense together, before anything is opened."""
    if request.patterns and len(request.words) > 1:
        raise UsageError("--glob needs its pattern in quotes, and one question", GLOB_EXAMPLE)
    if request.patterns and not request.filled("".join(request.words)).prompt.strip():
        raise UsageError("There is no question about the files of --glob", GLOB_EXAMPLE)
    if not request.patterns and len(request.words) != 1:
        many = f"not {len(request.words)}" if request.words else "and none is named"
        raise UsageError(f"A batch needs one file of rows, {many}", EXAMPLE)
    if not request.patterns and request.words[0] != "-":
        _check_rows(Path(request.words[0]))
    if request.fresh and not request.file:
        raise UsageError("--fresh begins an output file anew, and none is named", "Name it: -o FILE")
    if request.fresh and request.retry:
        raise UsageError("--fresh forgets all answers, --retry-failed keeps those there are", "Leave one of them out")
    if request.retry and not request.patterns and (request.words[0] == "-" or Path(request.words[0]).is_fifo()):
        raise UsageError("--retry-failed reads the rows twice, and a pipe comes once", "Put them into a file")
    if request.retry and (not request.file or not request.file.is_file()):
        raise UsageError("--retry-failed needs an output file to complete", "Name it: -o FILE")
    several, schema = request.each.get("n", 1), request.schema or (request.template and request.template.schema)
    if several > 1 and schema:
        raise UsageError(f"--n {several} makes several answers, and a schema takes one", "Leave one of them out")
    if request.file:
        output_file.check_writable(request.file)
        rows = match_files(request.patterns).files if request.patterns else request.words
        inputs = [*rows, *([request.schema] if request.schema else [])]
        for target in filter(None, (request.file, request.table)):
            refuse_overwriting_inputs(target, inputs)
        if request.table and request.table.exists() and not request.file.exists() and not request.fresh:
            raise UsageError(
                f"{visible(str(request.table), 60)} is there already", "Name another file, or begin anew: --fresh"
            )


def preview(request: BatchRequest, chosen: EngineChoice, settings: Config, out: screen.Output) -> None:
    """Print what the batch would cost. Raises BatchError when rows would fail."""
    job = _build_job(request, chosen, settings)
    sum = costs.CostTotal()
    rows = islice(job.source.rows(), request.limit)
    with (
        closing(chosen.open()) as engine,
        closing(costs.total_costs(job.plan(engine), rows)) as costs_so_far,
        progress_bar(out, job.total, "rows") as show,
    ):
        for now in costs_so_far:
            note = report.failure_note(now.rows, now.failure, now.failed) if now.failed > sum.failed else ""
            show(now.rows, [f"{now.failed:,} failed"] if now.failed else [], note)
            sum = now
    _check_not_empty(sum.rows, job.source)
    out.write(report.cost_table(sum, chosen.name))
    if sum.failed:
        raise BatchError(f"{sum.failed:,} of {report.count_rows(sum.rows)} would fail")


def answer(request: BatchRequest, chosen: EngineChoice, settings: Config, out: screen.Output) -> None:
    """Answer the rows that the output does not answer yet. Raises BatchError when some failed."""
    job = _build_job(request, chosen, settings)
    with _open_output(request, out) as output, closing(chosen.open()) as engine:
        if settings.engine == engine_setup.VLLM:  # it takes minutes: not only once there is a row to ask
            engine_setup.load_with_spinner(engine, out)
        rows, before = job.source.rows(), ResumeState()
        if isinstance(output, Journal) and not request.fresh:
            before = output.resume(rows, job.settings, job.source.name)
            if request.retry and before.failed:
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
    _check_not_empty(last.done, job.source)
    if request.table and request.file:
        _write_table(request.table, request.file, out, whole=not last.failed and last.done == job.total)
    if last.failed:
        hint = "Their lines say why; --retry-failed asks them again" if request.file else ""
        raise BatchError(f"{last.failed:,} of {report.count_rows(last.done)} failed", hint)


def _write_table(table: Path, lines: Path, out: screen.Output, *, whole: bool) -> None:
    """Make the CSV file of the lines, which are kept while there is something left to ask."""
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
        f"Wrote {visible(str(table), 60)}" + ("" if whole else f"; what is left is asked by means of {lines.name}")
    )


def _delete_old_answers(request: BatchRequest, output: Output) -> None:
    """With --fresh, delete the old answers; called when the engine is loaded, because everything before may fail."""
    if request.fresh and isinstance(output, Journal):
        _retry_path(output).unlink(missing_ok=True)
        output.clear()


def _retry_path(output: Journal) -> Path:
    """The file into which failed rows are answered again until all of them are."""
    path = output.path.resolve()
    return path.with_name(f".{path.name[:200]}.retry")


def _retry_failed_rows(job: Job, engine: Engine, output: Journal, before: ResumeState, out: screen.Output) -> None:
    """Answer the rows that failed anew, in a file beside the output until all of them are."""
    out.note(f"Asking {report.count_rows(len(before.failed))} again")
    numbers = set(before.failed)
    with closing(Journal(_retry_path(output))) as journal:
        rows = _failed_rows(job, numbers)
        done = _resume_retry(journal, rows, job)
        if done is None or len(done.failed) == len(numbers):  # left behind, or every row failed anew
            journal.clear()
            rows, done = _failed_rows(job, numbers), ResumeState()
        again = replace(job, total=len(numbers))
        _run_with_progress(
            run_batch(job.plan(engine), rows, journal, before=done, total=again.total), again, out, output.path
        )
        output.replace_failures(journal)


def _failed_rows(job: Job, numbers: set[int]) -> Iterator[InputRow]:
    return (row for row in job.source.rows() if row.number in numbers)


def _resume_retry(journal: Journal, rows: Iterator[InputRow], job: Job) -> ResumeState | None:
    """The state of an earlier --retry-failed with these rows; None when its answers are to other rows."""
    try:
        return journal.resume(rows, job.settings, job.source.name)
    except UsageError:
        return None


def _run_with_progress(
    states: Generator[BatchProgress, None, None],
    job: Job,
    out: screen.Output,
    file: Path | None,
    *,
    fresh: bool = False,
) -> BatchProgress:
    """Show the run to its end. If it is stopped before, say how to go on from the output file."""
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


def _check_rows(file: Path) -> None:
    """Raises UsageError for a file that is a picture, which no row is."""
    from pixtral_cli.images.formats import is_picture, rare_format

    with suppress(OSError):
        if file.is_file():
            with file.open("rb") as stream:
                start = stream.read(4096)
            if is_picture(start) or rare_format(start):
                raise UsageError(f"{visible(str(file), 60)} is a picture or a document, no file of rows", GLOB_EXAMPLE)


def _build_job(request: BatchRequest, chosen: EngineChoice, settings: Config) -> Job:
    question = request.filled("".join(request.words) if request.patterns else "").prompt
    source = match_files(request.patterns) if request.patterns else _row_source(request.words[0])
    count = source.count()
    if count is not None:
        _check_not_empty(count, source)
        count = min(count, request.limit or count)
    sampling = replace(engine_setup.sampling(settings, chosen.name, request.stop), **request.each)
    text, extract = template_options.schema_and_extract(request.template, request.schema, None)
    if text is not None:
        sampling = replace(sampling, schema=schemas.parse(text))
    reader = RowReader(
        sampling, settings.system, question, lambda prompt: request.filled(prompt).prompt, source.folder,
        request.allow_private, bool(settings.offline), extract or "", request.all_formats,
    )  # fmt: skip
    piped = not request.patterns and count is None
    form = "openai" if piped else "plain" if request.patterns else common_form(source)
    is_local = not settings.base_url and settings.engine in (None, "local")
    usual = LOCAL_CONCURRENCY if is_local else REMOTE_CONCURRENCY
    digest = _digest(chosen.name, sampling, settings.system, question, extract)
    return Job(
        source, count, reader.picture if request.patterns else reader.line, chosen.name, digest,
        lambda engine: request.concurrency or engine_setup.parallel_answers(engine, settings, usual),
        ResultShape(form), text is not None,
    )  # fmt: skip


def _row_source(name: str) -> RowSource:
    if name != "-":
        return CsvRows(Path(name)) if is_csv(Path(name)) and not Path(name).is_fifo() else FileLines(Path(name))
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("- reads rows from stdin, and stdin is a terminal", "Pipe rows into it, or name a file")
    return StdinLines(sys.stdin.buffer)


def _check_not_empty(count: int, source: RowSource) -> None:
    if not count:
        raise UsageError(f"There are no rows in {source.name}", EXAMPLE)


def _digest(model: str, sampling: Sampling, system: str | None, question: str, extract: str | None) -> str:
    """Equal where every row would be answered in the same way."""
    decides = {"model": model, "sampling": asdict(sampling), "system": system, "question": question}
    if extract:
        decides["extract"] = extract
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


@contextmanager
def _open_output(request: BatchRequest, out: screen.Output) -> Iterator[Output]:
    """The output of the lines: stdout, a device, or a file that this process has locked."""
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
