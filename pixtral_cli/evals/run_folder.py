"""A run on disk: a folder with its settings (run.json), every row's answers (answers.jsonl) and small copies of images.

A row's answers are on disk before its progress is reported; an incomplete last line is removed when the run is resumed.
"""

import hashlib
import io
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from pixtral_cli.api import messages as wire
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.util import atomic
from pixtral_cli.util.locks import FileLock

SETTINGS_FILE, ANSWERS_FILE, IMAGES_FOLDER, LOCK_FILE = "run.json", "answers.jsonl", "images", ".lock"
MAX_IMAGE_SIDE = 512  # pixels of a copy's longer side
_SHA256 = re.compile(r"[0-9a-f]{64}")
Record: TypeAlias = dict[str, Any]


def run_name(about: Mapping[str, Any]) -> str:
    """A name for a run with these settings: equal settings have equal names, so the same command resumes the same run."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    model = re.sub(r"[^\w.-]+", "-", str(about["model"]["name"]).rpartition("/")[2])[:40]
    return f"{about['task']}-{model}-{digest[:8]}"


@dataclass(frozen=True, slots=True)
class Run:
    """A run on disk. `about`: the settings that answers depend on; `rows`: the number of rows to ask.

    `versions`: the versions of the software it ran with; several where they changed before it was complete.
    """

    folder: Path
    about: Mapping[str, Any]
    rows: int
    versions: Sequence[Mapping[str, Any]] = ()

    def records(self) -> list[Record]:
        """The records of all questions in the order of rows: a row's newest ones, none of incomplete rows."""
        rows: dict[int, list[Record]] = {}
        for record in _read_records(self.folder / ANSWERS_FILE):
            if record["place"] == 0:
                rows[record["row"]] = []
            rows.setdefault(record["row"], []).append(record)
        return [record for _, row in sorted(rows.items()) if len(row) == row[0]["of"] for record in row]

    def done(self) -> set[int]:
        """The rows whose questions have all been answered and scored."""
        records = self.records()
        return {record["row"] for record in records} - {record["row"] for record in records if record["error"]}

    def append(self, records: Sequence[Record]) -> None:
        """Append the records of one row; on return they are on disk."""
        data = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode("utf-8", "replace")
        with (self.folder / ANSWERS_FILE).open("ab") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def save_image(self, image: Image) -> None:
        """Store a copy of an image for the report, its longer side reduced to at most `MAX_IMAGE_SIDE` pixels."""
        file = self.image_file(image.sha256)
        if file.exists():
            return
        pixels = image.pixels((MAX_IMAGE_SIDE, MAX_IMAGE_SIDE))
        pixels.thumbnail((MAX_IMAGE_SIDE, MAX_IMAGE_SIDE))
        buffer = io.BytesIO()
        pixels.save(buffer, "WEBP", quality=85)
        atomic.write(file, buffer.getvalue())

    def image_file(self, sha256: str) -> Path:
        """The path of the copy of an image, which need not exist."""
        return self.folder / IMAGES_FOLDER / f"{sha256}.webp"

    def with_versions(self, versions: Mapping[str, Any]) -> "Run":
        """The run with these versions recorded, if the last ones differ; versions that gave no answers are dropped."""
        if self.versions and self.versions[-1] == versions:
            return self
        run = replace(self, versions=[*(self.versions if self.records() else ()), versions])
        run.write()
        return run

    def write(self) -> None:
        """Write the settings file."""
        content = {"about": self.about, "rows": self.rows, "versions": self.versions}
        atomic.write(self.folder / SETTINGS_FILE, json.dumps(content, indent=1, ensure_ascii=False))

    def lock(self) -> FileLock:
        """The lock that a process holds while it writes to the run. Raises PixtralError when another process holds it."""
        if lock := FileLock.acquire(self.folder / LOCK_FILE):
            return lock
        raise PixtralError(f"Another process is running {self.folder.name}", "Let it finish, or stop it")


def open_run(folder: Path) -> Run:
    """The run in a folder. Raises UsageError when there is none."""
    try:
        return _parse_run(folder, wire.parse((folder / SETTINGS_FILE).read_bytes()))
    except FileNotFoundError as error:
        raise UsageError(f"There is no run in {folder}", "Runs: pixtral eval list") from error
    except (wire.FieldError, LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder / SETTINGS_FILE} is damaged", "Run the evaluation again with --fresh") from error


