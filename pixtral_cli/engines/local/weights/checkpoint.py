"""Finds a checkpoint's weight files, and reads and checks their headers."""

import re
import struct
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli.engines.local.config import verify_hint
from pixtral_cli.errors import ModelError
from pixtral_cli.models import layout
from pixtral_cli.util import bounded_json

SHARD_NAME = re.compile(r"consolidated-(\d+)-of-(\d+)\.safetensors")
STORED_DTYPES = ("BF16", "F16", "F32", "F64", "F8_E4M3", "I8", "I32", "I64")


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """A tensor's entry in a safetensors header.

    `dtype`: the format's name; `start`: the offset of its data in the file.
    """

    shape: tuple[int, ...]
    dtype: str
    start: int


def weight_files(folder: Path, name: str, *, transformers_format: bool = False) -> list[Path]:
    """The weight files: a single one, else the shards of the index, else files numbered as shards, else pickles.

    Raises ModelError when there are none or a number is missing; missing files of the index are found when they are
    read.
    """
    if transformers_format:
        if files := layout.transformers_weights(folder):
            return files
        raise ModelError(f"{folder.name} holds no model.safetensors: no weights", verify_hint(name))
    single = folder / layout.WEIGHTS_FILE
    if single.exists() or single.is_symlink():
        return [single]
    indexed = [folder / shard for shard in layout.indexed_shards(folder)]
    if any(shard.exists() for shard in indexed):
        return indexed
    shards = {
        int(match[1]): (path, int(match[2])) for path in folder.iterdir() if (match := SHARD_NAME.fullmatch(path.name))
    }
    if shards:
        count = max(total for _, total in shards.values())
        if missing := [index for index in range(1, count + 1) if index not in shards]:
            file = f"consolidated-{missing[0]:05}-of-{count:05}.safetensors"
            raise ModelError(f"{file} of {name} is missing", verify_hint(name))
        return [shards[index][0] for index in range(1, count + 1)]
    if pickles := sorted(folder.glob("consolidated.*.pth")):
        return pickles
    raise ModelError(f"{folder.name} holds no consolidated.safetensors: no weights", verify_hint(name))


def read_header(path: Path, name: str) -> dict[str, TensorHeader]:
    """The tensors of a safetensors file by name.

    Raises ModelError for a damaged or truncated file, or an unsupported dtype.
    """
    start = check_file_start(path, name)
    try:
        size = path.stat().st_size
        length = struct.unpack("<Q", start)[0]
        if length > layout.MAX_JSON_BYTES:
            raise damaged_file(path, name)
        if length > size - 8:
            raise _truncated(path, name, size, 8 + length)
        with path.open("rb") as file:
            header = bounded_json.parse(file.read(8 + length)[8:], layout.MAX_JSON_VALUES)
        header.pop("__metadata__", None)
        stored = {
            key: TensorHeader(
                tuple(map(int, entry["shape"])), entry["dtype"], 8 + length + int(entry["data_offsets"][0])
            )
            for key, entry in header.items()
        }
        end = 8 + length + max(int(entry["data_offsets"][1]) for entry in header.values())
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        raise damaged_file(path, name) from error
    if size < end:
        raise _truncated(path, name, size, end)
    for key, tensor in stored.items():
        if tensor.dtype not in STORED_DTYPES:
            message = f"{path.name} of {name}: {key} is {tensor.dtype}, which the local engine cannot run"
            raise ModelError(message[:120], "Take a checkpoint in bfloat16")
    return stored


def check_file_start(path: Path, name: str) -> bytes:
    """The first 8 bytes of a file. Raises ModelError when it is missing, empty, a Git LFS pointer or a web page."""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise ModelError(f"{path.name} of {name} is missing", verify_hint(name)) from error
    except OSError as error:
        raise ModelError(f"{path.name} of {name} cannot be read: {error.strerror}", verify_hint(name)) from error
    if len(start) < 8:
        raise ModelError(f"{path.name} of {name} is empty", verify_hint(name))
    if start == b"version ":
        raise ModelError(f"{path.name} of {name} is a Git LFS pointer, not the weights", verify_hint(name))
    if start.lstrip()[:1] == b"<":
        raise ModelError(f"{path.name} of {name} is a web page, not the weights", verify_hint(name))
    return start


def damaged_file(path: Path, name: str) -> ModelError:
    """The error about a file that cannot be read as weights."""
    return ModelError(f"{path.name} of {name} is damaged, or not a file of weights", verify_hint(name))


def _truncated(path: Path, name: str, size: int, expected: int) -> ModelError:
    return ModelError(f"{path.name} of {name} is cut short: {size:,} of {expected:,} bytes", verify_hint(name))


def check_shapes(stored: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]], name: str) -> None:
    """Raises ModelError unless `stored` has exactly the tensors and shapes of `expected`."""
    if missing := sorted(expected.keys() - stored.keys()):
        raise ModelError(f"Weights of {name} lack {len(missing)} tensors, first {missing[0]}"[:120], verify_hint(name))
    if unknown := sorted(stored.keys() - expected.keys()):
        raise ModelError(f"Weights of {name} hold an unknown tensor {unknown[0]}"[:120], verify_hint(name))
    for key, shape in expected.items():
        if stored[key] != shape:
            what = f"{list(stored[key])}, params.json says {list(shape)}"
            raise ModelError(f"Weights of {name}: {key} is {what}"[:120], verify_hint(name))
