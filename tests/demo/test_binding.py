"""What teaches which colour a name has: legends alone, where an answer looks for it, and how far answers get."""

import re
from random import Random

import pytest
import torch

from demo import families, fused
from demo.drawing import keys, sizes
from demo.drawing.canvas import KIND
from demo.drawing.palette import NAMES
from demo.encoding import POINTING, Batch, draw_batch
from demo.hops import measure
from demo.objective import losses, pointing
from demo.questions import runs as run_questions
from demo.tokenizer import Tokenizer
from demo.twin import Twin


def plain(text: str) -> str:
    return text.lower().replace("-", " ").replace("_", " ")


def test_of_a_legend_alone_each_name_is_answered_by_its_colour_and_each_colour_by_its_name() -> None:
    found = {"run colour": 0, "legend name": 0, "run place": 0}
    for seed in range(60):
        rng = Random(seed)
        lines, picture = keys.draw(rng, sizes.legend(rng))
        if len(lines) < 2:
            continue
        shown = {int(colour) for kind, colour, *_ in picture.labels if kind == KIND["name"]}
        assert shown <= {NAMES.index(line.colour) + 1 for line in lines}
        for (turn,) in run_questions.ask_legend(rng, lines):
            found[turn.kind] += 1
            if turn.kind == "run colour":
                inside = [line for line in lines if plain(line.name or "") in plain(turn.question)]
                longest = max(inside, key=lambda line: len(line.name or ""))
                assert turn.answer == f"{longest.colour.capitalize()}.", (lines, turn)
            elif turn.kind == "legend name":
                line = next(line for line in lines if re.search(rf"\b{line.colour}\b", turn.question))
                assert turn.answer == f"{line.name}."
            else:
                place = next(i for i, word in enumerate(("first", "second", "third")) if word in turn.question)
                assert turn.answer == f"{lines[place].colour.capitalize()}."
    assert min(found.values()) > 20


@pytest.mark.parametrize("name", ["runs", "legend"])
def test_a_point_is_the_place_before_the_colour_that_the_answer_says_first(name: str, tokenizer: Tokenizer) -> None:
    batch = draw_batch(Random(4), tokenizer, 4, name)
    assert len(batch.points) > 8
    for row, place, label in batch.points.tolist():
        start, _, turn, _ = next(one for one in batch.answers[row] if one[0] <= place < one[1])
        assert turn.kind in POINTING
        said = next(word for word in re.findall(r"\w+", turn.answer.lower()) if word in NAMES)
        assert NAMES[label - 1] == said
        spelled = tokenizer.decode(batch.ids[row, start + 1 : place + 1].tolist())
        assert turn.answer.startswith(spelled)
        assert turn.answer[len(spelled) :].strip().lower().startswith(said[0])


def _scores(batch: Batch, at: torch.Tensor, *, right: bool) -> torch.Tensor:
    """Scores that look at the patches of the asked name alone, or at all others."""
    scores = torch.zeros(*at.shape, batch.ids.shape[1])
    for row, place, colour in batch.points.tolist():
        labels = batch.labels[0][row]
        named = (labels[:, 0] == KIND["name"]) & (labels[:, 1] == colour)
        places = (batch.places[row] >= 0).nonzero()[:, 0]
        columns = batch.grids[0][0] + 1  # each row of patches ends with a break
        patches = places[torch.arange(len(places)) % columns != columns - 1]
        scores[row, at[row] == place] = 0
        scores[row, (at[row] == place).nonzero()[0, 0], patches[named == right]] = 40.0
    return scores


def test_looking_at_the_asked_name_costs_nothing_and_looking_elsewhere_much(tokenizer: Tokenizer) -> None:
    batch = draw_batch(Random(5), tokenizer, 4, "legend", Random(2))
    at = torch.full((4, int(batch.points[:, 0].bincount().max())), -1)
    for row in range(4):
        places = batch.points[batch.points[:, 0] == row, 1]
        at[row, : len(places)] = places
    assert pointing(_scores(batch, at, right=True), at, batch).item() < 0.01
    assert pointing(_scores(batch, at, right=False), at, batch).item() > 10


def test_the_hops_of_a_chart_count_every_colour_that_was_asked_for(twin: Twin, tokenizer: Tokenizer) -> None:
    batches = [draw_batch(Random(seed), tokenizer, 2, name) for seed, name in ((1, "legend"), (2, "runs"))]
    counts = measure(twin, tokenizer, batches)
    for batch in batches:
        asked = sum(counts.get(f"{batch.family}: {hop} to colour", [0, 0])[1] for hop in ("name", "place"))
        assert asked == len(batch.points)
    assert all(0 <= right <= asked for right, asked in counts.values())


def test_compiled_parts_learn_what_plain_ones_do(twin: Twin, tokenizer: Tokenizer) -> None:
    batches = [
        draw_batch(Random(seed), tokenizer, 2, name) for seed, name in ((1, "legend"), (2, "scene"), (3, "legend"))
    ]

    def gradient() -> torch.Tensor:
        twin.zero_grad()
        for batch in batches:
            loss = losses(twin, batch)
            (loss.answers + loss.auxiliary).backward()  # type: ignore[no-untyped-call]
        return torch.cat([p.grad.flatten() for p in twin.parameters() if p.grad is not None])

    plain_one = gradient()
    fused.parts.compile()
    try:
        compiled = gradient()
    finally:
        fused.parts.plain()
    assert (compiled - plain_one).norm() < 1e-4 * plain_one.norm()


def test_only_legends_with_something_to_tell_apart_are_asked_about() -> None:
    for seed in range(40):
        sample = families.draw(Random(seed), "legend")
        colours = {
            int(colour) for kind, colour, *_ in sample.pictures[0].labels if kind in (KIND["name"], KIND["line"])
        }
        assert len(colours - {0}) >= 2
