"""Loads a checkpoint folder into mistral_inference's `Transformer`, memory-mapped where device and dtype allow.

Checks that the weights fit in memory before it reads them.
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
from pixtral_cli.engines.local.runtime.cancellation import CancelCheck, no_cancel
from pixtral_cli.engines.local.runtime.placement import LoadOptions
from pixtral_cli.engines.local.weights import checkpoint, quantize, quantized_linear
from pixtral_cli.errors import ModelError

OUTPUT, EMBEDDING = "output.weight", "tok_embeddings.weight"
STORED_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}
COMFORTABLE_POSITIONS = 8192  # automatic quantization leaves room for the KV cache of this many tokens
QUANTIZE_SHARE = 0.9  # of a load's progress, while quantizing
NAN_SAMPLE = 1 << 18  # elements of each tensor checked for NaN while loading


@dataclass(frozen=True, slots=True)
class TensorSource:
    """A tensor of a file: its shape and dtype, and the function that reads it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], torch.Tensor]


def load(
    folder: Path,
    params: Params,
    name: str,
    options: LoadOptions,
    check: CancelCheck = no_cancel,
    on_progress: Callable[[float], None] = lambda part: None,
) -> Weights:
    """Load the weights in `folder`. `check` is called before each tensor and may raise.

    `on_progress` is called after each tensor with the fraction of all elements read.

    Raises ModelError when files are missing, damaged or not as params.json describes, OutOfMemory when the weights
    do not fit in the available memory.
    """
    quantize.check_scheme(options.quantize)
    device = placement.choose_device(options.device)
    model = upstream.empty_transformer(_sizes(params))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    tensors = _open(folder, name)
    if tied := OUTPUT not in tensors and EMBEDDING in tensors:
        tensors[OUTPUT] = tensors[EMBEDDING]
    checkpoint.check_shapes({key: tensor.shape for key, tensor in tensors.items()}, shapes, name)
    count = sum(math.prod(shape) for shape in shapes.values())
    stored = tensors[EMBEDDING].dtype
    dtype = placement.choose_dtype(options.dtype, device, stored, count * stored.itemsize)
    scheme, size = _choose_scheme(quantize.scheme_sizes(shapes, dtype.itemsize), params, dtype, name, options, device)
    placement.set_threads(placement.thread_count(size))
    state: dict[str, torch.Tensor] = {}
    if scheme != quantize.NONE:
        job = quantize.QuantizeJob(
            quantize.decoder_linear(shapes),
            scheme,
            partial(_tensor, tensors, name),
            check,
            lambda part: on_progress(QUANTIZE_SHARE * part),
        )
        state = quantized_linear.install(model, quantize.load(job, folder, name, options.cache), device)
        tensors = {key: tensor for key, tensor in tensors.items() if key not in state}
    rest = (
        on_progress
        if scheme == quantize.NONE
        else lambda part: on_progress(QUANTIZE_SHARE + (1 - QUANTIZE_SHARE) * part)
    )
    state |= _read(tensors, device, dtype, name, check, rest)
    if tied:
        state[OUTPUT] = state[EMBEDDING]
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False).eval()
    return _check_finite(Weights(model, device, dtype, size, scheme), name)


def _choose_scheme(
    sizes: dict[str, int], params: Params, dtype: torch.dtype, name: str, options: LoadOptions, device: torch.device
) -> tuple[str, int]:
    """The quantization scheme and the bytes of the weights under it. Raises OutOfMemory when they do not fit."""
    free = options.available(device)
    position = position_bytes(params, dtype)
    needed, comfortable = options.positions * position, min(COMFORTABLE_POSITIONS, params.context_window) * position
    scheme = quantize.choose_scheme(options.quantize, sizes, free, needed, comfortable)
    dtype_name = str(dtype).removeprefix("torch.")
    if sizes[scheme] + needed > free:
        fits = next((other for other, size in sizes.items() if size + needed <= free), None)
        shorter = "Shorten the conversation or send fewer images. " if sizes[scheme] <= free else ""
        hint = f"It fits with --quantize {fits}" if fits else f"{shorter}See what fits: pixtral doctor"
        named = dtype_name if scheme == quantize.NONE else scheme
        tokens = f" with {options.positions:,} tokens" if needed else ""
        raise placement.out_of_memory(f"Loading {name} in {named}{tokens}", free, sizes[scheme] + needed, hint)
    if scheme != options.quantize and scheme != quantize.NONE:
        whole, room = placement.format_size(sizes[quantize.NONE]), placement.format_size(free)
        options.note(f"{name} is quantized to {scheme}: {dtype_name} takes {whole} and room to work, {room} is free")
    return scheme, sizes[scheme]


