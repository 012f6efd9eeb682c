"""Ten minutes on a machine with an NVIDIA or an Apple GPU: whether all that is fast there is also right, and how near its limits it is.

    python -m benchmarks.on_gpu --out gpu.json                    # 40 GB of GPU memory for the true shapes
    python -m benchmarks.on_gpu --out gpu.json --device mps       # a Mac with 32 GB
    python -m benchmarks.on_gpu --out cpu.json --device cpu --small    # tries the script itself, without a GPU

Each step is timed and written at once; what fails is recorded and the next one begins; what would begin past the deadline is
named as skipped. Weights are random and made on the device, so nothing is downloaded.
"""

import argparse
import json
import math
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from benchmarks.checkpoints import DEMO, RANDOM, WEIGHTS, shape_of, write_large
from pixtral_cli import images
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.config import Params, read_params
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.kernels import gpu
from pixtral_cli.engines.local.kernels.formats import ALIGNMENT
from pixtral_cli.engines.local.model import upstream
from pixtral_cli.engines.local.model.attention import attend, causal_mask
from pixtral_cli.engines.local.model.decoder import Decoder, Span
from pixtral_cli.engines.local.model.kv_cache import KVCache
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.model.vision import VisionEncoder
from pixtral_cli.engines.local.runtime import placement
from pixtral_cli.engines.local.runtime.transfer import Transfer
from pixtral_cli.engines.local.weights import quantize
from pixtral_cli.engines.local.weights.fp8_linear import Fp8Linear, dequantize_fp8
from pixtral_cli.engines.local.weights.loader import load, transformer_arguments
from pixtral_cli.engines.local.weights.quantized_linear import (
    BITS,
    QuantizedLinear,
    install,
    pack,
    packed_layout,
    unpack,
)
from tests.engines.local.checkpoints import Sizes

EXAMPLES = Path(__file__).parent.parent / "examples"
QUESTIONS = {
    "shapes.png": "What is in the image?",
    "bars.png": "Describe the chart.",
    "runs.png": "Which run is best?",
    "sketch.png": "Write HTML code to create a website like this",
}
SCHEMES = ("none", "fp8", "8bit", "4bit")
SMALL = Sizes(dim=128, layers=2, heads=4, kv_heads=2, head_dim=32, hidden=256, vocab=1024, image=256)
STEP_TOKENS = 24  # of which the median time is taken
WARM_UP = 4


def synchronize(device: torch.device) -> None:
    """Wait until the device has computed what it was given."""
    if device.type == "cuda":
        torch.cuda.current_stream(device).synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


@dataclass
class Bench:
    """The device, how large everything is, and what was found so far."""

    device: torch.device
    out: Path
    deadline: float
    small: bool
    found: dict[str, Any] = field(default_factory=dict)

    def step(self, name: str, work: Callable[["Bench"], Any]) -> None:
        """Run one step and write everything."""
        if time.monotonic() > self.deadline:
            self.found[name] = {"skipped": "past the deadline"}
        else:
            began = time.monotonic()
            try:
                result = work(self)
            except Exception as error:  # the next step may work all the same
                result = {"error": f"{type(error).__name__}: {error}"[:600]}
            self.found[name] = {**result, "seconds": round(time.monotonic() - began, 1)}
            placement.release_memory(self.device)
        self.out.write_text(json.dumps(self.found, indent=1))
        print(f"{name}: {json.dumps(self.found[name])}", flush=True)

    def seconds(self, work: Callable[[], object], times: int = 5) -> float:
        """The median of `times` runs after one that is not counted."""
        work()
        taken = []
        for _ in range(times):
            synchronize(self.device)
            start = time.perf_counter()
            work()
            synchronize(self.device)
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)

    @property
    def memory_rate(self) -> float:
        """Bytes a second that the device reads."""
        return float(self.found["machine"]["read_bytes_per_second"])

    @property
    def matrix_rate(self) -> float:
        return float(self.found["machine"]["operations_per_second"])


