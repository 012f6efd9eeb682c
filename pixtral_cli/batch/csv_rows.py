"""The rows of a CSV file as JSON lines, and a batch's answers as a CSV file that repeats the columns of the rows."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixtral_cli.batch.input import InputRow
from pixtral_cli.errors import UsageError
from pixtral_cli.structured.records import Table, to_csv
from pixtral_cli.util.sanitize import visible

ENDINGS = (".csv", ".tsv")
# Names of columns; of several names the first that is there is read.
PROMPT_COLUMNS, IMAGE_COLUMNS = ("prompt", "question"), ("images", "image", "file", "path")
OTHER_COLUMNS = ("id", "system")
MAX_CELL_CHARACTERS = 10_000_000


def is_csv(path: Path | None) -> bool:
    """Whether a file's name ends in .csv or .tsv."""
    return path is not None and path.suffix.lower() in ENDINGS


@dataclass(frozen=True, slots=True)
class CsvRows:
    """The rows below the header.

    Columns: prompt, images (separated by `;`), id, system; every column becomes metadata too. Reading raises UsageError
    when the file cannot be read or has neither a column of prompts nor one of images.
    """

    path: Path

    @property
    def name(self) -> str:
        return visible(self.path.name, 60)

    @property
    def folder(self) -> Path:
        return self.path.parent

    def count(self) -> int | None:
        return sum(1 for _ in self.rows())

    def rows(self) -> Iterator[InputRow]:
        for number, (line, cells) in enumerate(self._records(), 1):
            data = json.dumps(_json_row(cells), ensure_ascii=False).encode("utf-8", "replace")
            yield InputRow(number, data, hashlib.sha256(data).hexdigest(), line)

    def _records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """The line where each row begins, and its cells by column."""
        csv.field_size_limit(MAX_CELL_CHARACTERS)
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.reader(stream, delimiter=self._delimiter(stream))
                names = [name.strip() for name in next(reader, [])]
                self._check_header(names)
                line = reader.line_num + 1
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield line, dict(zip(names, [*cells, *[""] * len(names)], strict=False))
                    line = reader.line_num + 1
        except OSError as error:
            raise UsageError(f"{self.name} cannot be read: {error.strerror}", "Check the name") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{self.name} is not CSV in UTF-8: {error}", "Save it as CSV UTF-8") from error

    def _delimiter(self, stream: io.TextIOWrapper) -> str:
        """A tab in a .tsv; else whichever of comma, semicolon and tab is most frequent in the header."""
        first = stream.readline()
        stream.seek(0)
        return "\t" if self.path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)

    def _check_header(self, names: list[str]) -> None:
        """Raises UsageError for a header without a column of prompts or images, or with one name twice."""
        lowered = [name.lower() for name in names]
        if not any(name in lowered for name in (*PROMPT_COLUMNS, *IMAGE_COLUMNS)):
            shown = visible(", ".join(names) or "nothing", 60)
            raise UsageError(f"{self.name} has no column prompt or image, but {shown}", "Name them in the first line")
        if doubled := next((name for name in lowered if name and lowered.count(name) > 1), ""):
            raise UsageError(f"{self.name} has two columns {visible(doubled, 40)}", "Give each its own name")


def _json_row(cells: dict[str, str]) -> dict[str, Any]:
    """The cells of a row, by column, as a row in plain format."""
    by_name = {name.lower(): value for name, value in cells.items()}
    line: dict[str, Any] = {name: by_name[name] for name in OTHER_COLUMNS if by_name.get(name, "").strip()}
    line["prompt"] = next((by_name[name] for name in PROMPT_COLUMNS if name in by_name), "")
    sources = next((by_name[name] for name in IMAGE_COLUMNS if name in by_name), "")
    line["images"] = (
        [sources]
        if sources[:5].lower() == "data:"
        else [source for source in re.split(r"\s*[;\n]\s*", sources.strip()) if source]
    )
    return {**line, "metadata": cells}


def answers_as_csv(lines: Iterable[bytes]) -> tuple[str, int]:
    """A batch's output lines as CSV, and how many cells were escaped because a spreadsheet would run them as formulas.

    What a row carried along comes first, then the answer (an object's fields each in a column), further answers, their
    log-probabilities, then the error.
    """
    records = [_record(json.loads(line)) for line in lines]
    names = dict.fromkeys(name for record, _ in records for name in record)
    keys = sorted({name for _, more in records for name in more}, key=lambda name: (name[0], len(name), name))
    further = {key: f"{key}_answer" if key in names else key for key in keys}
    rows = [{**record, **{further[key]: held for key, held in more.items()}} for record, more in records]
    last = ("answer", *further.values(), "error") if rows else ()
    return to_csv(Table(rows, (*(name for name in names if name not in last), *last)))


def _answers(line: dict[str, Any]) -> list[tuple[Any, Any]]:
    """The text and the log-probabilities of each answer of a line."""
    if "row" in line:
        return [(one.get("answer"), one.get("logprobs")) for one in line.get("answers") or [line]]
    choices = ((line.get("response") or {}).get("body") or {}).get("choices") or [{}]
    return [(one.get("message", {}).get("content"), one.get("logprobs")) for one in choices]


def _record(line: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """An output line, in plain or OpenAI's format, as cells by column: (all but the others, further answers and logprobs)."""
    carried: dict[str, Any] = {
        name: line[name] for name in ("custom_id", "id", "file") if line.get(name) is not None and name in line
    }
    if "row" not in line:  # in OpenAI's format
        carried.pop("id", None)
    else:
        metadata = line.get("metadata")
        carried = metadata if isinstance(metadata, dict) else carried
    error = line.get("error")
    (answer, _), *_ = answers = _answers(line)
    more = {f"answer_{number}": text for number, (text, _) in enumerate(answers[1:], 2)}
    more |= {f"logprobs_{number}": logprobs for number, (_, logprobs) in enumerate(answers, 1) if logprobs}
    value = line.get("value")
    fields = value if isinstance(value, dict) else {}
    apart = {f"{name}_answer" if name in carried else name: held for name, held in fields.items()}
    message = error.get("message") if isinstance(error, dict) else error
    return {**carried, **apart, "answer": answer, "error": message}, more
