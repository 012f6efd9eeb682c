"""Finds a checkpoint's weight files and checks what their headers promise. Reads headers, never weights."""

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixtral_cli.engines.local.params import verify_hint
from pixtral_cli.errors import ModelError

SHARD = re.compile(r"consolidated-(\d+)-of-(\d+)\.safetensors")
BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor as a file's header describes it: `dtype` by safetensors' name."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


def weight_files(folder: Path, name: str) -> list[Path]:
    """The files that hold the weights; raises ModelError when there are none or a shard is missing."""
    whole = folder / "consolidated.safetensors"
    if whole.exists() or whole.is_symlink():
        return [whole]
    shards = {
        int(found[1]): (path, int(found[2])) for path in folder.iterdir() if (found := SHARD.fullmatch(path.name))
    }
    if shards:
        count = max(total for _, total in shards.values())
        if missing := [index for index in range(1, count + 1) if index not in shards]:
            raise ModelError(f"Weights of {name}: part {missing[0]} of {count} is missing", verify_hint(name))
        return [shards[index][0] for index in range(1, count + 1)]
    if pickles := sorted(folder.glob("consolidated.*.pth")):
        return pickles
    raise ModelError(f"{folder.name} holds no consolidated.safetensors: no weights", verify_hint(name))


def read_header(path: Path, name: str) -> dict[str, Stored]:
    """The tensors that a safetensors file holds; raises ModelError when it is no such file or is cut short."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            _refuse_other_formats(path, start, name)
            length = struct.unpack("<Q", start)[0]
            if length > size - 8:
                raise _cut(path, name, size, 8 + length)
            header = json.loads(file.read(length))
    except OSError as error:
        raise ModelError(f"{path.name} of {name} cannot be read: {error.strerror}", verify_hint(name)) from error
    except ValueError as error:
        raise ModelError(f"{path.name} of {name} has a damaged header", verify_hint(name)) from error
    header.pop("__metadata__", None)
    end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
    if size < end:
        raise _cut(path, name, size, end)
    return {key: _stored(path, key, entry, name) for key, entry in header.items()}


def _stored(path: Path, key: str, entry: dict[str, Any], name: str) -> Stored:
    if entry["dtype"] not in BYTES:
        raise ModelError(f"{path.name} of {name}: {key} is {entry['dtype']}, which the local engine cannot run"[:120])
    return Stored(path, tuple(entry["shape"]), entry["dtype"])


def _refuse_other_formats(path: Path, start: bytes, name: str) -> None:
    if len(start) < 8:
        raise ModelError(f"{path.name} of {name} is empty or cut short", verify_hint(name))
    if start == b"version ":
        raise ModelError(f"{path.name} of {name} is a Git LFS pointer, not the weights", verify_hint(name))
    if start.lstrip()[:1] == b"<":
        raise ModelError(f"{path.name} of {name} is a web page, not the weights", verify_hint(name))
    if struct.unpack("<Q", start)[0] > 100_000_000:
        raise ModelError(f"{path.name} of {name} is not a safetensors file", verify_hint(name))


def _cut(path: Path, name: str, have: int, need: int) -> ModelError:
    return ModelError(f"{path.name} of {name} is cut short: {have:,} of {need:,} bytes", verify_hint(name))


def compare(stored: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], name: str) -> None:
    """Raise ModelError unless `stored` holds the tensors of `wanted` in their shapes, and no others."""
    if missing := sorted(wanted.keys() - stored.keys()):
        raise ModelError(f"Weights of {name} lack {len(missing)} tensors, first {missing[0]}"[:120], verify_hint(name))
    if unknown := sorted(stored.keys() - wanted.keys()):
        raise ModelError(f"Weights of {name} hold an unknown tensor {unknown[0]}"[:120], verify_hint(name))
    for key, shape in wanted.items():
        if stored[key] != shape:
            what = f"{list(stored[key])}, params.json says {list(shape)}"
            raise ModelError(f"Weights of {name}: {key} is {what}"[:120], verify_hint(name))