def machine(bench: Bench) -> dict[str, Any]:
    device, size = bench.device, 1 << (22 if bench.small else 30)
    numbers = torch.ones(size // 4, device=device)
    target = torch.empty_like(numbers)
    side = 256 if bench.small else 8192
    matrix = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    found: dict[str, Any] = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "read_bytes_per_second": 2 * size / bench.seconds(lambda: target.copy_(numbers)),
        "operations_per_second": 2 * side**3 / bench.seconds(lambda: matrix @ matrix),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "gpu": properties.name,
            "memory": properties.total_memory,
            "capability": list(torch.cuda.get_device_capability(device)),
        }
        found["triton_kernels_run"] = gpu.runs_on(device.index)
    return found


def wide(numbers: Tensor) -> Tensor:
    """In float64, which Apple GPUs do not have: on the CPU from there."""
    return (numbers.cpu() if numbers.device.type == "mps" else numbers).double()


def products(bench: Bench) -> dict[str, Any]:
    """Products with packed weights: equal to float64, alone as together, and how fast they read."""
    shape = [(96, 256)] if bench.small else [(5120, 5120), (1024, 5120), (14336, 5120), (5120, 14336), (131072, 5120)]
    found: dict[str, Any] = {}
    for rows, width in shape:
        matrix = torch.randn(rows, width, device=bench.device) / math.sqrt(width)
        for scheme, layer, exact in layers(matrix, bench.device):
            states = torch.randn(32, width, device=bench.device, dtype=torch.bfloat16)
            whole = layer(states)
            reference = torch.cat([wide(states) @ wide(part).T for part in torch.split(exact, 8192)], 1)
            error = float((wide(whole) - reference).norm() / reference.norm())
            alone = torch.cat([layer(states[row : row + 1]) for row in range(32)])
            stored = sum(buffer.nbytes for buffer in layer.buffers())
            taken = bench.seconds(lambda: layer(states[:1]), 20)  # noqa: B023
            found[f"{rows}x{width} {scheme}"] = {
                "relative_error": error,
                "alone_equals_together": torch.equal(alone, whole),
                "of_memory_rate": stored / taken / bench.memory_rate,
                "of_memory_rate_32_rows": stored / bench.seconds(lambda: layer(states), 20) / bench.memory_rate,  # noqa: B023
            }
    worst = max(each["relative_error"] for each in found.values())
    return {"right": worst < 5e-3 and all(each["alone_equals_together"] for each in found.values()), "products": found}


