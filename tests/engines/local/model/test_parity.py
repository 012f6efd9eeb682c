"""The engine computes what transformers computes: logits and greedy answers, for random models and conversations."""

import random
from pathlib import Path

import pytest
import torch

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, assistant, system, user
from pixtral_cli.engines.local.config import Params
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.model.rope import RopeTable, rope_table_2d
from pixtral_cli.engines.local.model.upstream import import_transformer
from pixtral_cli.engines.local.runtime.timing import PhaseTimer
from tests.engines.local.checkpoints import Reference, Sizes, build, image, random_sizes

WORDS = ["What", "is", "there?", "A", "red", "circle,", "two", "squares.", "Why", "not", "zebra", "7", "(x)\n", "über"]
SHAPES = [(1, 1), (16, 16), (17, 31), (64, 64), (200, 30), (9, 300), (97, 96), (333, 250), (40, 1000)]


def conversation(draw: random.Random) -> list[Message]:
    """One to four turns with zero to four images in all, somewhere, and sometimes a system prompt."""
    said = [system(words(draw))] if draw.random() < 0.3 else []
    left = draw.choice([0, 1, 1, 2, 3, 4])
    turns = draw.randint(1, 4)
    for turn in range(turns):
        count = left if turn == turns - 1 else draw.randint(0, left)
        left -= count
        parts = [words(draw), *(image(*draw.choice(SHAPES), draw.randrange(10**6)) for _ in range(count))]
        draw.shuffle(parts)
        said.append(Message("user", tuple(parts)))
        if turn < turns - 1:
            said.append(assistant(words(draw)))
    return said


def words(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 12)))


def next_logits(engine: LocalEngine, said: list[Message], answer: list[int]) -> list[torch.Tensor]:
    """What the engine computes after the prompt and after each token of the answer."""
    runner, prompt = engine.load(), engine._encode(said)
    with runner.prefix_cache.acquire(prompt) as (sequence, _):
        logits = [runner.prefill(prompt, sequence, PhaseTimer())]
        logits += [runner._extend(sequence, [token])[0] for token in answer]
    return logits


@pytest.mark.parametrize("seed", range(24))
def test_logits_and_greedy_answer_equal_transformers(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    sizes = random_sizes(seed)
    engine = LocalEngine(
        build(tmp_path, sizes, seed), device="cpu", dtype="fp32", prefill_chunk=draw.choice([7, 64, 512])
    )
    reference = Reference(sizes, seed)
    said = conversation(draw)
    pictures = [each.pixels() for message in said for each in message.images]
    prompt = engine._encode(said).tokens

    answer = reference.greedy(prompt, pictures, 8)
    expected = reference.logits([*prompt, *answer], pictures)[len(prompt) - 1 :]
    found = torch.stack(next_logits(engine, said, answer))
    assert expected.std() > 0.5
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)

    text = "".join(chunk.text for chunk in engine.stream(said, Sampling(temperature=0, max_tokens=8)))
    assert text.rstrip("�") == engine.tokenizer._tekken.decode(answer).rstrip(
        "�"
    )  # an unfinished character is left out


def test_an_image_is_seen_alike_whatever_is_beside_it(tmp_path: Path) -> None:
    """In mistral_inference every image attends to every other; then these would differ."""
    engine = LocalEngine(build(tmp_path), device="cpu", dtype="fp32")
    vision = engine.load()._vision
    assert vision
    one, two = image(96, 64, 1), image(64, 96, 2)
    prompt = engine._encode([user("", [one, two])])
    together = [vision.features(placed) for placed in prompt.images]
    vision.clear_cache()
    alone = vision.features(engine._encode([user("", [two])]).images[0])
    assert torch.equal(together[1], alone)


def test_pixtrals_own_tokenizer_and_image_sizes_run(tmp_path: Path) -> None:
    """The real vocabulary, window and 1024-pixel images, with few and narrow layers."""
    sizes = Sizes(vocab=131072, image=1024, theta=1e9)
    engine = LocalEngine(build(tmp_path, sizes, dtype=torch.bfloat16), device="cpu")
    said = [user("Compare these, 你好 🦓.", [image(1500, 1000, 1), image(300, 1024, 2)])]
    *_, last = engine.stream(said, Sampling(temperature=0, max_tokens=4))
    assert last.usage
    assert last.usage.image_tokens == (64 + 1) * 43 + (19 + 1) * 64
    assert last.usage.prompt_tokens == engine.measure(said).prompt_tokens
    assert last.usage.completion_tokens == 4


def test_rope_tables_are_mistral_inferences_at_any_length() -> None:
    import_transformer()
    from mistral_inference.rope import precompute_freqs_cis, precompute_freqs_cis_2d

    expected = precompute_freqs_cis(16, 200_100, 1e9)
    table = RopeTable(Params(64, 1, 16, 64, 4, 2, 1e-5, 100, rope_theta=1e9), torch.device("cpu"))
    for start, stop in ((0, 1), (1, 900), (899, 1100), (127_990, 128_010), (200_000, 200_100)):
        assert torch.equal(table.rows(start, stop), expected[start:stop])
    assert torch.equal(rope_table_2d(24, 5, 9, 1e4), precompute_freqs_cis_2d(24, 64, 64, 1e4)[:5, :9].flatten(0, 1))
