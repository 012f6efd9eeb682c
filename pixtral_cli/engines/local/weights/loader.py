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

from pixtral_cli.engines.local.config import Params, verify_hint
from pixtral_cli.engines.local.model import upstream
from pixtral_cli.engines.local.model.kv_cache import position_bytes
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.runtime import placement
from pixtral_cli.engines.local.runtime.cancellation import Check, go_on
from pixtral_cli.engines.local.runtime.placement import Wanted
from pixtral_cli.engines.local.weights import checkpoint, quantize, quantized_linear
from pixtral_cli.errors import ModelError

OUTPUT, EMBEDDING = "output.weight", "tok_embeddings.weight"
STORED_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
ROOM = 8192  # tokens whose cache had better fit beside the weights
MADE = 0.9  # the part of a load that quantizing is, told as such
SAMPLE = 1 << 18  # elements of each tensor that loading checks for NaN


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a file: what it will be, and how to read it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]


def load(
    folder: Path,
    params: Params,
    name: str,
    wanted: Wanted,
    check: Check = go_on,
    told: Callable[[float], None] = lambda part: None,
) -> Weights:
    """The weights in `folder` on the wanted device; `check` is called before each tensor and may raise.

    `told` hears, after each tensor, what part of all elements has been read.

    Raises ModelError when files are missing, damaged or not what params.json describes, OutOfMemory when the weights
    do not fit in what is available.
    """
    quantize.check_name(wanted.quantize)
    where = placement.choose_device(wanted.device)
    model = upstream.transformer(_sizes(params))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    tensors = _open(folder, name)
    if tied := OUTPUT not in tensors and EMBEDDING in tensors:
        tensors[OUTPUT] = tensors[EMBEDDING]
    checkpoint.compare({key: tensor.shape for key, tensor in tensors.items()}, shapes, name)
    count = sum(math.prod(shape) for shape in shapes.values())
    stored = tensors[EMBEDDING].dtype
    what = placement.choose_dtype(wanted.dtype, where, stored, count * stored.itemsize)
    scheme, size = _fitting(quantize.sizes(shapes, what.itemsize), params, what, name, wanted, where)
    placement.use_threads(placement.threads(size))
    state: dict[str, torch.Tensor] = {}
    if scheme != quantize.NONE:
        making = quantize.Making(
            quantize.linear(shapes), scheme, partial(_tensor, tensors, name), check, lambda part: told(MADE * part)
        )
        state = quantized_linear.fill(model, quantize.load(making, folder, name, wanted.cache), where)
        tensors = {key: tensor for key, tensor in tensors.items() if key not in state}
    rest = told if scheme == quantize.NONE else lambda part: told(MADE + (1 - MADE) * part)
    state |= _read(tensors, where, what, name, check, rest)
    if tied:
        state[OUTPUT] = state[EMBEDDING]
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False).eval()
    return _checked(Weights(model, where, what, size, scheme), name)


def _fitting(
    sizes: dict[str, int], params: Params, what: torch.dtype, name: str, wanted: Wanted, where: torch.device
) -> tuple[str, int]:
    """The scheme to load in, and the size then. Raises OutOfMemory when that does not fit."""
    have = wanted.available(where)
    position = position_bytes(params, what)
    room, roomy = wanted.positions * position, min(ROOM, params.context_window) * position
    scheme = quantize.choose(wanted.quantize, sizes, have, room, roomy)
    dtype = str(what).removeprefix("torch.")
    if sizes[scheme] + room > have:
        fits = next((other for other, size in sizes.items() if size + room <= have), None)
        shorter = "Shorten the conversation or send fewer images. " if sizes[scheme] <= have else ""
        hint = f"It fits with --quantize {fits}" if fits else f"{shorter}See what fits: pixtral doctor"
        named = dtype if scheme == quantize.NONE else scheme
        tokens = f" with {wanted.positions:,} tokens" if room else ""
        raise placement.not_enough(f"Loading {name} in {named}{tokens}", have, sizes[scheme] + room, hint)
    if scheme != wanted.quantize and scheme != quantize.NONE:
        whole, free = placement.gib(sizes[quantize.NONE]), placement.gib(have)
        wanted.note(f"{name} is quantized to {scheme}: {dtype} takes {whole} and room to work, {free} is free")
    return scheme, sizes[scheme]


