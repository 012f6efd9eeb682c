"""Loads a checkpoint folder into mistral_inference's `Transformer`, memory-mapped where device and dtype allow.

Checks that the weights fit in memory before it reads them.
"""

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixtral_cli.engines.local.config import Params, verify_hint
from pixtral_cli.engines.local.model import upstream
from pixtral_cli.engines.local.model.kv_cache import position_bytes
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.runtime import placement
from pixtral_cli.engines.local.runtime.cancellation import CancelCheck, no_cancel
from pixtral_cli.engines.local.runtime.placement import LoadOptions
from pixtral_cli.engines.local.runtime.transfer import Transfer
from pixtral_cli.engines.local.weights import checkpoint, quantize
from pixtral_cli.engines.local.weights.fp8_linear import has_nan
from pixtral_cli.engines.local.weights.prequantized import FP8, QuantizedWeight, split_quantized
from pixtral_cli.engines.local.weights.quantized_linear import QuantizedLinear, install
from pixtral_cli.engines.local.weights.tensors import TensorSource, open_tensors
from pixtral_cli.errors import ModelError, UsageError

OUTPUT, EMBEDDING = "output.weight", "tok_embeddings.weight"
DESIRED_POSITIONS = 8192  # tokens whose KV cache automatic quantization leaves memory for
QUANTIZE_SHARE = 0.9  # the part of a load's progress that quantizing is
NAN_SAMPLE = 1 << 18  # elements of each tensor that are checked for NaN when it is loaded


def load(
    folder: Path,
    params: Params,
    name: str,
    options: LoadOptions,
    check: CancelCheck = no_cancel,
    on_progress: Callable[[float], None] = lambda part: None,
) -> Weights:
    """Load the weights in `folder`. `check` is called before each tensor and may raise.

    `on_progress` is called after each tensor with the fraction of elements read.

    Raises ModelError when files are missing, damaged or do not match params.json, UsageError for an option that is not
    possible, OutOfMemory when the weights do not fit in the available memory.
    """
    quantize.check_scheme(options.quantize)
    device = placement.choose_device(options.device)
    placement.prepare_device(device)
    to_device = Transfer(device)
    model = upstream.empty_transformer(transformer_arguments(params))
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    plain, quantized = split_quantized(open_tensors(folder, params, name), name)
    if tied := EMBEDDING in plain and (params.tied_embeddings or OUTPUT not in {*plain, *quantized}):
        plain.pop(OUTPUT, None)
        del shapes[OUTPUT]
    stored_shapes = {key: tensor.shape for key, tensor in (plain | quantized).items()}
    checkpoint.check_shapes(stored_shapes, shapes, name)
    dtype = _choose_dtype(plain, quantized, options, device)
    sizes = quantize.scheme_sizes(shapes, dtype.itemsize, {key: weight.size for key, weight in quantized.items()})
    schemes = _available_schemes(sizes, quantized, options, name)
    scheme, size = _choose_scheme(schemes, params, dtype, name, options, device, quantized)
    placement.set_threads(placement.thread_count(size))
    state: dict[str, Tensor] = {}
    read_progress = on_progress
    if scheme != quantize.NONE:
        job = quantize.QuantizeJob(
            quantize.decoder_linear(shapes),
            scheme,
            lambda key: quantized[key].dequantized() if key in quantized else plain[key].read(),
            check,
            lambda part: on_progress(QUANTIZE_SHARE * part),
        )
        for key, pair in quantize.load(job, folder, name, options.cache).items():
            numbers, scale = map(to_device, pair)
            state |= install(model, key, QuantizedLinear(numbers, scale, shapes[key][1]))
        read_progress = lambda part: on_progress(QUANTIZE_SHARE + (1 - QUANTIZE_SHARE) * part)  # noqa: E731
    remaining = {key: source for key, source in (plain | quantized).items() if key not in state}
    state |= _read(remaining, model, to_device, dtype, name, check, read_progress)
    to_device.finish()
    if tied:
        state[OUTPUT] = state[EMBEDDING]
    model.load_state_dict(state, assign=True)
    model.requires_grad_(False).eval()
    return _check_finite(Weights(model, device, dtype, size, scheme), name)


def _choose_dtype(
    plain: dict[str, TensorSource], quantized: dict[str, QuantizedWeight], options: LoadOptions, device: torch.device
) -> torch.dtype:
    """The dtype of the weights that are not quantized."""
    quantized_size = sum(weight.size for weight in quantized.values())
    size = quantized_size + sum(math.prod(tensor.shape) * tensor.dtype.itemsize for tensor in plain.values())
    float32_size = quantized_size + sum(math.prod(tensor.shape) * 4 for tensor in plain.values())
    return placement.choose_dtype(options.dtype, device, size, float32_size)


