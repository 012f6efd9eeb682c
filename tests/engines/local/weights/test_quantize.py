"""Quantized weights: how near they come, that they are made once, and that nothing else about an answer changes."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from pixtral_cli import images
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.engines import resident
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.generation.drafting import PromptLookup
from pixtral_cli.engines.local.kernels import cpu
from pixtral_cli.engines.local.model.decoder import Span
from pixtral_cli.engines.local.runtime.timing import PhaseTimer
from pixtral_cli.engines.local.weights import quantized_linear
from pixtral_cli.engines.options import EngineOptions
from pixtral_cli.errors import ModelError, OutOfMemory, UsageError
from pixtral_cli.models import names, quantized_files
from pixtral_cli.models.removal import plan_removal
from tests.engines.local.checkpoints import Sizes, build, image

CPU = torch.device("cpu")
SCHEMES = ["8bit", "4bit"]
SHAPES = Path(__file__).parents[4] / "examples" / "shapes.png"
GREEDY = Sampling(temperature=0, max_tokens=40)
TWO = Sizes(dim=128, layers=3, heads=8, head_dim=32, hidden=256)


@pytest.fixture(params=["kernel", "torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The kernel, where it was built and runs; and torch alone."""
    if request.param == "torch":
        monkeypatch.setattr(quantized_linear, "kernel_supports", lambda *_: False)
    return str(request.param)


def layer(rows: int, width: int, bits: int, seed: int = 0) -> tuple[quantized_linear.QuantizedLinear, torch.Tensor]:
    """A random packed layer, and the weights it was made of."""
    weight = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) / width**0.5
    return quantized_linear.QuantizedLinear(*quantized_linear.pack(weight, bits), width), weight


def unpacked(linear: quantized_linear.QuantizedLinear) -> torch.Tensor:
    """As the layout says it, a number at a time in NumPy's words, in float32."""
    numbers, scale = linear.weight.numpy().astype(int), linear.scale.float().numpy()
    if linear.bits == 8:
        return torch.from_numpy((numbers * scale[:, None])[:, : linear.width]).float()
    column = np.arange(linear.width)
    byte = numbers[:, column // 64 * 32 + column % 32]
    nibble = np.where(column % 64 < 32, byte & 15, byte >> 4) - 8
    return torch.from_numpy(nibble * scale[:, column // 64]).float()


@given(
    st.integers(1, 40), st.integers(1, 200), st.integers(1, 90), st.sampled_from([8, 4]),
    st.sampled_from([torch.bfloat16, torch.float32]), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=100)
def test_kernel_and_torch_compute_the_same_product(
    count: int, width: int, rows: int, bits: int, dtype: torch.dtype, seed: int
) -> None:
    """Nearer than a bfloat16 is to its neighbour; the unpacked weights are equal."""
    linear, _ = layer(rows, width, bits, seed)
    states = torch.randn(count, width, generator=torch.Generator().manual_seed(seed + 1)).to(dtype)
    weight = unpacked(linear)
    for each in (torch.bfloat16, torch.float16, torch.float32):
        assert torch.equal(linear.unpacked(0, rows, each), weight.to(each))
    exact = states.double() @ weight.double().T
    rtol, atol = (2**-7, 2**-7) if dtype == torch.bfloat16 else (1e-4, 3e-4)
    torch.testing.assert_close(linear(states).double(), exact, rtol=rtol, atol=atol)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.01), (4, 0.1)])
def test_weights_come_near(bits: int, most: float) -> None:
    linear, weight = layer(64, 2048, bits)
    lost = (linear.unpacked(0, 64, torch.float32) - weight).norm() / weight.norm()
    assert most / 3 < lost < most


@pytest.mark.parametrize("bits", [8, 4])
def test_zeros_stay_zeros_and_what_is_no_number_is_seen(bits: int, path: str) -> None:
    linear = quantized_linear.QuantizedLinear(*quantized_linear.pack(torch.zeros(5, 100), bits), 100)
    assert not linear(torch.ones(3, 100)).any()
    linear, _ = layer(5, 100, bits)
    for bad in (torch.nan, torch.inf):
        states = torch.ones(3, 100)
        states[1, 70] = bad
        finite = linear(states).isfinite()
        assert finite[0].all()
        assert not finite[1].any()