def _open(folder: Path, name: str) -> dict[str, Stored]:
    found: dict[str, Stored] = {}
    for file in checkpoint.weight_files(folder, name):
        found |= _open_pickle(file, name) if file.suffix == ".pth" else _open_safetensors(file, name)
    return found


def _open_safetensors(file: Path, name: str) -> dict[str, Stored]:
    header = checkpoint.read_header(file, name)
    try:
        opened = safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise checkpoint.damaged(file, name) from error
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        opened = None  # it maps the file as if to write, which Linux forbids for one that is larger than the memory
    return {
        key: Stored(
            entry.shape,
            STORED_DTYPES[entry.dtype],
            partial(opened.get_tensor, key) if opened else partial(_from_file, file, name, entry),
        )
        for key, entry in header.items()
    }


def _from_file(file: Path, name: str, entry: checkpoint.Stored) -> torch.Tensor:
    dtype = STORED_DTYPES[entry.dtype]
    numbers = bytearray(math.prod(entry.shape) * dtype.itemsize)
    try:
        with file.open("rb") as opened:
            opened.seek(entry.start)
            whole = opened.readinto(numbers) == len(numbers)
    except OSError as error:
        raise checkpoint.damaged(file, name) from error
    if not whole:
        raise checkpoint.damaged(file, name)
    return torch.frombuffer(numbers, dtype=dtype).view(entry.shape)


def _open_pickle(file: Path, name: str) -> dict[str, Stored]:
    checkpoint.refuse_placeholder(file, name)
    try:
        loaded = torch.load(file, mmap=True, weights_only=True, map_location="cpu")
        return {
            key: Stored(tuple(tensor.shape), tensor.dtype, partial(_same, tensor)) for key, tensor in loaded.items()
        }
    except (RuntimeError, OSError, EOFError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise checkpoint.damaged(file, name) from error


def _read(
    tensors: dict[str, Stored],
    device: torch.device,
    dtype: torch.dtype,
    name: str,
    check: Check,
    told: Callable[[float], None],
) -> dict[str, torch.Tensor]:
    """Every tensor on the device in the dtype: still the mapped file where it is there in that dtype already."""
    state = {}
    done, total = 0, sum(math.prod(tensor.shape) for tensor in tensors.values())
    for key, tensor in tensors.items():
        check()
        state[key] = _tensor(tensors, name, key).to(device=device, dtype=dtype).contiguous()
        done += math.prod(tensor.shape)
        told(done / total)
    return state


def _tensor(tensors: dict[str, Stored], name: str, key: str) -> torch.Tensor:
    try:
        return tensors[key].read()
    except SafetensorError as error:
        raise ModelError(f"The weights of {name} are damaged: {key}"[:120], verify_hint(name)) from error


def _same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _sizes(params: Params) -> dict[str, Any]:
    sizes = asdict(params)
    del sizes["context_window"]
    vision = sizes.pop("vision")
    return {**sizes, "vision_encoder": vision} if vision else sizes


def _checked(weights: Weights, name: str) -> Weights:
    if bad := not_finite(weights, SAMPLE):
        raise ModelError(f"The weights of {name} hold values that are not numbers: {bad}"[:120], verify_hint(name))
    return weights


def not_finite(weights: Weights, sample: int | None = None) -> str:
    """The name of a tensor with a NaN or infinity among its first `sample` elements (None: all), or ""."""
    with torch.inference_mode():
        for key, tensor in weights.model.state_dict().items():
            if not torch.stack(tensor.flatten()[:sample].aminmax()).isfinite().all():
                return str(key)
    return ""
