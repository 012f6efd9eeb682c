"""Checkpoints that store their weights quantized: loaded as they are, packed on request, refused by the tensor's name."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.weights.fp8_linear import Fp8Linear, fp8_product
from pixtral_cli.engines.local.weights.quantized_linear import QuantizedLinear
from pixtral_cli.errors import ModelError, OutOfMemory, UsageError
from tests.engines.local.checkpoints import Sizes, build, image
from tests.engines.local.family import DECODER_LINEAR, in_transformers_format, to_fp8
from tests.engines.local.weights.test_quantize import divergence

WHOLE = "consolidated.safetensors"
KEY = "layers.0.attention.wq.weight"
SCALE = "layers.0.attention.wq.qscale_weight"
WIDE = Sizes(dim=128, hidden=256, heads=4, kv_heads=2, head_dim=32)
SAID = [user("What is this?", [image(64, 32)])]


def logits(engine: LocalEngine) -> torch.Tensor:
    from pixtral_cli.engines.local.runtime.timing import PhaseTimer

    runner, prompt = engine.load(), engine._encode(SAID)
    with runner.prefix_cache.acquire(prompt) as (sequence, _):
        return runner.prefill(prompt, sequence, PhaseTimer())


def edited(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    file = folder / WHOLE
    state = load_file(file)
    change(state)
    save_file(state, file)
    return folder


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("count", [1, 5, 40])
def test_an_fp8_product_is_that_of_the_dequantized_weights(dtype: str, count: int) -> None:
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[dtype]
    torch.manual_seed(0)
    weight = (torch.randn(3000, 700) * 100).to(torch.float8_e4m3fn)
    states = torch.randn(count, 700).to(kind)
    for scale in (torch.tensor(0.003), torch.rand(3000) / 100):
        exact = states.double() @ (weight.double() * scale.expand(3000)[:, None]).T
        found = fp8_product(weight, scale, states)
        assert found.dtype == kind
        torch.testing.assert_close(
            found.double(), exact, rtol=0, atol=float(exact.abs().max()) * {4: 1e-6, 2: 8e-3}[kind.itemsize]
        )


def test_fp8_weights_take_a_byte_each_and_the_fit_check_counts_it(tmp_path: Path) -> None:
    build(tmp_path, WIDE, dtype=torch.bfloat16)
    whole = LocalEngine(tmp_path, device="cpu", dtype="bf16").load().weights.size
    to_fp8(tmp_path)
    weights = LocalEngine(tmp_path, device="cpu", dtype="bf16").load().weights
    linear = sum(math.prod(t.shape) for k, t in load_file(tmp_path / WHOLE).items() if t.dtype == torch.float8_e4m3fn)
    assert weights.size == whole - linear
    held = sum(tensor.nbytes for tensor in weights.model.state_dict().values())
    assert weights.size <= held <= weights.size + 4 * 14  # and the scales
    with pytest.raises(OutOfMemory, match="in fp8"):
        LocalEngine(tmp_path, device="cpu", dtype="bf16", available=lambda device: weights.size - 1).load()


def test_where_fp8_does_not_fit_auto_packs_to_4_bits(tmp_path: Path) -> None:
    to_fp8(build(tmp_path, WIDE, dtype=torch.bfloat16))
    size = LocalEngine(tmp_path, device="cpu", dtype="bf16").load().weights.size
    notes: list[str] = []
    engine = LocalEngine(
        tmp_path, device="cpu", dtype="bf16", quantize="auto", note=notes.append, available=lambda device: size - 1
    )
    assert engine.load(positions=0).weights.scheme == "4bit"
    assert "fp8 takes" in notes[0]


@pytest.mark.parametrize(("scheme", "most"), [("8bit", 0.02), ("4bit", 0.35)])
def test_fp8_weights_are_packed_on_request(tmp_path: Path, scheme: str, most: float) -> None:
    to_fp8(build(tmp_path / "model", WIDE))
    exact = logits(LocalEngine(tmp_path / "model", device="cpu", dtype="fp32"))
    for _ in range(2):  # made, then from the file
        engine = LocalEngine(tmp_path / "model", device="cpu", dtype="fp32", quantize=scheme, cache=tmp_path / "cache")
        found = logits(engine)
        assert isinstance(engine.load().weights.model.layers["0"].attention.wq, QuantizedLinear)
        assert (found - exact).norm() / exact.norm() < most


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize(("scheme", "most"), [("none", 1e-6), ("8bit", 2e-3), ("4bit", 0.3)])
def test_packed_fp8_means_nearly_what_the_dequantized_weights_do(
    tmp_path: Path, scheme: str, most: float, dtype: str
) -> None:
    """The mean KL divergence of the next token's distribution, in nats, from the same numbers in float32."""
    folder, other = build(tmp_path / "fp8", WIDE), build(tmp_path / "plain", WIDE)
    save_file(to_fp8(folder), other / WHOLE)
    exact = logits(LocalEngine(other, device="cpu", dtype="fp32"))
    found = logits(LocalEngine(folder, device="cpu", dtype=dtype, quantize=scheme))
    assert divergence(exact, found) < (most if dtype == "fp32" else most + 1e-3)


