"""Record what the published metrics score: python -m tests.evals.record_published CHECKOUT [--fuzz N]

CHECKOUT is a clone of mistralai/mistral-evals, whose metrics are run here; inputs and scores go to published.jsonl.gz,
a part of the fuzzed ones chosen so that every metric's every score is there. With --fuzz ours are compared on N more.
"""

import argparse
import gzip
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from pixtral_cli.evals.scoring import metrics

CASES = Path(__file__).with_name("published.jsonl.gz")
OURS: dict[str, tuple[str, Callable[[str, Sequence[str]], float]]] = {
    "VQAMatch": ("vqa_match", metrics.vqa_match),
    "ANLS": ("anls", metrics.anls),
    "RelaxedCorrectness": ("relaxed", metrics.relaxed),
    "ExplicitPromptRelaxedCorrectness": ("explicit_relaxed", metrics.explicit_relaxed),
    "AnywhereInAnswerRelaxedCorrectness": ("anywhere_relaxed", metrics.anywhere_relaxed),
}
ATOMS = (
    "A", "b", "C.", "(D)", "1", "2", "10", "10.4", "10.5", "10.51", "9.5", "0.25", "25", "25%", "25 %", "0.25%", "%", "%%",
    "1,000", "1000", "1,0,0", "$5", "$5.00", "-3", "+3", "1e3", "1_000", ".5", "5.", "0", "-0", "0.0", "nan", "NaN", "inf",
    "-Infinity", "１２", "٣", "²", "½", "Yes", "no", "blue", "Blue", "dark dragon", "the United States", "'blue'", '"blue"',
    '"', "'", "\"'", "naïve", "İstanbul", "ß", "ǆ", "日本", "", " ", "\t", "\n", "\n\n", "\u00a0", "\u2028", ".", ",", "!", "?", ":",
    "**", "*", "_", "[", "]", "(", ")", "{}", "{0}", "is", "was", "are", "Final Answer:", "final answer:", "Answer:", "**Answer:**",
    "answer**:**", "ANSWER:", "Answer :", "Final Answer: ", "Answer:*", "The answer is", "Final Answer: <answer>", "2:1", "1/4",
)  # fmt: skip


def published(checkout: Path) -> dict[str, Callable[[str, list[str]], float]]:
    spec = importlib.util.spec_from_file_location("published_metrics", checkout / "eval" / "metrics.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {ours: getattr(module, theirs)().score for theirs, (ours, _) in OURS.items()}


def pairs(rng: Random) -> Iterator[tuple[str, list[str]]]:
    """Answers and references without end: related more often than chance would have it."""
    while True:
        references = [_text(rng, 3) for _ in range(rng.choice((1, 1, 1, 2, 3, 10)))]
        if rng.random() < 0.3:  # as people do, several say the same
            references += rng.choices(references, k=rng.randint(1, 8))
        said = rng.choice([*references, _text(rng, 3), _bent(rng, rng.choice(references))])
        shape = rng.randrange(5)
        if shape == 0:
            said = f"{_text(rng, 4)}\nFinal Answer: {said}{_text(rng, 1)}"
        elif shape == 1:
            said = f"{_text(rng, 3)} **Answer:** {said}\n{_text(rng, 2)}"
        elif shape == 2:
            said = f"{_text(rng, 2)} is {said}{_text(rng, 2)}"
        yield said, references


def _text(rng: Random, most: int) -> str:
    return rng.choice(("", " ")).join(
        rng.choice(ATOMS) for _ in range(rng.randint(0 if rng.random() < 0.1 else 1, most))
    )


def _bent(rng: Random, text: str) -> str:
    """Nearly the same text: another case, quotes, a percent sign, one character less or more, a number near it."""
    at = rng.randrange(len(text) + 1)
    try:
        near = str(round(float(text) * rng.choice((0.94, 0.95, 0.951, 1.049, 1.05, 1.06, 100, 0.01)), 6))
    except (ValueError, OverflowError):
        near = text.swapcase()
    ways = (
        text.upper(),
        f'"{text}"',
        f"{text}%",
        text[:at] + text[at + 1 :],
        f"{text[:at]}x{text[at:]}",
        near,
        f"{text}.",
    )
    return rng.choice(ways)


def scored(score: Callable[[str, list[str]], float], said: str, references: list[str]) -> float | None:
    """The published score, or None where that code fails."""
    try:
        return float(score(said, list(references)))
    except (OverflowError, ValueError):
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--fuzz", type=int, default=0, help="compare on so many and write nothing")
    parser.add_argument("--keep", type=int, default=4000)
    given = parser.parse_args()
    theirs, source = published(given.checkout), pairs(Random(2410 + given.fuzz))
    ours = dict(OURS.values())
    kept: list[dict[str, Any]] = []
    for _ in range(given.fuzz or given.keep):
        said, references = next(source)
        scores = {name: scored(score, said, references) for name, score in theirs.items()}
        if given.fuzz:
            for name, score in scores.items():
                assert score in (None, ours[name](said, references)), (name, said, references, score)
        kept.append({"answer": said, "references": references, "scores": scores})
    if not given.fuzz:
        lines = "".join(json.dumps(case) + "\n" for case in kept)
        CASES.write_bytes(gzip.compress(lines.encode(), mtime=0))
    print(f"{len(kept)} cases")


if __name__ == "__main__":
    main()
