"""The tensors of a checkpoint by mistral_inference's names. They are memory-mapped and read when requested."""

import math
import pickle
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pixtral_cli.engines.local.config import Params, verify_hint
from pixtral_cli.engines.local.runtime.huge_pages import prefer_huge_pages
from pixtral_cli.engines.local.weights import checkpoint
from pixtral_cli.engines.local.weights.transformers_names import rotary_heads, to_mistral_name
from pixtral_cli.errors import ModelError

TORCH_DTYPES = {
    "BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn, "I8": torch.int8, "I32": torch.int32, "I64": torch.int64,
}  # fmt: skip
EMBEDDINGS, OUTPUTS = ("tok_embeddings.weight", "embed_tokens.weight"), ("output.weight", "lm_head.weight")
assert set(TORCH_DTYPES) == set(checkpoint.STORED_DTYPES)


@dataclass(frozen=True, slots=True)
class TensorSource:
    """A tensor of a file. `read` returns it, and may raise ModelError."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]


def open_tensors(folder: Path, params: Params, name: str) -> dict[str, TensorSource]:
    """The checkpoint's tensors by name. Raises ModelError when a file is missing or damaged."""
    tensors: dict[str, TensorSource] = {}
    for file in checkpoint.weight_files(folder, name, transformers_format=params.transformers_format):
        tensors |= _open_pickle(file, name) if file.suffix == ".pth" else _open_safetensors(file, name)
    return _from_transformers(tensors, params) if params.transformers_format else tensors


def _from_transformers(tensors: dict[str, TensorSource], params: Params) -> dict[str, TensorSource]:
    """The tensors by mistral_inference's names, queries and keys in its rotary order."""
    renamed = {}
    for key, tensor in tensors.items():
        if name := to_mistral_name(key):
            heads = rotary_heads(name, params)
            per_row = bool(heads) and len(tensor.shape) > 0 and tensor.shape[0] % (2 * heads) == 0
            read = partial(_interleaved, tensor.read, heads) if per_row else tensor.read
            renamed[name] = TensorSource(tensor.shape, tensor.dtype, read)
    return renamed


def _interleaved(read: Callable[[], Tensor], heads: int) -> Tensor:
    """A tensor with each head's rows reordered from halves (transformers) to neighbouring pairs (mistral_inference)."""
    rows = read()
    paired = rows.view(torch.uint8) if rows.dtype.itemsize == 1 else rows
    paired = paired.view(heads, 2, len(rows) // heads // 2, -1).transpose(1, 2).reshape(rows.shape)
    return paired.view(rows.dtype)


def _open_safetensors(file: Path, name: str) -> dict[str, TensorSource]:
    header = checkpoint.read_header(file, name)
    try:
        opened = safe_open(file, framework="pt")
        prefer_huge_pages(file, opened, _barely_read(header))
    except (SafetensorError, OSError) as error:
        raise checkpoint.damaged_file(file, name) from error
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        opened = None  # safetensors maps private writable pages, which Linux refuses for a file larger than memory
    return {
        key: TensorSource(
            entry.shape,
            TORCH_DTYPES[entry.dtype],
            partial(_read_mapped, opened, name, key) if opened else partial(_read_from_file, file, name, entry),
        )
        for key, entry in header.items()
    }


def _barely_read(names: Collection[str]) -> list[str]:
    """Of the tensors of a file the embedding, of which few rows are read, unless it is the output too."""
    is_tied = not any(name.endswith(OUTPUTS) for name in names)
    return [] if is_tied else [name for name in names if name.endswith(EMBEDDINGS)]


def _read_mapped(opened: Any, name: str, key: str) -> Tensor:
    try:
        tensor: Tensor = opened.get_tensor(key)
    except SafetensorError as error:
        raise ModelError(f"The weights of {name} are damaged: {key}"[:120], verify_hint(name)) from error
    return tensor


def _read_from_file(file: Path, name: str, entry: checkpoint.TensorHeader) -> Tensor:
    """Read a tensor's bytes into memory. Raises ModelError."""
    dtype = TORCH_DTYPES[entry.dtype]
    numbers = bytearray(math.prod(entry.shape) * dtype.itemsize)
    try:
        with file.open("rb") as opened:
            opened.seek(entry.start)
            complete = opened.readinto(numbers) == len(numbers)
    except OSError as error:
        raise checkpoint.damaged_file(file, name) from error
    if not complete:
        raise checkpoint.damaged_file(file, name)
    return torch.frombuffer(numbers, dtype=dtype).view(entry.shape)


def _open_pickle(file: Path, name: str) -> dict[str, TensorSource]:
    checkpoint.check_file_start(file, name)
    try:
        loaded = torch.load(file, mmap=True, weights_only=True, map_location="cpu")
        return {
            key: TensorSource(tuple(tensor.shape), tensor.dtype, partial(_identity, tensor))
            for key, tensor in loaded.items()
        }
    except (
        RuntimeError, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise checkpoint.damaged_file(file, name) from error


def _identity(tensor: Tensor) -> Tensor:
    return tensor