def set_scale(value: Any) -> Callable[[dict[str, torch.Tensor]], Any]:
    return lambda state: state.update({SCALE: torch.tensor(value)})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda state: state.pop(SCALE), f"{KEY} is quantized and has no scale"),
        (set_scale(math.nan), f"{SCALE} is not a positive finite number"),
        (set_scale(math.inf), f"{SCALE} is not a positive finite number"),
        (set_scale(-0.5), f"{SCALE} is not a positive finite number"),
        (set_scale([1.0, 2.0]), f"{SCALE} is [2], neither a number nor one for each row"),
        (set_scale([[[1.0]] * 3]), f"{SCALE} is [1, 3, 1]"),
        (set_scale(1), f"{SCALE} is of type int64"),
        (lambda state: state.update({KEY: state[KEY].float()}), f"{SCALE} (bfloat16) belongs to a quantization"),
        (lambda state: state.update({KEY: state[KEY][:8].clone()}), f"{KEY} is [8, 64], params.json says [64, 64]"),
        (lambda state: state[KEY].view(torch.uint8).view(-1)[:1].fill_(0x7F), f"not numbers: {KEY}"),
    ],
    ids=["none", "NaN", "infinite", "negative", "two", "deep", "whole", "of nothing", "cut", "NaN weight"],
)
def test_a_damaged_fp8_checkpoint_names_the_tensor(tmp_path: Path, change: Any, says: str) -> None:
    to_fp8(build(tmp_path))
    edited(tmp_path, change)
    with pytest.raises(ModelError) as caught:
        LocalEngine(tmp_path, name="tiny", device="cpu").load()
    assert says in caught.value.message


