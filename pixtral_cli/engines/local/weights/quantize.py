"""Which of the decoder's weights are packed and whether they are, and the file that keeps them packed for the next load.

The linear layers of the decoder alone: embeddings, norms, output and everything that sees stay as they are. How numbers
are packed is in `packed`.
"""

import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pixtral_cli.engines.local.runtime.cancellation import Check
from pixtral_cli.engines.local.weights import quantized_linear
from pixtral_cli.engines.local.weights.quantized_linear import BITS
from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.models import quantized_files
from pixtral_cli.util import atomic
from pixtral_cli.util.locks import FileLock
from pixtral_cli.util.sizes import format_bytes

NONE, AUTO = "none", "auto"
LAYOUT = "1"  # of the file; another one is made again
LINEAR = re.compile(r"layers\.\d+\.(attention\.w[qkvo]|feed_forward\.w[123])\.weight")
NAMES = {torch.int8: "I8", torch.uint8: "U8", torch.float32: "F32", torch.bfloat16: "BF16"}

Shapes = Mapping[str, tuple[int, ...]]
Read = Callable[[str], Tensor]
Pair = tuple[Tensor, Tensor]


def check_name(scheme: str) -> str:
    """The same, when there is such a scheme; raises UsageError."""
    if scheme not in (AUTO, NONE, *BITS):
        raise UsageError(f"There is no quantization named {scheme!r}", f"Quantizations: {AUTO}, {NONE}, 8bit, 4bit")
    return scheme


def linear(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """The tensors that are packed."""
    return {key: shape for key, shape in shapes.items() if LINEAR.fullmatch(key)}


def sizes(shapes: Shapes, itemsize: int) -> dict[str, int]:
    """Bytes of all weights under each scheme, the largest first; `itemsize`: of a number that is not packed."""
    whole = {key: math.prod(shape) * itemsize for key, shape in shapes.items()}
    found = {NONE: sum(whole.values())}
    for scheme, bits in BITS.items():
        saved = sum(whole[key] - _bytes(shape, bits) for key, shape in linear(shapes).items())
        found[scheme] = found[NONE] - saved
    return found


def choose(wanted: str, sizes: Mapping[str, int], have: int, need: int, want: int) -> str:
    """The scheme to load in; beside the weights there must be room for `need` bytes, and there had better be for `want`.

    On "auto" the first that leaves as much and a tenth; else the first that fits; else the smallest.
    """
    if wanted != AUTO:
        return wanted
    roomy = [scheme for scheme, size in sizes.items() if size + size // 10 + max(need, want) <= have]
    fitting = [scheme for scheme, size in sizes.items() if size + need <= have]
    return next(iter([*roomy, *fitting]), min(sizes, key=lambda scheme: sizes[scheme]))


@dataclass(frozen=True, slots=True)
class Making:
    """What is to be packed, in the file's order, and how: `read` gives a tensor, `told` hears what part is done."""

    shapes: Shapes
    scheme: str
    read: Read
    check: Check
    told: Callable[[float], None]

    @property
    def bits(self) -> int:
        return BITS[self.scheme]

    def pairs(self) -> Iterator[tuple[str, Pair]]:
        """One layer after the other: no more than one is ever in memory."""
        done, total = 0, sum(map(math.prod, self.shapes.values()))
        for key, shape in self.shapes.items():
            yield key, quantized_linear.pack(self.read(key), self.bits, self.check)
            done += math.prod(shape)
            self.told(done / total)

    def write(self, file: Path, about: Mapping[str, str]) -> None:
        """Write the file at once or not at all."""
        with atomic.replacing(file, scratch=file.with_suffix(".part")) as stream:
            stream.write(self._header(about))
            for _, pair in self.pairs():
                for tensor in pair:
                    stream.write(tensor.view(torch.uint8).numpy().data)

    def _header(self, about: Mapping[str, str]) -> bytes:
        entries: dict[str, object] = {"__metadata__": dict(about)}
        end = 0
        for key, shape in self.shapes.items():
            for name, (size, kind) in zip(
                quantized_linear.names(key), quantized_linear.stored(shape, self.bits), strict=True
            ):
                start, end = end, end + math.prod(size) * kind.itemsize
                entries[name] = {"dtype": NAMES[kind], "shape": size, "data_offsets": [start, end]}
        header = json.dumps(entries).encode()
        header += b" " * (-(len(header) + 8) % 64)
        return struct.pack("<Q", len(header)) + header


def load(making: Making, folder: Path, name: str, cache: Path | None) -> dict[str, Pair]:
    """The packed numbers and scales of every linear layer: a map of the file in `cache`, which is made where it is not.

    Without `cache` they are made in memory. Raises ModelError when the file cannot be written.
    """
    if cache is None:
        return dict(making.pairs())
    file = quantized_files.quantized_path(cache, folder, making.scheme)
    about = {"layout": LAYOUT, "source": quantized_files.weights_fingerprint(folder)}
    if found := _map(file, making, about):
        return found
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock.acquire(file.with_suffix(".lock"), wait=True) or nullcontext():
            if found := _map(file, making, about):  # another process has made it by now
                return found
            making.write(file, about)
    except OSError as error:
        size = sum(_bytes(shape, making.bits) for shape in making.shapes.values())
        message = f"No room for {format_bytes(size)} of quantized weights of {name}: {error.strerror}"
        raise ModelError(message[:120], f"They are kept in {file.parent}; PIXTRAL_HOME moves it") from error
    if found := _map(file, making, about):
        return found
    raise ModelError(f"The quantized weights of {name} cannot be read again"[:120], f"Remove {file}")


def _map(file: Path, making: Making, about: Mapping[str, str]) -> dict[str, Pair] | None:
    """The tensors of the file, as they lie there; None when it is not there, broken, or of other weights."""
    found: dict[str, Pair] = {}
    try:
        opened: Any = safe_open(file, framework="pt")
        if opened.metadata() != about:
            return None
        for key, shape in making.shapes.items():
            number, scale = (opened.get_tensor(name) for name in quantized_linear.names(key))
            if [(tensor.shape, tensor.dtype) for tensor in (number, scale)] != quantized_linear.stored(
                shape, making.bits
            ):
                return None
            found[key] = number, scale
    except (SafetensorError, OSError):
        return None
    return found


def _bytes(shape: Sequence[int], bits: int) -> int:
    return sum(math.prod(size) * kind.itemsize for size, kind in quantized_linear.stored(shape, bits))
