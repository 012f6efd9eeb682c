"""The options of `pixtral batch`, and the checks of them that need no engine."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pixtral_cli.batch.csv_rows import is_csv
from pixtral_cli.batch.input import match_files
from pixtral_cli.chat.templates import FilledTemplate, Template
from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.ask import output_file
from pixtral_cli.util.inputs import refuse_overwriting_inputs
from pixtral_cli.util.sanitize import visible

EXAMPLE = "For example: pixtral batch rows.jsonl -o answers.jsonl"
SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers", ".parquet")
GLOB_EXAMPLE = "For example: pixtral batch --glob 'scans/*.png' Transcribe -o texts.jsonl"


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """The options of `pixtral batch`. `words`: the file of rows, or the question where `patterns` name the files."""

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
    retry_failed: bool = False
    allow_private: bool = False
    all_formats: bool = False
    sampling_fields: Mapping[str, Any] = field(default_factory=dict)  # of `Sampling`, which are not settings

    @property
    def file(self) -> Path | None:
        """The file that lines are written to; None for stdout. For a CSV file, the file of lines it is made from."""
        file = self.output if str(self.output) not in ("-", "/dev/stdout") else None
        return file.with_name(f"{file.name}.jsonl") if file and self.table else file

    @property
    def table(self) -> Path | None:
        """The CSV file of the answers, if --output names one."""
        return self.output if is_csv(self.output) else None

    def filled(self, text: str) -> FilledTemplate:
        """The template filled with `text`, a question or a row's prompt; without a template, a prompt of `text`."""
        return self.template.fill(text, self.values) if self.template else FilledTemplate(text, None)


def check_request(request: BatchRequest) -> None:
    """Raises UsageError for options that exclude each other or would overwrite an input, before anything is opened."""
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
    if request.fresh and request.retry_failed:
        raise UsageError("--fresh forgets all answers, --retry-failed keeps those there are", "Leave one of them out")
    if request.retry_failed and not request.patterns and (request.words[0] == "-" or Path(request.words[0]).is_fifo()):
        raise UsageError("--retry-failed reads the rows twice, and a pipe comes once", "Put them into a file")
    if request.retry_failed and (not request.file or not request.file.is_file()):
        raise UsageError("--retry-failed needs an output file to complete", "Name it: -o FILE")
    count, schema = (
        request.sampling_fields.get("n", 1),
        request.schema or (request.template and request.template.schema),
    )
    if count > 1 and schema:
        raise UsageError(f"--n {count} makes several answers, and a schema takes one", "Leave one of them out")
    if request.file:
        output_file.check_writable(request.file)
        if request.file.suffix.lower() in SPREADSHEETS:
            raise UsageError(
                f"{visible(str(request.file), 60)} cannot be a spreadsheet",
                "Name it .csv or .tsv, or .jsonl for all fields",
            )
        rows = match_files(request.patterns).files if request.patterns else request.words
        inputs = [*rows, *([request.schema] if request.schema else [])]
        for target in filter(None, (request.file, request.table)):
            refuse_overwriting_inputs(target, inputs)
        if request.table and request.table.exists() and not request.file.exists() and not request.fresh:
            raise UsageError(
                f"{visible(str(request.table), 60)} exists already", "Name another file, or begin anew: --fresh"
            )


def _check_rows(file: Path) -> None:
    """Raises UsageError for a picture, a document, a folder or a question, which have no rows."""
    from pixtral_cli.images.formats import is_picture, rare_format

    shown = visible(str(file), 60)
    if file.is_dir():
        raise UsageError(
            f"{shown} is a folder, no file of rows", f"Ask about its files: --glob '{file}/*' \"QUESTION\""
        )
    if len(str(file).split()) > 1 and not file.exists():
        raise UsageError(f"There is no file of rows {shown!r}", "A question goes with the files of --glob 'PATTERN'")
    with suppress(OSError):
        if file.is_file():
            with file.open("rb") as stream:
                start = stream.read(4096)
            if is_picture(start) or rare_format(start):
                raise UsageError(f"{shown} is a picture or a document, no file of rows", GLOB_EXAMPLE)