def compressed(folder: Path, kind: str, group: int = 128, change: Any = None) -> dict[str, torch.Tensor]:
    """Quantize the decoder as compressed-tensors does; returns the dequantized state under the file's names."""
    exact: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        state = load_file(file)
        for key in list(state):
            if ".layers." in key and "language_model" in key and key.endswith("proj.weight"):
                stored, exact[key] = quantized(state.pop(key), kind, group)
                state |= {key.removesuffix("weight") + name: tensor.contiguous() for name, tensor in stored.items()}
        if change:
            change(state)
        save_file(state, file)
    index = {key: file.name for file in folder.glob("*.safetensors") for key in load_file(file)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": kind}
    (folder / "config.json").write_text(json.dumps(config))
    return exact


def quantized(weight: torch.Tensor, kind: str, group: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    rows, width = weight.shape
    if kind == "fp8":
        scale = (weight.abs().amax(1, keepdim=True) / 448).bfloat16()
        numbers = (weight / scale.float()).to(torch.float8_e4m3fn)
        return {"weight": numbers, "weight_scale": scale, "input_scale": torch.ones(1)}, numbers.float() * scale.float()
    bits = 4 if kind == "w4a16" else 8
    most = 2 ** (bits - 1) - 1
    grouped = weight.view(rows, -1, group if kind == "w4a16" else width)
    scale = (grouped.abs().amax(2) / most).bfloat16().float()
    numbers = (grouped / scale[:, :, None]).round().clamp(-most - 1, most)
    exact = (numbers * scale[:, :, None]).view(rows, width)
    whole = numbers.view(rows, width).to(torch.int64)
    if kind == "int8":
        return {"weight": whole.to(torch.int8), "weight_scale": scale}, exact
    lanes = (whole + most + 1).view(rows, -1, 32 // bits) << (bits * torch.arange(32 // bits))
    packed = lanes.sum(2)
    packed = torch.where(packed >= 1 << 31, packed - (1 << 32), packed).to(torch.int32)
    shape = torch.tensor([rows, width])
    return {"weight_packed": packed, "weight_scale": scale.bfloat16(), "weight_shape": shape}, exact


@pytest.mark.parametrize(("kind", "group"), [("w4a16", 128), ("w4a16", 64), ("w8a16", 0), ("int8", 0), ("fp8", 0)])
def test_compressed_tensors_compute_what_their_dequantized_weights_do(tmp_path: Path, kind: str, group: int) -> None:
    plain, packed = (in_transformers_format(tmp_path / name, WIDE, 3) for name in ("plain", "packed"))
    exact = compressed(packed, kind, group)
    for file in plain.glob("*.safetensors"):
        state = load_file(file)
        save_file({key: exact.get(key, tensor).contiguous() for key, tensor in state.items()}, file)
    engine = LocalEngine(packed, device="cpu", dtype="fp32")
    expected = logits(LocalEngine(plain, device="cpu", dtype="fp32"))
    torch.testing.assert_close(logits(engine), expected, rtol=0, atol=float(expected.std()) * 2e-3)
    layer = engine.load().weights.model.layers["0"].attention.wq
    assert isinstance(layer, Fp8Linear if kind == "fp8" else QuantizedLinear)
    *_, last = engine.stream(SAID, Sampling(0, max_tokens=4))
    assert last.usage
    assert 1 <= last.usage.completion_tokens <= 4


def test_what_is_stored_in_4_bits_is_not_packed_to_8(tmp_path: Path) -> None:
    compressed(in_transformers_format(tmp_path, WIDE, 3), "w4a16")
    with pytest.raises(UsageError, match="is stored in 4bit already"):
        LocalEngine(tmp_path, device="cpu", quantize="8bit").load()
    for same in ("4bit", "auto"):
        assert LocalEngine(tmp_path, device="cpu", quantize=same).load().weights.scheme == "none"


def renamed(old: str, new: str) -> Callable[[dict[str, torch.Tensor]], None]:
    def change(state: dict[str, torch.Tensor]) -> None:
        for key in [key for key in state if key.endswith(old)]:
            state[key.removesuffix(old) + new] = state[key].clone()

    return change


@pytest.mark.parametrize(
    ("kind", "group", "change", "says"),
    [
        ("w4a16", 32, None, "groups of 32 for 4 bits"),
        ("w4a16", 128, renamed("weight_packed", "weight_g_idx"), "weight_g_idx"),
        ("w4a16", 128, renamed("weight_packed", "weight_zero_point"), "weight_zero_point"),
    ],
)
def test_groups_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, kind: str, group: int, change: Any, says: str
) -> None:
    compressed(in_transformers_format(tmp_path, WIDE, 3), kind, group, change)
    with pytest.raises(ModelError, match=says):
        LocalEngine(tmp_path, device="cpu").load()


@pytest.mark.parametrize(
    "config",
    [
        {"quant_method": "gptq"}, {"quant_method": "awq"}, {"quant_method": "fp8", "weight_block_size": [128, 128]},
        {"quant_method": "compressed-tensors", "format": "marlin-24"},
        {"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"R1": {}}}},
        {"quant_method": "compressed-tensors", "sparsity_config": {"format": "sparse-24-bitmask"}},
    ],
    ids=lambda config: "-".join(map(str, config.values()))[:30],
)  # fmt: skip
def test_another_quantization_is_refused_by_name(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = in_transformers_format(tmp_path, WIDE, 3)
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, "quantization_config": config}))
    with pytest.raises(ModelError, match=r"config.json of .* asks for .*quant"):
        LocalEngine(folder, device="cpu").load()


def test_the_names_of_the_decoders_linear_layers_are_the_modules(tmp_path: Path) -> None:
    state = load_file(build(tmp_path) / WHOLE)
    assert sum(key.startswith("layers.") and key.endswith(DECODER_LINEAR) for key in state) == 7 * Sizes().layers
