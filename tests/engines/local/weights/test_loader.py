"""A checkpoint folder loads whatever its form, without a second copy; a broken one is refused by name, with what to do."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.config import read_params
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.model.upstream import empty_transformer
from pixtral_cli.engines.local.weights.loader import transformer_arguments
from pixtral_cli.errors import ModelError, OutOfMemory, PixtralError, UsageError
from tests.engines.local.checkpoints import Sizes, build, image

WHOLE = "consolidated.safetensors"
INDEX = "consolidated.safetensors.index.json"
ASKED = [user("What is this?", [image(64, 32)])]
GREEDY = Sampling(temperature=0, max_tokens=8)


def answer(folder: Path, **options: Any) -> str:
    engine = LocalEngine(folder, name="tiny", device="cpu", **options)
    return "".join(chunk.text for chunk in engine.stream(ASKED, GREEDY))


def split(folder: Path, parts: int) -> None:
    """Write the weights as shards, as large models are."""
    state = load_file(folder / WHOLE)
    (folder / WHOLE).unlink()
    names = sorted(state)
    for part in range(parts):
        shard = {name: state[name] for name in names[part::parts]}
        save_file(shard, folder / f"consolidated-{part + 1:05}-of-{parts:05}.safetensors")


def indexed(folder: Path) -> None:
    """Write the index of the shards that are there."""
    shards = sorted(path.name for path in folder.glob("*.safetensors"))
    names = {name: shard for shard in shards for name in load_file(folder / shard)}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}))


def under_other_names(folder: Path) -> None:
    """Shards that only their index makes known, beside some of an older download."""
    split(folder, 2)
    for path in list(folder.glob("*.safetensors")):
        path.rename(folder / path.name.replace("consolidated", "weights"))
    indexed(folder)
    (folder / "consolidated-00001-of-00003.safetensors").write_bytes(b"old")


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WHOLE), folder / "consolidated.00.pth")
    (folder / WHOLE).unlink()


def turned(folder: Path) -> None:
    """Matrices that lie column by column, as a `.pth` may hold them."""
    state = {
        name: tensor.t().contiguous().t() if tensor.dim() == 2 else tensor
        for name, tensor in load_file(folder / WHOLE).items()
    }
    torch.save(state, folder / "consolidated.00.pth")
    (folder / WHOLE).unlink()


def untied(folder: Path) -> None:
    state = load_file(folder / WHOLE)
    state["output.weight"] = state["tok_embeddings.weight"].clone()
    save_file(state, folder / WHOLE)


@pytest.mark.parametrize(
    "change",
    [lambda f: split(f, 3), lambda f: split(f, 3) or indexed(f), under_other_names, pickled, turned],
    ids=["shards", "index", "other names", "pth", "turned"],
)
def test_every_form_of_weights_gives_the_same_answer(tmp_path: Path, change: Callable[[Path], None]) -> None:
    expected = answer(build(tmp_path))
    change(tmp_path)
    assert answer(tmp_path) == expected


def test_tied_weights_are_one_tensor_and_answer_as_untied(tmp_path: Path) -> None:
    build(tmp_path, Sizes(tied=True))
    model = LocalEngine(tmp_path, dtype="fp32").load().weights.model
    assert model.output.weight is model.tok_embeddings.weight or (
        model.output.weight.data_ptr() == model.tok_embeddings.weight.data_ptr()
    )
    expected = answer(tmp_path)
    untied(tmp_path)
    assert answer(tmp_path) == expected


def loaded(folder: Path, dtype: str = "auto") -> Weights:
    return LocalEngine(folder, device="cpu", dtype=dtype).load().weights


def private_memory() -> int:
    """Bytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024


@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_weights_in_the_right_dtype_stay_in_the_file(tmp_path: Path, form: str) -> None:
    sizes = Sizes(dim=1024, hidden=4096, layers=2, vocab=16_000)
    build(tmp_path, sizes, dtype=torch.bfloat16)
    if form == "pth":
        pickled(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.glob("consolidated*"))
    assert size > 90_000_000
    loaded(build(tmp_path / "first"))
    before = private_memory()
    weights = loaded(tmp_path, "bf16")
    for tensor in weights.model.state_dict().values():
        tensor.sum()
    assert private_memory() - before < size / 4


def test_how_much_is_read_can_be_seen_while_it_is_read(tmp_path: Path) -> None:
    engine = LocalEngine(build(tmp_path), name="tiny", device="cpu")
    seen: list[float] = []
    engine.load(lambda: seen.append(engine.loaded))
    assert seen == sorted(set(seen))
    assert seen[0] == 0
    assert 0 < seen[-1] < engine.loaded == 1
    engine.close()
    assert engine.loaded == 0