def _parse_run(folder: Path, content: Any) -> Run:
    """The run that the content of a settings file describes. Raises TypeError or LookupError for one that is not valid."""
    about, rows, versions = content["about"], content["rows"], content["versions"]
    texts = about["task"], about["model"]["name"], about.get("prompts", {}).get("source", "")
    if not _all_are(str, texts) or not _all_are(dict, (about, *versions)) or not _all_are(int, (rows,)):
        raise TypeError
    return Run(folder, about, rows, versions)


def create_run(folder: Path, about: Mapping[str, Any], rows: int, *, fresh: bool = False) -> Run:
    """The run in a folder, created if there is none; `fresh` deletes its answers.

    Raises UsageError when the folder holds another run or other files, PixtralError when it cannot be made.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", "-o names the folder of the run")
    if (folder / ANSWERS_FILE).exists() and not (folder / SETTINGS_FILE).exists():
        raise UsageError(f"{folder / ANSWERS_FILE} exists and belongs to no run", "Name another folder: -o DIR")
    run = Run(folder, about, rows)
    try:
        (folder / IMAGES_FOLDER).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = (error.strerror or "it cannot be made").lower()
        raise PixtralError(f"The run cannot be kept in {folder}: {why}", "Name another folder: -o DIR") from error
    with run.lock():
        if (folder / SETTINGS_FILE).exists() and not fresh:
            run = open_run(folder)
            if run.about != about:
                raise UsageError(f"{folder} holds another run", "Name another folder, or add --fresh to forget it")
            _remove_incomplete_line(folder / ANSWERS_FILE)
        else:
            (folder / ANSWERS_FILE).unlink(missing_ok=True)
            run.write()
    return run


def _remove_incomplete_line(file: Path) -> None:
    """Truncate a last line without a newline."""
    if file.exists() and not (data := file.read_bytes()).endswith(b"\n"):
        os.truncate(file, data.rfind(b"\n") + 1)


def _read_records(file: Path) -> Iterable[Record]:
    if not file.exists():
        return
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _checked_record(wire.parse(line))
            except (wire.FieldError, LookupError, TypeError, AttributeError) as error:
                raise UsageError(
                    f"{file}, line {number} is damaged", "Delete that line and run the command again"
                ) from error


def _checked_record(value: Any) -> Record:
    """The record, if its values have the types of a record. Raises TypeError or LookupError otherwise."""
    lists = [value[name] for name in ("groups", "answers", "references", "follow_ups", "messages")]
    numbers = (value["seconds"], *value["scores"].values(), *value["weights"].values())
    valid = (
        _all_are(list, lists)
        and _all_are(str, (value["key"], value["verdict"], value["error"], *itertools.chain(*lists[:4])))
        and _all_are(int, (value["row"], value["place"], value["of"]))
        and _all_are((int, float), numbers)
        and len(value["follow_ups"]) >= len(value["answers"]) - 1
        and all(_is_message(message) for message in value["messages"])
    )
    if not valid:
        raise TypeError
    return dict(value)


def _is_message(message: Any) -> bool:
    return isinstance(message["role"], str) and all(
        isinstance(part, str) or _is_image(part) for part in message["parts"]
    )


def _is_image(part: Any) -> bool:
    """Whether a part of a message describes an image, named by a hash, which cannot lead out of the folder of images."""
    size = part["size"]
    return _SHA256.fullmatch(part["image"]) is not None and isinstance(part["name"], str) and _all_are(int, size) and len(size) == 2  # fmt: skip


def _all_are(kind: type | tuple[type, ...], values: Iterable[Any]) -> bool:
    return all(isinstance(value, kind) and not isinstance(value, bool) for value in values)


def messages_json(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as JSON for a record: texts, and images by hash, name and size."""
    return [{"role": message.role, "parts": [_part_json(part) for part in message.parts]} for message in messages]


def _part_json(part: str | Image) -> Any:
    if isinstance(part, str):
        return part
    return {"image": part.sha256, "name": part.name, "size": list(part.size)}
