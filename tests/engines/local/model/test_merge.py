"""Checkpoints like Mistral Small 3.1, whose patches are merged by fours, compute what mistral_inference computes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import assistant, system, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.runtime.timing import PhaseTimer
from tests.engines.local.checkpoints import Sizes, build, image, picture, processed

SIZES = Sizes(merge=2, patch=14, image=140, version="v7")


def sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: Any = None) -> torch.Tensor:
    """What xformers' function computes for one image, which needs no mask."""
    query, key, value = (states.transpose(1, 2) for states in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalEngine:
    import pixtral_cli.engines.local.model.upstream as upstream

    upstream.import_transformer()
    import mistral_inference.transformer_layers as layers
    import mistral_inference.vision_encoder as encoder

    monkeypatch.setattr(layers, "memory_efficient_attention", sdpa)
    monkeypatch.setattr(encoder.BlockDiagonalMask, "from_seqlens", staticmethod(lambda lengths: None), raising=False)
    return LocalEngine(build(tmp_path, SIZES), device="cpu", dtype="fp32")


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (29, 57), (140, 60), (600, 70)])
def test_embedded_prompt_equals_mistral_inference(engine: LocalEngine, size: tuple[int, int]) -> None:
    runner = engine.load()
    prompt = engine._encode([user("What is this?", [image(*size, 1)])])
    pixels = torch.from_numpy(processed(picture(*size, 1), SIZES))
    with torch.inference_mode():
        expected = runner.weights.model.embed_vision_language_features(torch.tensor(prompt.tokens), [pixels])
    found = runner._embed(prompt, 0, len(prompt.tokens), lambda: None)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_tokens_and_features_agree_for_several_images(engine: LocalEngine) -> None:
    said = [system("Be brief."), user("", [image(100, 60, 1), image(300, 20, 2)]), assistant("A."), user("Why?")]
    prompt = engine._encode(said)
    assert prompt.tokens.count(10) == sum(placed.grid.columns * placed.grid.rows for placed in prompt.images)
    vision = engine.load()._vision
    assert vision
    for placed in prompt.images:
        assert len(vision.features(placed)) == placed.grid.columns * placed.grid.rows
    assert list(engine.stream(said, Sampling(temperature=0, max_tokens=5)))[-1].finish_reason


def test_under_v7_the_system_prompt_does_not_break_prefix_reuse(engine: LocalEngine) -> None:
    said = [system("Be brief."), user("What?", [image(100, 60, 1)])]
    first = list(engine.stream(said, Sampling(temperature=0, max_tokens=5)))
    text = "".join(chunk.text for chunk in first)
    again = list(engine.stream([*said, assistant(text), user("Why?")], Sampling(temperature=0, max_tokens=5)))
    assert first[-1].usage
    assert again[-1].usage
    assert again[-1].usage.cached_tokens >= first[-1].usage.prompt_tokens - 1


def test_prefill_runs_in_chunks_too(engine: LocalEngine) -> None:
    runner = engine.load()
    prompt = engine._encode([user("What is this?", [image(140, 60, 1)])])
    logits = []
    for chunk in (7, 1000):
        runner._prefill_chunk = chunk
        runner.prefix_cache.drop_one()
        with runner.prefix_cache.acquire(prompt) as (sequence, _):
            logits.append(runner.prefill(prompt, sequence, PhaseTimer()))
    torch.testing.assert_close(*logits, rtol=0, atol=1e-4)