def _available_schemes(
    sizes: dict[str, int], quantized: dict[str, QuantizedWeight], options: LoadOptions, name: str
) -> dict[str, int]:
    """The schemes in which the checkpoint can be loaded, with their bytes.

    Raises UsageError when the requested one is not.
    """
    integer_schemes = {weight.scheme for weight in quantized.values()} - {FP8}
    if not integer_schemes:
        return sizes
    if options.quantize not in (quantize.NONE, quantize.AUTO, *integer_schemes):
        raise UsageError(f"{name} is stored in {' and '.join(sorted(integer_schemes))} already", "Leave --quantize out")
    return dict.fromkeys((quantize.NONE, *integer_schemes), sizes[quantize.NONE])


def _choose_scheme(
    sizes: dict[str, int],
    params: Params,
    dtype: torch.dtype,
    name: str,
    options: LoadOptions,
    device: torch.device,
    quantized: dict[str, QuantizedWeight],
) -> tuple[str, int]:
    """The quantization scheme and the bytes of the weights under it. Raises OutOfMemory when they do not fit."""
    free = max(0, options.available(device) - placement.workspace(device))
    position = position_bytes(params, dtype)
    needed, desired = options.positions * position, min(DESIRED_POSITIONS, params.context_window) * position
    scheme = quantize.choose_scheme(options.quantize, sizes, free, needed, desired)
    kinds = sorted({weight.scheme for weight in quantized.values()})
    stored_name = " and ".join(kinds) or str(dtype).removeprefix("torch.")
    if sizes[scheme] + needed > free:
        fits = next((other for other, size in sizes.items() if size + needed <= free), None)
        shorter = "Shorten the conversation or send fewer images. " if sizes[scheme] <= free else ""
        hint = f"It fits with --quantize {fits}" if fits else f"{shorter}See what fits: pixtral doctor"
        format_name = stored_name if scheme == quantize.NONE else scheme
        tokens = f" with {options.positions:,} tokens" if needed else ""
        raise placement.out_of_memory(f"Loading {name} in {format_name}{tokens}", free, sizes[scheme] + needed, hint)
    if {FP8} != {*kinds} and kinds:
        scheme = quantize.NONE  # the layers are used as they are stored
    elif scheme != options.quantize and scheme != quantize.NONE:
        unquantized, available = placement.format_size(sizes[quantize.NONE]), placement.format_size(free)
        options.note(
            f"{name} is quantized to {scheme}: {stored_name} takes {unquantized} and room to work, {available} is free"
        )
    return scheme, sizes[scheme]


def _read(
    sources: dict[str, TensorSource | QuantizedWeight],
    model: Any,
    to_device: Transfer,
    dtype: torch.dtype,
    name: str,
    check: CancelCheck,
    on_progress: Callable[[float], None],
) -> dict[str, Tensor]:
    """The tensors on the device.

    Plain ones are in `dtype`, not copied if they are mapped in it; quantized ones become layers.
    """
    state: dict[str, Tensor] = {}
    done, total = 0, sum(math.prod(source.shape) for source in sources.values())
    for key, source in sources.items():
        check()
        if isinstance(source, TensorSource):
            state[key] = to_device(source.read(), dtype)
        else:
            try:
                state |= install(model, key, source.layer(to_device))
            except ValueError as error:
                message = f"Weights of {name}: {key} is quantized, which the local engine cannot run"
                raise ModelError(message[:120], verify_hint(name)) from error
        done += math.prod(source.shape)
        on_progress(done / total)
    return state


def transformer_arguments(params: Params) -> dict[str, Any]:
    """The arguments of mistral_inference's `Transformer`."""
    sizes = asdict(params)
    for key in ("context_window", "yarn", "llama_4_scaling", "tied_embeddings", "transformers_format"):
        del sizes[key]
    vision = sizes.pop("vision")
    return {**sizes, "vision_encoder": vision} if vision else sizes


def _check_finite(weights: Weights, name: str) -> Weights:
    """The weights. Raises ModelError when a sample of them has a NaN or an infinity."""
    if bad := find_non_finite(weights, NAN_SAMPLE):
        raise ModelError(f"The weights of {name} hold values that are not numbers: {bad}"[:120], verify_hint(name))
    return weights


def find_non_finite(weights: Weights, sample: int | None = None) -> str:
    """The name of a tensor with a NaN or infinity among its first `sample` elements (all, if None), or ""."""
    with torch.inference_mode():
        for key, tensor in weights.model.state_dict().items():
            part = tensor.flatten()[:sample]
            if has_nan(part) if part.dtype == torch.float8_e4m3fn else not _is_finite(part):
                return str(key)
    return ""


def _is_finite(part: Tensor) -> bool:
    return bool(torch.stack(part.aminmax()).isfinite().all())
