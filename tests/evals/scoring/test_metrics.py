"""The metrics: every published score, and what must hold for any answer."""

import gzip
import json
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixtral_cli.evals.scoring import metrics
from tests.evals.record_published import CASES, OURS

Metric = Callable[[str, Sequence[str]], float]
PUBLISHED: dict[str, Metric] = dict(OURS.values())
EVERY: dict[str, Metric] = PUBLISHED | {
    "exact": metrics.exact,
    "explicit_exact": metrics.explicit_exact,
    "multiple_choice": metrics.multiple_choice,
    "mathematics": metrics.mathematics,
}
lean = settings(deadline=None, max_examples=60)
TEXT = st.text(st.sampled_from("aB1290.,%$-+ \n\"'*:()[]_/\\{}eEéİß２nN") | st.characters(codec="utf-8"), max_size=30)
REFERENCES = st.lists(TEXT, max_size=4)
every = pytest.mark.parametrize("name", EVERY)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_recorded_score_is_the_published_one(name: str) -> None:
    cases = [json.loads(line) for line in gzip.decompress(CASES.read_bytes()).splitlines()]
    scores = [case["scores"][name] for case in cases]
    assert scores.count(0.0) > 100
    assert scores.count(1.0) > 100
    wrong = [
        case
        for case in cases
        if case["scores"][name] not in (None, PUBLISHED[name](case["answer"], case["references"]))
    ]
    assert not wrong


@every
@lean
@given(answer=TEXT, references=REFERENCES)
def test_a_score_is_from_0_to_1_whatever_the_answer(name: str, answer: str, references: list[str]) -> None:
    assert 0.0 <= EVERY[name](answer, references) <= 1.0


@every
@lean
@given(answer=TEXT, references=REFERENCES, more=TEXT)
def test_another_reference_never_lowers_a_score(name: str, answer: str, references: list[str], more: str) -> None:
    assert EVERY[name](answer, [*references, more]) >= EVERY[name](answer, references)


@every
@lean
@given(answer=TEXT, references=REFERENCES)
def test_the_order_of_references_is_nothing(name: str, answer: str, references: list[str]) -> None:
    assert EVERY[name](answer, references) == EVERY[name](answer, references[::-1])


@lean
@given(answer=TEXT, references=st.lists(TEXT, min_size=1, max_size=4))
def test_anywhere_is_never_stricter_than_explicit(answer: str, references: list[str]) -> None:
    assert metrics.anywhere_relaxed(answer, references) >= metrics.explicit_relaxed(answer, references)


@lean
@given(st.floats(min_value=1e-3, max_value=1e9), st.floats(min_value=-0.2, max_value=0.2))
def test_a_number_may_be_five_percent_off(reference: float, off: float) -> None:
    number = reference * (1 + off)
    if abs(abs(off) - 0.05) > 1e-6:
        assert metrics.relaxed(f"{number:.12f}", [f"{reference:.12f}"]) == (abs(off) < 0.05)


@lean
@given(TEXT, TEXT)
def test_edit_distance_is_a_distance(one: str, other: str) -> None:
    distance = metrics.edit_distance(one, other)
    assert distance == metrics.edit_distance(other, one)
    assert (distance == 0) == (one == other)
    assert abs(len(one) - len(other)) <= distance <= max(len(one), len(other))


@lean
@given(
    answer=st.sampled_from(["7", "blue", "dark dragon"]),
    reasoning=TEXT.filter(lambda text: "nswer" not in text.lower()),
)
def test_the_reasoning_before_the_final_answer_does_not_count(answer: str, reasoning: str) -> None:
    said = f"{reasoning}\n**Final Answer:** {answer}\n"
    assert metrics.explicit_relaxed(said, [answer]) == metrics.explicit_exact(said, [answer]) == 1.0


@pytest.mark.parametrize(
    ("said", "score"),
    [
        ("Final Answer: B", 1.0), ("Final Answer: (b)", 1.0), ("Final Answer: **B.** blue", 1.0), ("Answer: B: blue", 1.0),
        ("Final Answer: Blue", 0.0), ("Final Answer: C", 0.0), ("B", 0.0), ("Final Answer:", 0.0),
    ],
)  # fmt: skip
def test_a_choice_is_its_letter(said: str, score: float) -> None:
    assert metrics.multiple_choice(said, ["B"]) == score


@pytest.mark.parametrize(
    ("said", "reference", "score"),
    [
        (r"So \boxed{\dfrac{1}{2}}.", r"\frac12", 1.0), ("Final Answer: 0.5", r"\frac{1}{2}", 1.0), ("Final Answer: 1/2", "0.5", 1.0),
        (r"\boxed{\left( 3, \frac{\pi}{2} \right)}", r"\left(3,\frac{\pi}{2}\right)", 1.0), ("Final Answer: (3, 4)", "(3,4)", 1.0),
        (r"\boxed{12\text{ cm}}", "12cm", 1.0), ("Final Answer: 1,000", "1000", 1.0), (r"\boxed{\text{(B)}}", "(B)", 1.0),
        (r"\boxed{x^2+1", "x^2+1", 0.0), ("Final Answer: 3", "4", 0.0), ("", "", 0.0), (r"Final Answer: \frac{1}{0}", "1", 0.0),
        (r"\boxed{1} no, \boxed{2}", "2", 1.0), (r"\boxed{1} no, \boxed{2}", "1", 0.0), ("Final Answer: $30^\\circ$", "30", 1.0),
    ],
)  # fmt: skip
def test_mathematics_sees_through_notation(said: str, reference: str, score: float) -> None:
    assert metrics.mathematics(said, [reference]) == score


@pytest.mark.parametrize(
    ("said", "reference", "others", "score"),
    [
        ("The cross is orange.", "orange", ["red"], 1.0), ("It is orange or red.", "orange", ["red"], 0.0),
        ("Three.", "3", [], 1.0), ("3 of 4", "3", [], 0.0), ("At step 300.", "300", [], 1.0), ("1,000", "1000", [], 1.0),
        ("Four white triangles.", "triangle", ["star"], 1.0), ("No, there is no circle.", "no", ["yes"], 1.0),
        ("First I see red.\nFinal Answer: blue", "blue", ["red"], 1.0), ("A blue-green star", "blue", ["green"], 0.0),
        ("a red and blue star", "blue star", [], 1.0), ("a blue red star", "blue star", [], 0.0), ("", "x", [], 0.0),
        ("481 %", "481%", [], 1.0), ("dark dragons", "dark dragon", [], 1.0), ("darkness", "dark", [], 0.0),
    ],
)  # fmt: skip
def test_an_answer_states_the_reference_and_no_other(
    said: str, reference: str, others: list[str], score: float
) -> None:
    assert metrics.states(said, reference, others) == score


@lean
@given(TEXT, TEXT, REFERENCES)
def test_naming_another_never_helps(said: str, reference: str, others: list[str]) -> None:
    assert metrics.states(said, reference, others) <= metrics.states(said, reference)
