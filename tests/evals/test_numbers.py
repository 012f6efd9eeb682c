"""Values of scoring and recording that a small mistake would change."""

import math
from pathlib import Path

import pytest

from pixtral_cli.evals import run_folder
from pixtral_cli.evals.scoring.intervals import ClusteredScore, standard_interval
from pixtral_cli.evals.scoring.metrics import mathematics


def test_a_fraction_keeps_its_sign() -> None:
    assert mathematics("Answer: -1/2", [r"-\frac{1}{2}"]) == 1
    assert mathematics("Answer: -1/2", ["1/2"]) == 0


def test_half_a_row_is_not_done(tmp_path: Path) -> None:
    run = run_folder.create_run(tmp_path / "r", {"task": "t", "model": {"name": "m"}}, 3)
    texts = dict.fromkeys(("key", "verdict", "error"), "")
    lists: dict[str, list[str]] = {name: [] for name in ("groups", "messages", "answers", "references", "follow_ups")}
    run.append([{"row": 0, "place": 0, "of": 2, "scores": {}, "weights": {}, "seconds": 0, **texts, **lists}])
    assert run.records() == []
    assert run.done() == set()


def test_the_standard_error_is_that_of_a_sample() -> None:
    interval = standard_interval([ClusteredScore(str(number), number % 2) for number in range(10)])
    variance = 10 * 0.25 / 9
    assert interval.high - interval.mean == pytest.approx(1.96 * math.sqrt(variance / 10))