def layers(matrix: Tensor, device: torch.device) -> Iterator[tuple[str, Any, Tensor]]:
    """The matrix in each packed format: a layer, and what its bytes stand for."""
    scale = matrix.abs().amax(1) / 448
    numbers = (matrix / scale[:, None]).to(torch.float8_e4m3fn)
    yield "fp8", Fp8Linear(numbers, scale), dequantize_fp8(numbers, scale)
    for bits in (8, 4):
        packed, scales = (part.to(device) for part in pack(matrix[: 1 << 14].cpu(), bits))
        repeat = -(-len(matrix) // len(packed))
        packed, scales = (torch.cat([part] * repeat)[: len(matrix)] for part in (packed, scales))
        yield (
            f"{bits}bit",
            QuantizedLinear(packed, scales, matrix.shape[1]),
            unpack(packed, scales, torch.float32)[:, : matrix.shape[1]],
        )


def attention(bench: Bench) -> dict[str, Any]:
    """A chunk, and a chunk after it, against softmax in float64, in every dtype: each has a kernel of its own."""
    found = {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for past, count in ((0, 128), (128, 128), (255, 1)):
            query = torch.randn(count, 32, 128, device=bench.device, dtype=dtype)
            key, value = torch.randn(2, 8, past + count, 128, device=bench.device, dtype=dtype)
            output = attend(query, key, value, causal_mask(count, past, bench.device, dtype, 128))
            keys, values = (wide(each).repeat_interleave(4, 0) for each in (key, value))
            scores = torch.einsum("thd,hsd->hts", wide(query), keys) / math.sqrt(128)
            hidden = torch.ones(count, past + count, device=keys.device, dtype=torch.bool).triu(past + 1)
            exact = torch.einsum("hts,hsd->thd", scores.masked_fill(hidden, -math.inf).softmax(-1), values)
            found[f"{str(dtype)[6:]} {count} after {past}"] = float((wide(output) - exact).abs().max())
    return {"right": max(found.values()) < 2e-2, "largest_difference": found}


def decode_attention(bench: Bench) -> dict[str, Any]:
    """Sequences of several lengths in one step against each by torch's attention; alone as together, and how fast it reads."""
    found: dict[str, Any] = {}
    for dtype in (torch.float16, torch.bfloat16):
        if not gpu.supports_decode_attention(bench.device, dtype, 32, 8, 128):
            return {"kernels_run": False}
        lengths = [1, 64, 511, 513, 4096, 32_768]
        stores = [torch.randn(2, 8, length, 128, device=bench.device, dtype=dtype) for length in lengths]
        query = torch.randn(len(lengths), 32, 128, device=bench.device, dtype=dtype)
        key, value = (torch.stack([store[part, :, -1] for store in stores]) for part in (0, 1))
        places = torch.tensor([store.data_ptr() // ALIGNMENT for store in stores], device=bench.device)
        sizes = torch.tensor(lengths, device=bench.device)
        together = gpu.attend(query, key, value, places, sizes, sizes, max(lengths))
        alone = [
            gpu.attend(query[[at]], key[[at]], value[[at]], places[[at]], sizes[[at]], sizes[[at]], length)
            for at, length in enumerate(lengths)
        ]
        exact = [attend(query[[at]], store[0], store[1], None) for at, store in enumerate(stores)]
        taken = bench.seconds(lambda: gpu.attend(query, key, value, places, sizes, sizes, max(lengths)), 20)  # noqa: B023
        found[str(dtype)[6:]] = {
            "largest_difference": float((together - torch.cat(exact)).abs().max()),
            "alone_equals_together": torch.equal(torch.cat(alone), together),
            "of_memory_rate": sum(store.nbytes for store in stores) / taken / bench.memory_rate,
        }
    right = all(each["largest_difference"] < 2e-2 and each["alone_equals_together"] for each in found.values())
    return {"kernels_run": True, "right": right, **found}


def demo(bench: Bench) -> dict[str, Any]:
    """The demo model answers on the device as on the CPU, in every precision, alone and eight at a time."""
    expected = demo_answers("cpu", "fp32", "none")
    found: dict[str, Any] = {"cpu fp32": expected}
    for dtype, scheme in (("fp32", "none"), ("bf16", "none"), ("fp16", "none"), ("bf16", "8bit"), ("bf16", "4bit")):
        answers = demo_answers(str(bench.device), dtype, scheme)
        found[f"{dtype} {scheme}"] = sum(answers[name] == expected[name] for name in expected)
    return {"right": found["fp32 none"] == len(expected), "equal_answers": found}


def demo_answers(device: str, dtype: str, scheme: str) -> dict[str, str]:
    engine = LocalEngine(DEMO, name="demo", device=device, dtype=dtype, quantize=scheme)
    try:
        return {
            name: "".join(
                chunk.text
                for chunk in engine.stream(
                    [user(question, [images.load(str(EXAMPLES / name))])], Sampling(temperature=0)
                )
            )
            for name, question in QUESTIONS.items()
        }
    finally:
        engine.close()


def cudnn(bench: Bench) -> dict[str, Any]:
    """What cuDNN's attention, which is turned off, would cost a token whose keys grow with every step."""
    if bench.device.type != "cuda":
        return {"skipped": "no GPU"}
    found = {}
    for enabled in (False, True):
        torch.backends.cuda.enable_cudnn_sdp(enabled)
        store = torch.randn(2, 8, 600, 128, device=bench.device, dtype=torch.bfloat16)
        query = torch.randn(1, 32, 128, device=bench.device, dtype=torch.bfloat16)
        attend(query, store[0, :, :500], store[1, :, :500], None)
        synchronize(bench.device)
        start = time.perf_counter()
        for length in range(501, 551):
            attend(query, store[0, :, :length], store[1, :, :length], None)
        synchronize(bench.device)
        found["with" if enabled else "without"] = (time.perf_counter() - start) / 50
    torch.backends.cuda.enable_cudnn_sdp(False)
    return found


@contextmanager
def model(bench: Bench, name: str, scheme: str) -> Iterator[tuple[Weights, Params]]:
    """A model of true shape with random weights, made on the device."""
    sizes = SMALL if bench.small else RANDOM[name]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "params.json").write_text(json.dumps(sizes.params))
        params = read_params(Path(folder), name)
    built = upstream.empty_transformer(transformer_arguments(params))
    shapes = {key: tuple(value.shape) for key, value in built.state_dict().items()}
    state: dict[str, Tensor] = {}
    if scheme != "none":
        for key, shape in quantize.decoder_linear(shapes).items():
            state |= install(built, key, random_layer(scheme, shape, bench.device))
    for key, shape in shapes.items():
        if key not in state:
            state[key] = random_tensor(shape, bench.device)
    built.load_state_dict(state, assign=True)
    built.requires_grad_(False).eval()
    size = sum(tensor.nbytes for tensor in state.values())
    yield Weights(built, bench.device, torch.bfloat16, size, scheme if scheme in BITS else "none"), params


def random_tensor(shape: tuple[int, ...], device: torch.device) -> Tensor:
    if len(shape) == 1:
        return torch.ones(shape, device=device, dtype=torch.bfloat16)
    return torch.randn(shape, device=device, dtype=torch.bfloat16) / math.sqrt(math.prod(shape[1:]))


def random_layer(scheme: str, shape: tuple[int, ...], device: torch.device) -> Any:
    rows, width = shape
    if scheme == "fp8":
        numbers = (torch.randn(shape, device=device, dtype=torch.bfloat16) * 64).to(torch.float8_e4m3fn)
        return Fp8Linear(numbers, torch.full((rows,), 1 / 64 / math.sqrt(width), device=device))
    (size, kind), (scales, scale_kind) = packed_layout(shape, BITS[scheme])
    low, high = (-127, 128) if scheme == "8bit" else (0, 256)
    numbers = torch.randint(low, high, size, device=device, dtype=kind)
    spread = (73 if scheme == "8bit" else 4.6) * math.sqrt(width)
    return QuantizedLinear(numbers, torch.full(scales, 1 / spread, device=device, dtype=scale_kind), width)


def decode(name: str, scheme: str) -> Callable[[Bench], dict[str, Any]]:
    """Milliseconds a step of 1, 8 and 32 sequences, and the part of what memory allows."""

    def work(bench: Bench) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with model(bench, name, scheme) as (weights, params):
            decoder = Decoder(weights, params)
            read = decoder_bytes(weights)
            for count in (1, 8, 32):
                caches = [KVCache(params, weights.device, weights.dtype, lambda _: None) for _ in range(count)]
                for cache in caches:
                    decoder.forward(decoder.embed([1] * 256), [Span(cache, 256)])
                taken = []
                for _ in range(WARM_UP + STEP_TOKENS):
                    start = time.perf_counter()
                    logits = decoder.logits(
                        decoder.forward(decoder.embed([7] * count), [Span(cache, 1, separate=True) for cache in caches])
                    )
                    logits.argmax(1).tolist()
                    taken.append(time.perf_counter() - start)
                step = statistics.median(taken[WARM_UP:])
                found[f"{count} sequences"] = {
                    "milliseconds": 1e3 * step,
                    "tokens_per_second": count / step,
                    "of_memory_limit": (read + sum(cache.size for cache in caches)) / bench.memory_rate / step,
                }
            return {"bytes_read": read, "peak_memory": placement.peak_memory(bench.device), **found}

    return work


def decoder_bytes(weights: Weights) -> int:
    """What one token reads: the layers and the output, not the embeddings nor the vision encoder."""
    parts = (weights.model.layers, weights.model.norm, weights.model.output)
    return sum(tensor.nbytes for part in parts for tensor in part.state_dict().values())


def prefill(name: str, lengths: Sequence[int]) -> Callable[[Bench], dict[str, Any]]:
    """Reading prompts, as a part of the matrix rate, by the size of the chunks; and one large picture."""

    def work(bench: Bench) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with model(bench, name, "none") as (weights, params):
            decoder, operations = Decoder(weights, params), shape_of(params)
            for length in lengths:
                for chunk in (2048, 8192):
                    cache = KVCache(params, weights.device, weights.dtype, lambda _: None)
                    cache.grow(length)

                    def read(cache: KVCache = cache, length: int = length, chunk: int = chunk) -> None:
                        cache.length = 0
                        for start in range(0, length, chunk):
                            count = min(chunk, length - start)
                            decoder.forward(decoder.embed([1] * count), [Span(cache, count)])

                    taken = bench.seconds(read, 2)
                    found[f"{length} tokens in chunks of {chunk}"] = {
                        "tokens_per_second": length / taken,
                        "of_matrix_rate": operations.prefill(length) / taken / bench.matrix_rate,
                    }
            vision, side = VisionEncoder(weights, params, cache_bytes=0), 96 if bench.small else 1024
            pixels = torch.zeros(3, side, side)
            found[f"picture of {side} pixels"] = {"milliseconds": 1e3 * bench.seconds(lambda: vision.encode(pixels), 3)}
        return found

    return work


def long_context(bench: Bench) -> dict[str, Any]:
    """The KV cache of the longest conversation beside the 12B's weights in 4 bits."""
    with model(bench, "pixtral-12b", "4bit") as (weights, params):
        decoder, length = Decoder(weights, params), 512 if bench.small else 131_071
        cache = KVCache(params, weights.device, weights.dtype, lambda _: None)
        cache.grow(length + 1)
        cache.length = length
        start = time.perf_counter()
        decoder.logits(decoder.forward(decoder.embed([7]), [Span(cache, 1, separate=True)])).argmax().item()
        return {
            "tokens": length + 1,
            "step_seconds": time.perf_counter() - start,
            "peak_memory": placement.peak_memory(bench.device),
        }


def loading(bench: Bench) -> dict[str, Any]:
    """A file of true size, copied in pieces through page-locked memory and as torch copies a mapped file."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_large(SMALL if bench.small else RANDOM["ministral-3b"], Path(scratch) / "model")
        size = (folder / WEIGHTS).stat().st_size
        params = read_params(folder, "model")
        options = placement.LoadOptions(str(bench.device), "bf16", placement.available_memory)
        found: dict[str, Any] = {"bytes": size}
        for name in ("in_pieces", "at_once"):
            with mock.patch.object(Transfer, "__call__", copied_at_once) if name == "at_once" else nullcontext():
                found[f"{name}_seconds"] = bench.seconds(lambda: load(folder, params, "model", options), 1)
        return found


def copied_at_once(transfer: Transfer, source: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    return source.to(device=transfer._device, dtype=dtype or source.dtype).contiguous()


def beside_transformers(bench: Bench) -> dict[str, Any]:
    """The same decoder in transformers, one sequence in bf16, as its own `generate` runs it."""
    from transformers import MistralConfig, MistralForCausalLM

    sizes = SMALL if bench.small else RANDOM["ministral-3b"]
    config: Any = MistralConfig(
        hidden_size=sizes.dim, num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, num_key_value_heads=sizes.kv_heads,
        head_dim=sizes.head_dim, intermediate_size=sizes.hidden, vocab_size=sizes.vocab, sliding_window=None,
    )  # fmt: skip
    with torch.device(bench.device):
        other: Any = MistralForCausalLM(config)
    other = other.to(torch.bfloat16).eval()
    prompt = torch.ones(1, 256, dtype=torch.long, device=bench.device)

    def generate(count: int) -> float:
        start = time.perf_counter()
        other.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=count, min_new_tokens=count, do_sample=False
        )
        synchronize(bench.device)
        return time.perf_counter() - start

    generate(4)
    return {"milliseconds": 1e3 * (generate(4 + STEP_TOKENS) - generate(4)) / STEP_TOKENS}


def steps(small: bool) -> Mapping[str, Callable[[Bench], Any]]:
    lengths = (96,) if small else (2048, 8192, 32768)
    return {
        "machine": machine, "products": products, "attention": attention, "decode attention": decode_attention,
        "demo": demo, "cuDNN attention": cudnn,
        **{f"decode {name} {scheme}": decode(name, scheme) for name in ("pixtral-12b", "ministral-3b") for scheme in SCHEMES},
        "prefill pixtral-12b": prefill("pixtral-12b", lengths), "long context": long_context, "loading": loading,
        "transformers ministral-3b": beside_transformers,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--small", action="store_true", help="tiny shapes: whether the script works")
    options = parser.parse_args()
    device = placement.choose_device(options.device)
    placement.prepare_device(device)
    bench = Bench(device, options.out, time.monotonic() + 60 * options.minutes, options.small)
    with torch.inference_mode():
        for name, work in steps(options.small).items():
            bench.step(name, work)
    wrong = [name for name, result in bench.found.items() if result.get("right") is False or "error" in result]
    print(f"wrong: {', '.join(wrong)}" if wrong else "all right", flush=True)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