def _open(folder: Path, name: str) -> dict[str, TensorSource]:
    tensors: dict[str, TensorSource] = {}
    for file in checkpoint.weight_files(folder, name):
        tensors |= _open_pickle(file, name) if file.suffix == ".pth" else _open_safetensors(file, name)
    return tensors


def _open_safetensors(file: Path, name: str) -> dict[str, TensorSource]:
    header = checkpoint.read_header(file, name)
    try:
        opened = safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise checkpoint.damaged_file(file, name) from error
    except RuntimeError as error:
        if "mmap" not in str(error):
            raise
        opened = None  # safetensors maps private writable pages, which Linux refuses for a file larger than memory
    return {
        key: TensorSource(
            entry.shape,
            STORED_DTYPES[entry.dtype],
            partial(opened.get_tensor, key) if opened else partial(_read_from_file, file, name, entry),
        )
        for key, entry in header.items()
    }


def _read_from_file(file: Path, name: str, entry: checkpoint.TensorHeader) -> torch.Tensor:
    dtype = STORED_DTYPES[entry.dtype]
    numbers = bytearray(math.prod(entry.shape) * dtype.itemsize)
    try:
        with file.open("rb") as opened:
            opened.seek(entry.start)
            whole = opened.readinto(numbers) == len(numbers)
    except OSError as error:
        raise checkpoint.damaged_file(file, name) from error
    if not whole:
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
    except (RuntimeError, OSError, EOFError, ValueError, AttributeError, pickle.UnpicklingError) as error:
        raise checkpoint.damaged_file(file, name) from error


def _read(
    tensors: dict[str, TensorSource],
    device: torch.device,
    dtype: torch.dtype,
    name: str,
    check: CancelCheck,
    on_progress: Callable[[float], None],
) -> dict[str, torch.Tensor]:
    """Every tensor on the device in the dtype; a mapped tensor that is so already is not copied."""
    state = {}
    done, total = 0, sum(math.prod(tensor.shape) for tensor in tensors.values())
    for key, tensor in tensors.items():
        check()
        state[key] = _tensor(tensors, name, key).to(device=device, dtype=dtype).contiguous()
        done += math.prod(tensor.shape)
        on_progress(done / total)
    return state


def _tensor(tensors: dict[str, TensorSource], name: str, key: str) -> torch.Tensor:
    try:
        return tensors[key].read()
    except SafetensorError as error:
        raise ModelError(f"The weights of {name} are damaged: {key}"[:120], verify_hint(name)) from error


def _identity(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _sizes(params: Params) -> dict[str, Any]:
    sizes = asdict(params)
    del sizes["context_window"]
    vision = sizes.pop("vision")
    return {**sizes, "vision_encoder": vision} if vision else sizes


def _check_finite(weights: Weights, name: str) -> Weights:
    if bad := find_non_finite(weights, NAN_SAMPLE):
        raise ModelError(f"The weights of {name} hold values that are not numbers: {bad}"[:120], verify_hint(name))
    return weights


def find_non_finite(weights: Weights, sample: int | None = None) -> str:
    """The name of a tensor with a NaN or infinity among its first `sample` elements (all, if None), or ""."""
    with torch.inference_mode():
        for key, tensor in weights.model.state_dict().items():
            if not torch.stack(tensor.flatten()[:sample].aminmax()).isfinite().all():
                return str(key)
    return ""
