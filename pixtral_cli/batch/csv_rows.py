"""Rows of a CSV file, each as the JSON line that it means; and answers as a CSV file beside the rows' own columns."""

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
PROMPT, IMAGES = (
    ("prompt", "question"),
    ("images", "image", "file", "path"),
)  # names of columns, the first that is there
PLAIN = ("id", "system")
MAX_CELL = 10_000_000  # characters


def is_csv(path: Path | None) -> bool:
    """Whether a file's name ends as a table's does."""
    return path is not None and path.suffix.lower() in ENDINGS


@dataclass(frozen=True, slots=True)
class CsvRows:
    """The rows below the line of names. Columns: prompt, images (several apart by `;`), id, system; all go along as metadata.

    Raises UsageError when it cannot be read or has neither a prompt nor images.
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
        for number, cells in enumerate(self._records(), 1):
            data = json.dumps(_line(cells), ensure_ascii=False).encode("utf-8", "replace")
            yield InputRow(number, data, hashlib.sha256(data).hexdigest())

    def _records(self) -> Iterator[dict[str, str]]:
        csv.field_size_limit(MAX_CELL)
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as stream:
                reader = csv.reader(stream, delimiter=self._delimiter(stream))
                names = [name.strip() for name in next(reader, [])]
                self._check(names)
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield dict(zip(names, [*cells, *[""] * len(names)], strict=False))
        except OSError as error:
            raise UsageError(f"{self.name} cannot be read: {error.strerror}", "Check the name") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise UsageError(f"{self.name} is no CSV in UTF-8: {error}", "Save it as CSV UTF-8") from error

    def _delimiter(self, stream: io.TextIOWrapper) -> str:
        """A tab in a .tsv; else what stands most often in the line of names: a comma, a semicolon or a tab."""
        first = stream.readline()
        stream.seek(0)
        return "\t" if self.path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)

    def _check(self, names: list[str]) -> None:
        known = [name.lower() for name in names]
        if not any(name in known for name in (*PROMPT, *IMAGES)):
            shown = visible(", ".join(names) or "nothing", 60)
            raise UsageError(f"{self.name} has no column prompt or image, but {shown}", "Name them in the first line")
        if doubled := next((name for name in known if name and known.count(name) > 1), ""):
            raise UsageError(f"{self.name} has two columns {visible(doubled, 40)}", "Give each its own name")


def _line(cells: dict[str, str]) -> dict[str, Any]:
    """The plain row that the cells of a line mean."""
    known = {name.lower(): value for name, value in cells.items()}
    line: dict[str, Any] = {name: known[name] for name in PLAIN if known.get(name, "").strip()}
    line["prompt"] = next((known[name] for name in PROMPT if name in known), "")
    held = next((known[name] for name in IMAGES if name in known), "")
    line["images"] = (
        [held] if held[:5].lower() == "data:" else [each for each in re.split(r"\s*[;\n]\s*", held.strip()) if each]
    )
    return {**line, "metadata": cells}


def answers_as_csv(lines: Iterable[bytes]) -> tuple[str, int]:
    """A batch's output lines as CSV, and how many cells were guarded against spreadsheets that run formulas.

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
    """What a line has, and apart from it its further answers and the log-probabilities of all."""
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
    told = error.get("message") if isinstance(error, dict) else error
    return {**carried, **apart, "answer": answer, "error": told}, more
