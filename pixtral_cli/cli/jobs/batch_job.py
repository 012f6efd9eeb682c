"""Builds a batch from its options and settings: rows, parser, sampling and concurrency."""

import hashlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pixtral_cli.batch.csv_rows import CsvRows, is_csv
from pixtral_cli.batch.input import FileLines, RowSource, StdinLines, match_files
from pixtral_cli.batch.results import ResultShape
from pixtral_cli.batch.row_reader import RowOpener, RowReader, detect_format
from pixtral_cli.batch.runner import UNKNOWN_SHAPE, BatchPlan
from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.cli.common import engine_setup, template_options
from pixtral_cli.cli.common.engine_setup import EngineChoice
from pixtral_cli.cli.jobs.batch_request import EXAMPLE, BatchRequest
from pixtral_cli.config import Config
from pixtral_cli.errors import UsageError
from pixtral_cli.structured import schema as schemas
from pixtral_cli.terminal.output.output import dumps

LOCAL_CONCURRENCY, REMOTE_CONCURRENCY = 4, 8  # rows asked at a time: of a model on this machine, of a server


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A batch that can be run.

    `total`: the number of rows, if known; `settings`: the digest of all that answers depend on.
    """

    source: RowSource
    total: int | None
    open: RowOpener
    model: str
    settings: str
    concurrency: Callable[[Engine], int]
    unreadable: ResultShape = UNKNOWN_SHAPE  # the shape for rows that cannot be read
    structured: bool = False

    def plan(self, engine: Engine) -> BatchPlan:
        """The plan to run this batch on an engine."""
        return BatchPlan(
            self.open, engine, self.model, self.settings, self.concurrency(engine), dumps, self.unreadable,
            self.structured,
        )  # fmt: skip


def build_job(request: BatchRequest, chosen: EngineChoice, settings: Config) -> BatchJob:
    """The batch of these options and settings. Raises UsageError when it has no rows or its schema is not valid."""
    question = request.filled("".join(request.words) if request.patterns else "").prompt
    source = match_files(request.patterns) if request.patterns else _row_source(request.words[0])
    count = source.count()
    if count is not None:
        check_not_empty(count, source)
        count = min(count, request.limit or count)
    sampling = replace(engine_setup.sampling(settings, chosen.name, request.stop), **request.sampling_fields)
    text, extract = template_options.schema_and_extract(request.template, request.schema, None)
    if text is not None:
        sampling = replace(sampling, schema=schemas.parse(text))
    reader = RowReader(
        sampling, settings.system, question, lambda prompt: request.filled(prompt).prompt, source.folder,
        request.allow_private, bool(settings.offline), extract or "", request.all_formats,
    )  # fmt: skip
    piped = not request.patterns and count is None
    form = "openai" if piped else "plain" if request.patterns else detect_format(source)
    is_local = not settings.base_url and settings.engine in (None, "local")
    default = LOCAL_CONCURRENCY if is_local else REMOTE_CONCURRENCY
    digest = _digest(chosen.name, sampling, settings.system, question, extract)
    return BatchJob(
        source, count, reader.image_row if request.patterns else reader.json_row, chosen.name, digest,
        lambda engine: request.concurrency or engine_setup.parallel_answers(engine, settings, default),
        ResultShape(form), text is not None,
    )  # fmt: skip


def _row_source(name: str) -> RowSource:
    """The rows of a file, or of stdin for "-". Raises UsageError when stdin is a terminal."""
    if name != "-":
        return CsvRows(Path(name)) if is_csv(Path(name)) and not Path(name).is_fifo() else FileLines(Path(name))
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("- reads rows from stdin, and stdin is a terminal", "Pipe rows into it, or name a file")
    return StdinLines(sys.stdin.buffer)


def check_not_empty(count: int, source: RowSource) -> None:
    """Raises UsageError when a batch has no rows."""
    if not count:
        raise UsageError(f"There are no rows in {source.name}", EXAMPLE)


def _digest(model: str, sampling: Sampling, system: str | None, question: str, extract: str | None) -> str:
    """A digest of everything but the row that an answer depends on."""
    inputs = {"model": model, "sampling": asdict(sampling), "system": system, "question": question}
    if extract:
        inputs["extract"] = extract
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
