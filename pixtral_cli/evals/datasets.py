"""Data sets: parquet or JSONL files of a local folder or of a repository on the hub."""

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pixtral_cli.errors import ImageError, NetworkError, UsageError
from pixtral_cli.evals.task import DatasetRow, HubSource
from pixtral_cli.extras import install_command
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from pixtral_cli.images.image import Image

PARQUET, JSONL = ".parquet", ".jsonl"
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")
EXTRA_HINT = f"Get it: {install_command('evals')}"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A data set: its files in order. `revision` identifies their content."""

    folder: Path
    files: tuple[Path, ...]
    name: str
    revision: str

    def __len__(self) -> int:
        return sum(_count_rows(file) for file in self.files)

    def rows(self, indices: Collection[int]) -> Iterator[DatasetRow]:
        """The rows with these indices (from 0), in order; row groups of parquet without any of them are not read."""
        before = 0
        for file in self.files:
            count = _count_rows(file)
            local = {index - before for index in indices if before <= index < before + count}
            for index, values in _read_parquet(file, local) if file.suffix == PARQUET else _read_jsonl(file, local):
                yield DatasetRow(before + index, values, self._image)
            before += count

    def _image(self, value: Any, name: str) -> "Image":
        """The image of a value: bytes, a path inside the folder, a data URL, base64, or an object of `bytes` and `path`.

        Raises ImageError.
        """
        from pixtral_cli import images

        if isinstance(value, dict):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, bytes):
            return images.from_bytes(value, name)
        if not isinstance(value, str) or not value:
            raise ImageError(f"{name}: there is no image")
        if value.startswith("data:"):
            return images.load(value)
        path, inside = self._locate(value)
        if path:
            return images.load(str(path))
        if data := _picture_in_base64(value):
            return images.from_bytes(data, name)
        if not inside:
            shown = visible(value[:200], 60)
            raise ImageError(f"{name}: the path {shown} leads out of the data folder", "Copy the image into it")
        shown = visible(value[-200:].rpartition("/")[2], 60)
        raise ImageError(f"{name}: there is no file {shown}", "Paths are relative to the data folder")

    def _locate(self, value: str) -> tuple[Path | None, bool]:
        """The file at this path in the folder (None without one), and whether the path stays inside the folder."""
        try:
            path = (self.folder / value).resolve()
            inside = path.is_relative_to(self.folder.resolve())
            return (path if inside and path.exists() else None), inside
        except (OSError, ValueError):  # base64 is longer than a path may be; NUL and surrogates are in no path
            return None, True


def _picture_in_base64(value: str) -> bytes:
    """The bytes of an image in base64, with or without line breaks; empty if the text is not one."""
    from pixtral_cli.images import formats

    try:
        data = base64.b64decode("".join(value.split()), validate=True)
    except ValueError:
        return b""
    return data if formats.is_picture(data) else b""


def open_local(folder: Path, source: HubSource | None = None) -> Dataset:
    """The data set in a folder: the files that match the source's pattern, or else all.

    Raises UsageError for a folder without.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder", "--data must be a folder with parquet or JSONL files")
    files = sorted(folder.glob(source.files)) if source else []
    files = files or sorted(file for file in folder.rglob("*") if file.suffix in (PARQUET, JSONL) and file.is_file())
    if not files:
        raise UsageError(
            f"{folder} holds no parquet and no JSONL file", "--data must be a folder with rows of the task"
        )
    return Dataset(folder, tuple(files), str(folder), _hash_files(folder, files))


def _hash_files(folder: Path, files: Sequence[Path]) -> str:
    """A SHA-256 over the relative names and the hashes of files."""
    combined = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        combined.update(f"{file.relative_to(folder)} {digest}\n".encode())
    return f"sha256:{combined.hexdigest()}"


def open_hub(source: HubSource, *, offline: bool = False) -> Dataset:
    """A data set on the hub, downloaded unless cached. Raises NetworkError, UsageError."""
    import os

    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx2
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    local_hint = "Give a folder that holds it: --data DIR"
    try:
        folder = snapshot_download(
            source.repo, repo_type="dataset", revision=source.revision, allow_patterns=[source.files], local_files_only=offline
        )  # fmt: skip
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise NetworkError(
            f"The data set {source.repo} is not on this machine, and the hub cannot be reached", local_hint
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise NetworkError(
            f"The hub answers {status} for the data set {source.repo}", f"Log in there, or: {local_hint}"
        ) from error
    except (httpx2.HTTPError, OSError) as error:
        raise NetworkError(f"The data set {source.repo} cannot be fetched: {error}"[:120], local_hint) from error
    files = sorted(Path(folder).glob(source.files))
    if not files:
        raise UsageError(f"The data set {source.repo} has no file {source.files} here", local_hint)
    return Dataset(Path(folder), tuple(files), source.repo, Path(folder).name)


def _count_rows(file: Path) -> int:
    if file.suffix == PARQUET:
        return int(_open_parquet(file).metadata.num_rows)
    with file.open("rb") as stream:
        return sum(1 for line in stream if line.strip())


def _read_jsonl(file: Path, indices: Collection[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as stream:
        lines = (line for line in stream if line.strip())
        for index, line in enumerate(lines):
            if index in indices:
                yield index, _parse_object(line, f"{file.name}, row {index}")


def _parse_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
        value = _without_surrogates(value) if _SURROGATE_ESCAPE.search(line) else value
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not valid JSON", "A JSONL file holds one object a line") from error
    if not isinstance(value, dict):
        raise UsageError(f"{where}: not a JSON object", "A JSONL file holds one object a line")
    return value


def _without_surrogates(value: Any) -> Any:
    """The value with U+FFFD in place of lone surrogates, which cannot be encoded as UTF-8."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, dict):
        return {_without_surrogates(key): _without_surrogates(inner) for key, inner in value.items()}
    return [_without_surrogates(inner) for inner in value] if isinstance(value, list) else value


def _read_parquet(file: Path, indices: Collection[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows with these indices; row groups without any of them are not read. Raises UsageError."""
    opened = _open_parquet(file)
    before = 0
    for group in range(opened.num_row_groups):
        count = opened.metadata.row_group(group).num_rows
        if any(before <= index < before + count for index in indices):
            start = before
            for batch in opened.iter_batches(batch_size=16, row_groups=[group]):
                chosen = [index for index in range(start, start + batch.num_rows) if index in indices]
                for index in chosen:
                    try:
                        yield index, batch.slice(index - start, 1).to_pylist()[0]
                    except UnicodeDecodeError as error:
                        raise UsageError(
                            f"{file.name}, row {index}: text that is not UTF-8", "Download it again"
                        ) from error
                start += batch.num_rows
        before += count


def _open_parquet(file: Path) -> Any:
    """The `pyarrow.parquet.ParquetFile`. Raises UsageError when pyarrow is missing or the file is not valid."""
    try:
        arrow: Any = import_module("pyarrow")  # an extra, and untyped
        parquet: Any = import_module("pyarrow.parquet")
    except ModuleNotFoundError as error:
        raise UsageError("Reading parquet needs one more package", EXTRA_HINT) from error
    try:
        return parquet.ParquetFile(file)
    except (arrow.ArrowException, OSError) as error:
        raise UsageError(f"{file.name} is not a valid parquet file", "Download it again") from error
