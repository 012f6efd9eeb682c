"""The family's members compute what transformers computes: YaRN, scaled positions, tied embeddings, merged patches, FP8."""

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.local.engine import LocalEngine
from tests.engines.local.checkpoints import Reference, build, random_state
from tests.engines.local.family import FamilyReference, family_sizes, in_transformers_format, to_fp8
from tests.engines.local.model.test_parity import conversation, next_logits

SEEDS = range(32)


def talk(engine: LocalEngine, draw: random.Random) -> list[Message]:
    """A conversation; not one with a single image token, which transformers' Mistral3 fails on."""
    while engine._encode(said := conversation(draw)).tokens.count(10) == 1:
        pass
    return said


def check_equal(engine: LocalEngine, reference: Reference, said: Sequence[Message], atol: float = 1e-4) -> None:
    """Logits along the greedy answer, and the answer as the engine streams it."""
    pictures = [each.pixels() for message in said for each in message.images]
    prompt = engine._encode(said).tokens
    answer = reference.greedy(prompt, pictures, 6)
    expected = reference.logits([*prompt, *answer], pictures)[len(prompt) - 1 :]
    found = torch.stack(next_logits(engine, list(said), answer))
    assert expected.std() > 0.3
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)
    engine.load().prefix_cache.drop_one()
    text = "".join(chunk.text for chunk in engine.stream(said, Sampling(temperature=0, max_tokens=6)))
    assert text.rstrip("�") == engine.tokenizer._tekken.decode(answer).rstrip("�")


@pytest.mark.parametrize("seed", SEEDS)
def test_logits_and_greedy_answers_equal_transformers(tmp_path: Path, seed: int) -> None:
    draw, sizes = random.Random(seed), family_sizes(seed)
    engine = LocalEngine(
        build(tmp_path, sizes, seed), device="cpu", dtype="fp32", prefill_chunk=draw.choice([7, 64, 512])
    )
    check_equal(engine, FamilyReference(sizes, random_state(sizes, seed)), talk(engine, draw))


@pytest.mark.parametrize("seed", range(1, 12))
@pytest.mark.parametrize("hub_names", [True, False], ids=["older names", "newer names"])
def test_a_repository_in_transformers_format_is_the_same_model(tmp_path: Path, seed: int, hub_names: bool) -> None:
    draw, sizes = random.Random(seed), family_sizes(seed)
    folder = in_transformers_format(tmp_path, sizes, seed, hub_names=hub_names)
    before = sorted(folder.iterdir())
    engine = LocalEngine(folder, device="cpu", dtype="fp32")
    check_equal(engine, FamilyReference(sizes, random_state(sizes, seed)), talk(engine, draw))
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(("dtype", "shape"), [(torch.bfloat16, ()), (torch.float32, (1,))])
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_fp8_weights_compute_what_transformers_does_on_the_dequantized_ones(
    tmp_path: Path, seed: int, dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    sizes = family_sizes(seed)
    state = to_fp8(build(tmp_path, sizes, seed), scale_dtype=dtype, scale_shape=shape)
    if sizes.tied:
        state["output.weight"] = state["tok_embeddings.weight"]
    engine = LocalEngine(tmp_path, device="cpu", dtype="fp32")
    check_equal(engine, FamilyReference(sizes, state), talk(engine, random.Random(seed)))
    layers = engine.load().weights.model.layers["0"]
    assert layers.attention.wq.weight.dtype == layers.feed_forward.w2.weight.dtype == torch.float8_e4m3fn
