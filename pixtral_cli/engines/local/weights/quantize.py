"""Chooses the quantization scheme and caches the quantized weights of a checkpoint in a file.

Only the decoder's linear layers are quantized: embeddings, norms, output and vision encoder are not. The number format
is that of `quantized_linear`.
"""

import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pixtral_cli.engines.local.runtime.cancellation import CancelCheck
from pixtral_cli.engines.local.runtime.huge_pages import prefer_huge_pages
from pixtral_cli.engines.local.weights import quantized_linear
from pixtral_cli.engines.local.weights.quantized_linear import BITS, packed_bytes
from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.models import quantized_files
from pixtral_cli.util import atomic
from pixtral_cli.util.locks import FileLock
from pixtral_cli.util.sizes import format_bytes

NONE, AUTO = "none", "auto"
FORMAT_VERSION = "1"  # of the cache file; a file of another version is rebuilt
DECODER_LINEAR = re.compile(r"layers\.\d+\.(attention\.w[qkvo]|feed_forward\.w[123])\.weight")
SAFETENSORS_DTYPES = {torch.int8: "I8", torch.uint8: "U8", torch.float32: "F32", torch.bfloat16: "BF16"}

Shapes = Mapping[str, tuple[int, ...]]
Read = Callable[[str], Tensor]
Pair = tuple[Tensor, Tensor]


def check_scheme(scheme: str) -> str:
    """The scheme itself, if there is one of that name. Raises UsageError."""
    if scheme not in (AUTO, NONE, *BITS):
        raise UsageError(f"There is no quantization named {scheme!r}", f"Quantizations: {AUTO}, {NONE}, 8bit, 4bit")
    return scheme


def decoder_linear(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors that are quantized."""
    return {key: shape for key, shape in shapes.items() if DECODER_LINEAR.fullmatch(key)}


def scheme_sizes(shapes: Shapes, itemsize: int, stored: Mapping[str, int]) -> dict[str, int]:
    """Bytes of all weights under each scheme. `itemsize`: bytes of an unquantized element.

    `stored`: the bytes of the weights that the checkpoint stores quantized, which they have under the scheme "none".
    """
    unquantized = {key: stored.get(key, math.prod(shape) * itemsize) for key, shape in shapes.items()}
    sizes = {NONE: sum(unquantized.values())}
    for scheme, bits in BITS.items():
        saved = sum(unquantized[key] - packed_bytes(shape, bits) for key, shape in decoder_linear(shapes).items())
        sizes[scheme] = sizes[NONE] - saved
    return sizes


def choose_scheme(requested: str, sizes: Mapping[str, int], free: int, needed: int, desired: int) -> str:
    """The requested scheme; for "auto" the widest one that leaves enough of the `free` bytes.

    Enough is a tenth of the weights and `desired` bytes of KV cache. If no scheme does, the widest that leaves `needed`
    bytes; else the smallest.
    """
    if requested != AUTO:
        return requested
    roomy = [scheme for scheme, size in sizes.items() if size + size // 10 + max(needed, desired) <= free]
    fitting = [scheme for scheme, size in sizes.items() if size + needed <= free]
    return next(iter([*roomy, *fitting]), min(sizes, key=lambda scheme: sizes[scheme]))


@dataclass(frozen=True, slots=True)
class QuantizeJob:
    """The tensors to quantize, in the order of the file.

    `read` returns a tensor; `on_progress` is called with the fraction done.
    """

    shapes: Shapes
    scheme: str
    read: Read
    check: CancelCheck
    on_progress: Callable[[float], None]

    @property
    def bits(self) -> int:
        """Bits of a quantized weight."""
        return BITS[self.scheme]

    def pairs(self) -> Iterator[tuple[str, Pair]]:
        """The numbers and scales of each tensor; one tensor is in memory at a time."""
        done, total = 0, sum(map(math.prod, self.shapes.values()))
        for key, shape in self.shapes.items():
            yield key, quantized_linear.pack(self.read(key), self.bits, self.check)
            done += math.prod(shape)
            self.on_progress(done / total)

    def write(self, file: Path, metadata: Mapping[str, str]) -> None:
        """Write the cache file atomically."""
        with atomic.replacing(file, scratch=file.with_suffix(".part")) as stream:
            stream.write(self._header(metadata))
            for _, pair in self.pairs():
                for tensor in pair:
                    stream.write(tensor.view(torch.uint8).numpy().data)

    def _header(self, metadata: Mapping[str, str]) -> bytes:
        """The header of the safetensors file."""
        entries: dict[str, object] = {"__metadata__": dict(metadata)}
        end = 0
        for key, shape in self.shapes.items():
            for name, (size, kind) in zip(
                quantized_linear.tensor_names(key), quantized_linear.packed_layout(shape, self.bits), strict=True
            ):
                start, end = end, end + math.prod(size) * kind.itemsize
                entries[name] = {"dtype": SAFETENSORS_DTYPES[kind], "shape": size, "data_offsets": [start, end]}
        header = json.dumps(entries).encode()
        header += b" " * (-(len(header) + 8) % 64)
        return struct.pack("<Q", len(header)) + header


def load(job: QuantizeJob, folder: Path, name: str, cache: Path | None) -> dict[str, Pair]:
    """The numbers and scales of every quantized tensor, mapped from the file in `cache`, which is written if missing.

    Without `cache` they are computed in memory. Raises ModelError when the file cannot be written or read.
    """
    if cache is None:
        return dict(job.pairs())
    file = quantized_files.quantized_path(cache, folder, job.scheme)
    metadata = {"layout": FORMAT_VERSION, "source": quantized_files.weights_fingerprint(folder)}
    if pairs := _map(file, job, metadata):
        return pairs
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock.acquire(file.with_suffix(".lock"), wait=True) or nullcontext():
            if pairs := _map(file, job, metadata):  # written by another process meanwhile
                return pairs
            job.write(file, metadata)
    except OSError as error:
        size = sum(packed_bytes(shape, job.bits) for shape in job.shapes.values())
        message = f"No room for {format_bytes(size)} of quantized weights of {name}: {error.strerror}"
        raise ModelError(message[:120], f"They are kept in {file.parent}; PIXTRAL_HOME moves it") from error
    if pairs := _map(file, job, metadata):
        return pairs
    raise ModelError(f"The quantized weights of {name} cannot be read again"[:120], f"Remove {file}")


def _map(file: Path, job: QuantizeJob, metadata: Mapping[str, str]) -> dict[str, Pair] | None:
    """The file's tensors, memory-mapped; None when it is missing, damaged, or of other weights."""
    pairs: dict[str, Pair] = {}
    try:
        opened: Any = safe_open(file, framework="pt")
        if opened.metadata() != metadata:
            return None
        prefer_huge_pages(file, opened)
        for key, shape in job.shapes.items():
            numbers, scale = (opened.get_tensor(name) for name in quantized_linear.tensor_names(key))
            if [(tensor.shape, tensor.dtype) for tensor in (numbers, scale)] != quantized_linear.packed_layout(
                shape, job.bits
            ):
                return None
            pairs[key] = numbers, scale
    except (SafetensorError, OSError):
        return None
    return pairs