def engine(folder: Path, scheme: str = "8bit", **options: Any) -> LocalEngine:
    return LocalEngine(folder, name="tiny", quantize=scheme, **{"device": "cpu"} | options)


def logits(who: LocalEngine, said: list[Message], tokens: list[int]) -> torch.Tensor:
    """Of each next token after the prompt and after each of these tokens: (1 + tokens, vocabulary)."""
    runner, prompt = who.load(), who._encode(said)
    with runner.prefix_cache.acquire(prompt) as (sequence, _):
        first = runner.prefill(prompt, sequence, PhaseTimer())
        states = runner._decoder.forward(
            runner._decoder.embed(tokens), [Span(sequence.cache, len(tokens), separate=True)]
        )
        return torch.cat([first[None], runner._decoder.logits(states)])


def divergence(one: torch.Tensor, other: torch.Tensor) -> float:
    """Mean KL divergence of the second from the first, in nats."""
    one, other = one.double().log_softmax(-1), other.double().log_softmax(-1)
    return float((one.exp() * (one - other)).sum(-1).mean())


DEMO_SAID = [user("What is in the image?", [images.from_bytes(SHAPES.read_bytes(), "shapes.png")])]
DEMO_ANSWER = "A red circle, a blue star and a green triangle."


@pytest.mark.parametrize(("scheme", "most"), [("8bit", 1e-3), ("4bit", 0.1)])
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
def test_the_demo_means_nearly_the_same(scheme: str, most: float, dtype: str, path: str) -> None:
    def said(quantize: str) -> torch.Tensor:
        who = LocalEngine(names.demo_folder(), device="cpu", dtype=dtype, quantize=quantize)
        prompt = who._encode([*DEMO_SAID, assistant(DEMO_ANSWER), user("?")])
        start = len(who._encode(DEMO_SAID).tokens)
        return logits(who, DEMO_SAID, prompt.tokens[start : start + 12])

    assert divergence(said("none"), said(scheme)) < most


@pytest.mark.parametrize(("scheme", "most"), [("8bit", 2e-3), ("4bit", 0.3)])
@pytest.mark.parametrize("sizes", [Sizes(), TWO], ids=["odd", "even"])
def test_a_random_model_means_nearly_the_same(tmp_path: Path, scheme: str, most: float, sizes: Sizes) -> None:
    said, tokens = [user("One two three.", [image(64, 32)])], list(range(30, 60))
    folder = build(tmp_path, sizes, seed=4)
    found = [logits(engine(folder, name, dtype="fp32"), said, tokens) for name in ("none", scheme)]
    assert divergence(*found) < most


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_demo_answers_rightly(scheme: str, path: str) -> None:
    who = LocalEngine(names.demo_folder(), device="cpu", quantize=scheme)
    assert "".join(chunk.text for chunk in who.stream(DEMO_SAID, GREEDY)) == DEMO_ANSWER


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_the_decoders_linear_layers_are_packed(tmp_path: Path, scheme: str) -> None:
    folder = build(tmp_path)
    plain = engine(folder, "none").load().weights.model.state_dict()
    state = engine(folder, scheme).load().weights.model.state_dict()
    changed = {key for key in plain if state[key].dtype != plain[key].dtype}
    kinds = ["attention.wq", "attention.wk", "attention.wv", "attention.wo"]
    kinds += ["feed_forward.w1", "feed_forward.w2", "feed_forward.w3"]
    assert changed == {f"layers.{index}.{kind}.weight" for index in range(2) for kind in kinds}
    assert all(torch.equal(state[key], plain[key]) for key in plain.keys() - changed)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_chunks_of_a_prompt_change_nothing_to_speak_of(tmp_path: Path, scheme: str) -> None:
    folder, said = build(tmp_path, TWO, seed=2), [user("la " * 90, [image(96, 40)])]
    whole, cut = (logits(engine(folder, scheme, dtype="fp32", prefill_chunk=n), said, [40, 41]) for n in (256, 50))
    torch.testing.assert_close(whole, cut, rtol=0, atol=2e-3)


