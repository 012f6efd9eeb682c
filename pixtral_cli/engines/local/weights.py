"""Loads a folder in mistral format into mistral_inference's `Transformer`: memory-mapped where the device and dtype allow.

Checks that the weights fit before reading them. Leaves what is computed with them to `forward` and `vision`.
"""

import math
import pickle
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from pixtral_cli.engines.local import checkpoint, placement, upstream
from pixtral_cli.engines.local.params import Params, verify_hint
from pixtral_cli.errors import ModelError

OUTPUT, EMBEDDING = "output.weight", "tok_embeddings.weight"
STORED_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
SAMPLE = 1 << 18  # elements of each tensor that loading checks for NaN


@dataclass(frozen=True, slots=True)
class Weights:
    """A loaded `Transformer`, where it is and in what."""

    model: Any
    device: torch.device
    dtype: torch.dtype
    size: int


Available = Callable[[torch.device], int]


def load(folder: Path, params: Params, name: str, device: str, dtype: str, available: Available) -> Weights:
    """The weights in `folder` on the device.

    Raises ModelError when files are missing, damaged or not what params.json describes, OutOfMemory when the weights
    do not fit in what `available` says.
    """
    model = upstream.transformer(_sizes(params))
    wanted = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    files = checkpoint.weight_files(folder, name)
    tensors = _from_pickles(files, name) if files[0].suffix == ".pth" else _from_safetensors(files, name)
    tied = OUTPUT not in tensors and EMBEDDING in tensors
    if tied:
        tensors[OUTPUT] = tensors[EMBEDDING]
    checkpoint.compare({key: entry.shape for key, entry in tensors.items()}, wanted, name)
    stored = tensors[EMBEDDING].dtype
    count = sum(math.prod(shape) for shape in wanted.values())
    where = placement.choose_device(device)
    what = placement.choose_dtype(dtype, where, stored, count * stored.itemsize)
    size = count * what.itemsize
    if size > (have := available(where)):
        raise placement.not_enough(f"Loading {name} in {_short(what)}", have, size, "See what fits: pixtral doctor")
    state = {key: entry.read().to(device=where, dtype=what) for key, entry in tensors.items()}
    if tied:
        state[OUTPUT] = state[EMBEDDING]
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False).eval()
    weights = Weights(model, where, what, size)
    _refuse_nan(weights, name, SAMPLE)
    return weights


@dataclass(frozen=True, slots=True)
class _Tensor:
    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]


def _from_safetensors(files: list[Path], name: str) -> dict[str, _Tensor]:
    found = {}
    for file in files:
        header = checkpoint.read_header(file, name)
        try:
            opened = safe_open(file, framework="pt")
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{file.name} of {name} is damaged: {error}"[:120], verify_hint(name)) from error
        for key, entry in header.items():
            dtype = STORED_DTYPES[entry.dtype]
            found[key] = _Tensor(entry.shape, dtype, partial(opened.get_tensor, key))
    return found


def _from_pickles(files: list[Path], name: str) -> dict[str, _Tensor]:
    found = {}
    for file in files:
        try:
            loaded = torch.load(file, mmap=True, weights_only=True, map_location="cpu")
        except (RuntimeError, OSError, EOFError, pickle.UnpicklingError) as error:
            raise ModelError(f"{file.name} of {name} is damaged or no weights file", verify_hint(name)) from error
        for key, tensor in loaded.items():
            found[key] = _Tensor(tuple(tensor.shape), tensor.dtype, partial(_same, tensor))
    return found


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _sizes(params: Params) -> dict[str, Any]:
    sizes = asdict(params)
    del sizes["context_window"]
    vision = sizes.pop("vision")
    return {**sizes, "vision_encoder": vision} if vision else sizes


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _refuse_nan(weights: Weights, name: str, sample: int) -> None:
    if bad := not_finite(weights, sample):
        raise ModelError(f"Weights of {name}: {bad} holds values that are not numbers"[:120], verify_hint(name))


def not_finite(weights: Weights, sample: int | None = None) -> str:
    """The name of a tensor with a NaN or infinity among its first `sample` elements (None: all), or ""."""
    with torch.inference_mode():
        for key, tensor in weights.model.state_dict().items():
            if not torch.stack(tensor.flatten()[:sample].aminmax()).isfinite().all():
                return str(key)
    return ""