def test_dtype_on_a_cpu(tmp_path: Path) -> None:
    build(tmp_path, dtype=torch.bfloat16)
    assert loaded(tmp_path).dtype == torch.float32, "small weights cost nothing in float32"
    assert loaded(tmp_path, "bf16").dtype == torch.bfloat16
    assert loaded(tmp_path, "float32").model.norm.weight.dtype == torch.float32


@pytest.mark.parametrize(
    "options", [{"dtype": "int3"}, {"device": "tpu"}, {"device": "cuda:99"}, {"device": "cpu:1"}, {"device": "cuda:x"}]
)
def test_a_device_or_dtype_there_is_not_is_a_usage_error(tmp_path: Path, options: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        LocalEngine(build(tmp_path), **options).load()
    assert caught.value.hint


def test_memory_that_torch_keeps_for_itself_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that was dropped goes back to torch's own store, and not to the device."""
    from pixtral_cli.engines.local.runtime import placement

    for name, size in (("recommended_max", 100), ("driver_allocated", 90), ("current_allocated", 30)):
        monkeypatch.setattr(torch.mps, f"{name}_memory", lambda size=size: size << 20)
    assert placement.available_memory(torch.device("mps")) == 70 << 20
    monkeypatch.setattr(placement, "ram", lambda: (100 << 20, 5 << 20))
    assert placement.available_memory(torch.device("mps")) == 65 << 20


def test_weights_that_do_not_fit_are_refused_before_they_are_read(tmp_path: Path) -> None:
    build(tmp_path, Sizes(dim=256, hidden=1024), dtype=torch.bfloat16)
    engine = LocalEngine(tmp_path, name="big", device="cpu", dtype="fp32", available=lambda _: 1 << 20)
    with pytest.raises(
        OutOfMemory, match=r"Loading big in float32 with .* tokens needs \d+\.\d MiB of memory, 1\.0 MiB is free"
    ):
        engine.load()


def test_weights_that_leave_no_room_for_the_question_are_refused_before_they_are_read(tmp_path: Path) -> None:
    build(tmp_path, dtype=torch.bfloat16)
    free = loaded(tmp_path, "fp32").size + 300 * 512  # 512: of a position's keys and values

    def ask(words: int) -> str:
        engine = LocalEngine(
            tmp_path, name="tiny", dtype="fp32", available=lambda _: 1 << 40 if engine.loaded else free
        )
        return "".join(chunk.text for chunk in engine.stream([user("one " * words)], Sampling(0, max_tokens=20_000)))

    assert ask(1)
    with pytest.raises(OutOfMemory, match=r"Loading tiny in float32 with 4,\d{3} tokens needs .* of memory") as caught:
        ask(2000)
    assert "Shorten the conversation" in caught.value.hint


PIXTRAL_12B = """{"dim": 5120, "n_layers": 40, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32, "n_kv_heads": 8,
    "norm_eps": 1e-05, "vocab_size": 131072, "rope_theta": 1000000000.0, "vision_encoder": {"hidden_size": 1024,
    "num_channels": 3, "image_size": 1024, "patch_size": 16, "rope_theta": 10000.0, "intermediate_size": 4096,
    "num_hidden_layers": 24, "num_attention_heads": 16, "adapter_bias": true, "image_token_id": 10}}"""
SMALL_3_1 = """{"dim": 5120, "n_layers": 40, "head_dim": 128, "hidden_dim": 32768, "n_heads": 32, "n_kv_heads": 8,
    "norm_eps": 1e-05, "vocab_size": 131072, "rope_theta": 1000000000.0, "vision_encoder": {"image_token_id": 10,
    "image_break_token_id": 12, "image_end_token_id": 13, "intermediate_size": 4096, "num_hidden_layers": 24,
    "num_attention_heads": 16, "mm_projector_id": "patch_merge", "spatial_merge_size": 2, "hidden_size": 1024,
    "num_channels": 3, "image_size": 1540, "max_image_size": 1540, "patch_size": 14, "rope_theta": 10000.0,
    "add_pre_mm_projector_layer_norm": true, "adapter_bias": false}}"""


@pytest.mark.parametrize(("content", "count"), [(PIXTRAL_12B, 12_682_739_712), (SMALL_3_1, 24_011_361_280)])
def test_the_true_models_params_describe_the_true_models(tmp_path: Path, content: str, count: int) -> None:
    (tmp_path / "params.json").write_text(content)
    params = read_params(tmp_path, "true")
    assert params.context_window == 128_000
    assert (
        sum(tensor.numel() for tensor in empty_transformer(transformer_arguments(params)).state_dict().values())
        == count
    )


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    check_refusal(tmp_path / "nowhere", "no model folder")


def check_refusal(folder: Path, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        LocalEngine(folder, name="tiny").load()
    error = caught.value
    assert says in error.message
    assert len(error.message) <= 120
    assert "\n" not in error.message
    assert error.hint


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def edit_state(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(folder / WHOLE)
    change(state)
    save_file(state, folder / WHOLE)


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:aa\nsize 7148208\n"

DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: (f / WHOLE).unlink(), "holds no consolidated.safetensors"),
    "dangling link": (
        lambda f: (f / WHOLE).rename(f / "x") and (f / WHOLE).symlink_to(f / "y"),
        f"{WHOLE} of tiny is missing",
    ),
    "cut": (lambda f: rewrite(f / WHOLE, lambda b: b[:-1000]), f"{WHOLE} of tiny is cut short: "),
    "cut in the header": (lambda f: rewrite(f / WHOLE, lambda b: b[:100]), f"{WHOLE} of tiny is cut short: "),
    "empty": (lambda f: (f / WHOLE).write_bytes(b""), f"{WHOLE} of tiny is empty"),
    "LFS pointer": (lambda f: (f / WHOLE).write_bytes(LFS), f"{WHOLE} of tiny is a Git LFS pointer"),
    "HTML": (lambda f: (f / WHOLE).write_bytes(b"<!DOCTYPE html><html>"), f"{WHOLE} of tiny is a web page"),
    "noise": (lambda f: (f / WHOLE).write_bytes(os.urandom(4000)), f"{WHOLE} of tiny is damaged"),
    "JSON": (lambda f: (f / WHOLE).write_bytes(struct.pack("<Q", 2) + b"[]"), f"{WHOLE} of tiny is damaged"),
    "deep": (
        lambda f: (f / WHOLE).write_bytes(struct.pack("<Q", 90_000) + b"[" * 90_000),
        f"{WHOLE} of tiny is damaged",
    ),
    "directory": (lambda f: (f / WHOLE).unlink() or (f / WHOLE).mkdir(), f"{WHOLE} of tiny cannot be read"),
    "shard missing": (
        lambda f: split(f, 3) or (f / "consolidated-00002-of-00003.safetensors").unlink(),
        "consolidated-00002-of-00003.safetensors of tiny is missing",
    ),
    "shard of the index missing": (
        lambda f: split(f, 3) or indexed(f) or (f / "consolidated-00003-of-00003.safetensors").unlink(),
        "consolidated-00003-of-00003.safetensors of tiny is missing",
    ),
    "shard cut": (
        lambda f: split(f, 2) or rewrite(f / "consolidated-00002-of-00002.safetensors", lambda b: b[:-9]),
        "consolidated-00002-of-00002.safetensors of tiny is cut short",
    ),
    "pth cut": (
        lambda f: pickled(f) or rewrite(f / "consolidated.00.pth", lambda b: b[:5000]),
        "consolidated.00.pth of tiny is damaged",
    ),
    "pth HTML": (
        lambda f: pickled(f) or (f / "consolidated.00.pth").write_bytes(b"<html></html>"),
        "consolidated.00.pth of tiny is a web page",
    ),
    "pth of a list": (
        lambda f: pickled(f) or torch.save([1], f / "consolidated.00.pth"),
        "consolidated.00.pth of tiny is damaged",
    ),
    "tensor missing": (
        lambda f: edit_state(f, lambda s: s.pop("layers.1.ffn_norm.weight")),
        "lack 1 tensors, first layers.1.ffn_norm.weight",
    ),
    "tensor unknown": (lambda f: edit_state(f, lambda s: s.update(extra=torch.ones(1))), "an unknown tensor extra"),
    "shape": (
        lambda f: edit_state(f, lambda s: s.update({"norm.weight": torch.ones(3)})),
        "norm.weight is [3], params.json says [64]",
    ),
    "integers": (
        lambda f: edit_state(f, lambda s: s.update({"norm.weight": torch.ones(64, dtype=torch.int8)})),
        "norm.weight is quantized and has no scale",
    ),
    "NaN": (lambda f: edit_state(f, lambda s: s["norm.weight"].fill_(torch.nan)), "not numbers: norm.weight"),
    "infinity": (
        lambda f: edit_state(f, lambda s: s["norm.weight"].__setitem__(1, torch.inf)),
        "not numbers: norm.weight",
    ),
    "no params": (lambda f: (f / "params.json").unlink(), "params.json of tiny is missing"),
    "params HTML": (lambda f: (f / "params.json").write_text("<html>"), "params.json of tiny is not JSON"),
    "params list": (lambda f: (f / "params.json").write_text("[]"), "params.json of tiny is not a JSON object"),
    "params binary": (lambda f: (f / "params.json").write_bytes(b"\xff\xfe\x00"), "params.json of tiny is not JSON"),
    "no tekken": (lambda f: (f / "tekken.json").unlink(), "tekken.json of tiny is missing"),
    "tekken HTML": (lambda f: (f / "tekken.json").write_text("<html>"), "tekken.json of tiny is damaged"),
    "tekken empty": (lambda f: (f / "tekken.json").write_text("{}"), "tekken.json of tiny is damaged"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path, name: str) -> None:
    damage, says = DAMAGE[name]
    damage(build(tmp_path))
    check_refusal(tmp_path, says)


def edited(folder: Path, file: str, *keys: str, value: Any) -> None:
    content = json.loads((folder / file).read_text())
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    if value is None:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    (folder / file).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("file", "keys", "value", "says"),
    [
        ("params.json", ["dim"], None, "lacks 'dim'"),
        ("params.json", ["n_layers"], -1, "'n_layers' is '-1'"),
        ("params.json", ["n_layers"], 10**7 - 1, "too many"),
        ("params.json", ["n_heads"], "four", "'n_heads' is 'four'"),
        ("params.json", ["n_heads"], 3, "do not divide"),
        ("params.json", ["hidden_dim"], 10**15, "'hidden_dim' is"),
        ("params.json", ["norm_eps"], 0, "'norm_eps' is '0'"),
        ("params.json", ["moe"], {"num_experts": 8}, "asks for 'moe'"),
        ("params.json", ["sliding_window"], 4096, "asks for 'sliding_window'"),
        ("params.json", ["vision_encoder"], "yes", "not an object"),
        ("params.json", ["vision_encoder", "patch_size"], None, "lacks 'patch_size'"),
        ("params.json", ["vision_encoder", "mm_projector_id"], "other", "'other' is unknown"),
        ("params.json", ["vision_encoder", "image_size"], 64, "sends images of 96 pixels, the model takes 64"),
        ("params.json", ["vision_encoder", "image_token_id"], 11, "another image token"),
        ("params.json", ["vocab_size"], 400, "has 512 tokens, the model 400"),
        ("tekken.json", ["image", "image_patch_size"], 14, "cuts patches of 14 pixels, the model 16"),
        ("tekken.json", ["image"], None, "no image configuration"),
        ("tekken.json", ["config", "version"], "v99", "damaged"),
        ("tekken.json", ["config", "version"], "v2", "version v2"),
    ],
)
def test_sizes_that_contradict_are_refused(tmp_path: Path, file: str, keys: list[str], value: Any, says: str) -> None:
    edited(build(tmp_path), file, *keys, value=value)
    check_refusal(tmp_path, says)


@given(cut=st.floats(0, 1), flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 255)), max_size=5))
@settings(max_examples=150, deadline=None)
def test_no_damage_to_a_file_brings_more_than_our_error(
    tmp_path_factory: pytest.TempPathFactory, cut: float, flips: list[tuple[int, int]]
) -> None:
    folder = build(tmp_path_factory.mktemp("damaged"))
    data = bytearray((folder / WHOLE).read_bytes())
    for place, mask in flips:
        data[place] ^= mask
    (folder / WHOLE).write_bytes(data[: int(len(data) * max(cut, 0.001))] if cut < 0.9 else data)
    try:
        answer(folder)
    except PixtralError as error:
        assert isinstance(error, ModelError)


def test_a_file_larger_than_the_memory_is_read_where_it_cannot_be_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = build(tmp_path, Sizes())
    expected = LocalEngine(folder, device="cpu").load().weights.model.state_dict()

    def refuse(*given: object, **named: object) -> None:
        raise RuntimeError(f"unable to mmap 25365553792 bytes from file <{given[0]}>: Cannot allocate memory (12)")

    monkeypatch.setattr("pixtral_cli.engines.local.weights.tensors.safe_open", refuse)
    found = LocalEngine(folder, device="cpu").load().weights.model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