EDIT = [
    user("Write a page.", [image(96, 40, 1)]),
    assistant("<html><body><p>One</p><button class='red'>Go</button><p>Two, three, four</p></body></html>"),
    user("Make the button blue."),
]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_guessing_ahead_and_company_change_no_answer(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    folder = build(tmp_path, TWO, seed=3)

    def texts() -> list[str]:
        who = engine(folder, scheme, dtype="fp32")
        alone = ["".join(chunk.text for chunk in who.stream(EDIT, GREEDY))]
        streams = [who.stream(said, GREEDY) for said in (EDIT, [user("la " * 80)])]
        found = ["", ""]
        while True:
            pulled = [_pull(stream, found, index) for index, stream in enumerate(streams)]
            if not any(pulled):
                break
        return alone + found

    guessing = texts()
    assert guessing[0] == guessing[1]
    monkeypatch.setattr(PromptLookup, "draft", lambda *_: [])
    assert texts() == guessing


def _pull(stream: Iterator[Any], found: list[str], index: int) -> bool:
    chunk = next(stream, None)
    found[index] += chunk.text if chunk else ""
    return chunk is not None


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_position_comes_out_alike_alone_and_in_company(scheme: str) -> None:
    linear, _ = layer(130, 256, quantized_linear.BITS[scheme])
    if not cpu.kernel_supports(CPU, torch.bfloat16):
        return
    for dtype in (torch.bfloat16, torch.float32):
        states = torch.randn(32, 256).to(dtype)
        for count in (2, 5, 8, 9, 32):
            together = linear(states[:count])
            assert all(torch.equal(together[i], linear(states[i : i + 1])[0]) for i in range(count))


def file_of(cache: Path) -> Path:
    [file] = cache.rglob("*.*")
    return file


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_are_packed_once_and_then_lie_in_a_file(tmp_path: Path, scheme: str) -> None:
    folder, cache = build(tmp_path / "model"), tmp_path / "cache"
    parts: list[float] = []
    made = engine(folder, scheme, cache=cache)
    made.load(lambda: parts.append(made.loaded))
    assert parts == sorted(parts)
    file = file_of(cache)
    before = file.stat()
    again = engine(folder, scheme, cache=cache)
    state = again.load().weights.model.state_dict()
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    with safe_open(file, framework="pt") as opened:
        assert all(torch.equal(opened.get_tensor(key), state[key]) for key in opened.keys())  # noqa: SIM118
    fresh = engine(folder, scheme).load().weights.model.state_dict()
    assert all(torch.equal(fresh[key], state[key]) for key in state)


def private_memory() -> int:
    """Bytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024


def test_the_next_load_is_a_memory_map(tmp_path: Path) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    build(folder, Sizes(dim=1024, hidden=8192, layers=3, heads=16, head_dim=64), dtype=torch.bfloat16)
    engine(folder, cache=cache, dtype="bf16").load()
    size = file_of(cache).stat().st_size
    assert size > 70_000_000
    before = private_memory()
    weights = engine(folder, cache=cache, dtype="bf16").load().weights
    for tensor in weights.model.state_dict().values():
        tensor.sum()
    assert private_memory() - before < size / 4


SPOILED: dict[str, Callable[[Path], object]] = {
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "noise": lambda file: file.write_bytes(b"\xff" * 5000),
    "another layout": lambda file: file.write_bytes(file.read_bytes().replace(b'"layout": "1"', b'"layout": "0"')),
    "left behind": lambda file: file.rename(file.with_suffix(".part")),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_file_that_is_broken_is_made_again(tmp_path: Path, name: str) -> None:
    folder, cache = build(tmp_path / "model"), tmp_path / "cache"
    engine(folder, cache=cache).load()
    file = file_of(cache)
    whole = file.read_bytes()
    SPOILED[name](file)
    assert engine(folder, cache=cache).load()
    assert file_of(cache).read_bytes() == whole


def test_another_checkpoint_in_the_same_place_is_packed_anew(tmp_path: Path) -> None:
    folder, cache = build(tmp_path / "model", seed=1), tmp_path / "cache"
    engine(folder, cache=cache).load()
    build(folder, seed=2)
    found = engine(folder, cache=cache).load().weights.model.state_dict()
    expected = engine(folder).load().weights.model.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in found)
    assert file_of(cache)


def test_what_was_made_of_anothers_model_is_removed_and_the_model_is_not(tmp_path: Path, home: Path) -> None:
    folder, cache = build(tmp_path / "model"), home / "pixtral" / "cache"
    before = sorted(folder.iterdir())
    engine(folder, cache=cache).load()
    removal = plan_removal(names.parse(str(folder)))
    assert removal.size == file_of(cache).stat().st_size
    removal.run()
    assert sorted(folder.iterdir()) == before
    assert not list(cache.rglob("*.*"))


def test_one_that_is_stopped_leaves_nothing(tmp_path: Path) -> None:
    folder, cache = build(tmp_path / "model"), tmp_path / "cache"
    who = engine(folder, cache=cache)

    def stop() -> None:
        if who.loaded > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        who.load(stop)
    assert not list(cache.rglob("*.*"))


def test_a_cache_that_cannot_be_written_is_reported_in_a_line(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.write_text("a file")
    with pytest.raises(ModelError, match=r"No room for .* of quantized weights of tiny") as caught:
        engine(build(tmp_path / "model"), cache=cache).load()
    assert str(cache) in caught.value.hint


BIG = Sizes(dim=256, hidden=2048, layers=3)


def test_auto_takes_the_largest_that_fits_and_says_so(tmp_path: Path) -> None:
    folder = build(tmp_path, BIG, dtype=torch.bfloat16)
    notes: list[str] = []

    def scheme(mebibytes: float) -> str:
        available = lambda _: int(mebibytes * (1 << 20))  # noqa: E731
        return engine(folder, "auto", dtype="bf16", available=available, note=notes.append).load().weights.scheme

    assert scheme(1000) == "none"
    assert notes == []
    assert scheme(11) == "8bit"
    assert scheme(6.5) == "4bit"
    assert [note.partition(":")[0] for note in notes] == ["tiny is quantized to 8bit", "tiny is quantized to 4bit"]
    assert all(len(note) <= 120 for note in notes)
    with pytest.raises(OutOfMemory, match=r"Loading tiny in 4bit with .* needs"):
        scheme(1)


def test_what_was_asked_for_and_does_not_fit_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path, BIG, dtype=torch.bfloat16)
    for scheme, free in (("none", 8), ("8bit", 6)):
        with pytest.raises(
            OutOfMemory, match=r"Loading tiny in (bfloat16|8bit) with .* needs .* MiB is free"
        ) as caught:
            engine(folder, scheme, dtype="bf16", available=lambda _, free=free: free << 20).load()
        assert caught.value.hint == f"It fits with --quantize {'8bit' if scheme == 'none' else '4bit'}"
        assert caught.value.status == 7


def test_a_quantization_there_is_not_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'3bit'"):
        engine(build(tmp_path), "3bit").load()


def pixtral(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pixtral_cli", *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", stdin=subprocess.DEVNULL, check=False)


def ask(*words: str) -> "subprocess.CompletedProcess[str]":
    return pixtral("ask", "What is in the image?", "-a", str(SHAPES), "--model", "demo", "--no-log", *words)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_flag_quantizes_and_keeps_what_it_made(scheme: str, home: Path) -> None:
    done = ask("--quantize", scheme, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["answer"] == DEMO_ANSWER
    kept = quantized_files.existing_files(home / "pixtral" / "cache", names.demo_folder())
    assert [file.name.partition("-")[2] for file in kept] == [f"{scheme}.safetensors"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--quantize", "3bit"], "There is no quantization named '3bit'"),
        (["--quantize", "8bit", "--engine", "vllm"], "--quantize is for the local engine, and vLLM is to answer"),
        (["--quantize", "8bit", "--engine", "api"], "--quantize is for models on this machine"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_exit_2(words: list[str], says: str) -> None:
    done = ask(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_process_with_another_quantization_is_another() -> None:
    model = names.find(names.parse(names.DEMO))
    keys = [
        resident.model_spec(model, EngineOptions(quantize=scheme)).key
        for scheme in ("auto", "none", "8bit", "4bit", "8bit")
    ]
    assert len(set(keys)) == 4
    assert keys[2] == keys[4]
