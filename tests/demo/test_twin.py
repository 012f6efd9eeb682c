"""The training twin is the served model: the product's engine gives the same answers from the exported folder."""

from pathlib import Path
from random import Random

import pytest
import torch

from demo import families
from demo import tokenizer as tokens
from demo.encoding import collate, draw_seen, patches
from demo.evaluate import message, png
from demo.export import restore
from demo.grow import adopt, rows_by_bytes
from demo.objective import losses
from demo.optimizer import Optimizer
from demo.samples import Sample
from demo.tokenizer import EOS, SPECIALS, Tokenizer
from demo.twin import Look, Shape, Twin
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, assistant
from pixtral_cli.engines.local.engine import LocalEngine
from tests.demo.conftest import TINY

MOST = 12


@torch.no_grad()
def by_twin(twin: Twin, sample: Sample, tokenizer: Tokenizer) -> str:
    """The greedy answer to the last turn of the one conversation, everything computed anew for each token."""
    batch = collate([sample], tokenizer)
    ids = batch.ids[:, : batch.answers[0][-1][0] + 1]
    seen = [torch.from_numpy(patches(p.pixels, p.grid))[None] for p in sample.pictures]  # the batch has them in bf16
    features = [twin.see(one, picture.grid) for one, picture in zip(seen, sample.pictures, strict=True)]
    answer: list[int] = []
    for _ in range(MOST):
        n = ids.shape[1]
        causal = torch.full((1, 1, n, n), float("-inf")).triu(1)
        hidden, _, _ = twin.read(ids, torch.arange(n)[None], [Look(0, n, n, n, causal)], features)
        token = int(twin.logits(hidden[:, -1]).argmax())
        if token == EOS:
            break
        answer.append(token)
        ids = torch.cat([ids, torch.tensor([[token]])], 1)
    return tokenizer.decode(answer)


def by_engine(folder: Path, sample: Sample) -> str:
    """The product's answer to the same, the earlier answers given."""
    shown = [png(picture, "a.png") for picture in sample.pictures]
    history: list[Message] = []
    for i, turn in enumerate(sample.conversations[0]):
        history += [message(turn, shown if i == 0 else []), assistant(turn.answer)]
    engine = LocalEngine(folder, device="cpu", dtype="fp32")
    greedy = Sampling(temperature=0.0, max_tokens=MOST)
    return "".join(chunk.text for chunk in engine.stream(history[:-1], greedy))


@pytest.mark.parametrize(("name", "seed"), [("scene", 6), ("pair", 2), ("bars", 3), ("talk", 4), ("sketch", 5)])
def test_the_engine_answers_as_the_twin_does(name: str, seed: int, twin: Twin, exported: Path) -> None:
    sample = families.draw(Random(seed), name)
    turns = tuple(turn for talk in sample.conversations for turn in talk)
    for length in (1, min(2, len(turns))):
        one = Sample(name, sample.pictures, (turns[:length],), sample.shared)
        # An untrained model may stop within a character, which the engine leaves out.
        engine, reference = by_engine(exported, one), by_twin(twin, one, Tokenizer(exported))
        assert engine.rstrip("\ufffd") == reference.rstrip("\ufffd")


def test_an_exported_checkpoint_is_restored_as_it_was(twin: Twin, exported: Path) -> None:
    shape, weights = restore(exported)
    assert shape == TINY
    for name, weight in weights.items():
        assert torch.equal(weight, twin.state_dict()[name])


@torch.no_grad()
@pytest.mark.parametrize("eyes", [{}, {"vision_dim": 48, "vision_heads": 3}])
def test_a_grown_model_computes_what_the_smaller_one_did(
    eyes: dict[str, int], twin: Twin, cut: Path, tokenizer: Tokenizer
) -> None:
    larger = Twin(
        Shape(**(TINY.record() | {"layers": 3, "vision_layers": 4, "hidden": 64, "vision_hidden": 80, **eyes})),
        tokenizer.size,
    )
    adopt(larger, twin.state_dict(), tokens.token_bytes(cut), tokens.token_bytes(cut))
    batch = collate([families.draw(Random(5), "scene")], tokenizer)
    one, other = (losses(model, batch, auxiliary=False).answers for model in (twin, larger))
    assert torch.allclose(one, other, atol=1e-5)


def test_a_new_token_starts_as_the_mean_of_its_pieces() -> None:
    given = torch.arange((SPECIALS + 2) * 3.0).view(-1, 3)
    rows = rows_by_bytes(given, [b"a", b"b"], [b"b", b"ab"])
    assert torch.equal(rows[SPECIALS], given[SPECIALS + 1])
    assert torch.equal(rows[SPECIALS + 1], given[SPECIALS:].mean(0))


def test_learning_to_see_changes_what_sees_and_nothing_else(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    twin = Twin(TINY, tokenizer.size)
    twin.only_eyes()
    before = {name: weight.clone() for name, weight in twin.state_dict().items()}
    optimizer = Optimizer(twin)
    with torch.autocast("cpu", torch.bfloat16):
        loss = losses(twin, draw_seen(Random(4), tokenizer, 2, Random(1)))
    assert loss.answers == 0
    loss.auxiliary.backward()  # type: ignore[no-untyped-call]
    optimizer.step(1e-3)
    changed = {name for name, weight in twin.state_dict().items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if name.startswith(("vision_", "aux_patch"))}
