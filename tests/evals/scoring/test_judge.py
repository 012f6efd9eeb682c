"""The judge: what it is shown, which rating is taken from what it writes."""

import pytest

from pixtral_cli import images
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.evals.scoring.judge import Judge, NoRating, parse_rating
from pixtral_cli.evals.task import Question
from pixtral_cli.util.parallel import Cancellation
from tests.evals.answering import in_turn
from tests.evals.sets import png

PICTURE = images.from_bytes(png(), "a.png")
QUESTION = Question("1", (user("What colour?", [PICTURE]), assistant("Red."), user("Sure?")), ("Yes, red.",))


def test_the_judge_sees_the_conversation_its_pictures_the_reference_and_the_answer() -> None:
    engine = in_turn("Right. Rating: [[9]]")
    assert Judge(engine, "Be fair.", 10)(QUESTION, ["Yes."], Cancellation()) == (9.0, "Right. Rating: [[9]]")
    told, shown = engine.asked[0]
    assert told == Message("system", ("Be fair.",))
    assert shown.images == (PICTURE,)
    order = ["What colour?", "Red.", "Sure?", "Yes, red.", "### Reply to mark\nYes."]
    assert sorted(order, key=shown.text.index) == order
    assert engine.sampled[0].temperature == 0


def test_the_models_own_earlier_answers_stand_between_its_follow_ups() -> None:
    engine = in_turn("[[5]]")
    Judge(engine, "", 10)(Question("1", (user("First?"),), follow_ups=("Second?",)), ["One.", "Two."], Cancellation())
    assert (
        engine.asked[0][1].text.index("One.")
        < engine.asked[0][1].text.index("Second?")
        < engine.asked[0][1].text.index("Two.")
    )


@pytest.mark.parametrize(
    ("verdict", "score"),
    [
        ("Rating: [[5]]", 5.0), ("[[7.5]]", 7.5), ("[[3]] no, [[4]]", 3.0), ("[[8.]]", 8.0), ("[5]", None), ("[[ 5 ]]", None),
        ("[[five]]", None), ("", None), ("[[-1]]", None), ("[[5/10]]", None),
    ],
)  # fmt: skip
def test_the_rating_is_read_as_published(verdict: str, score: float | None) -> None:
    assert parse_rating(verdict) == score


def test_a_judge_without_a_rating_is_asked_again_and_then_given_up() -> None:
    assert Judge(in_turn("hm", "[[11]]", "[[10]]"), "", 10)(QUESTION, ["Yes."], Cancellation())[0] == 10
    with pytest.raises(NoRating):
        Judge(in_turn("hm", "[[0]]", "no"), "", 10)(QUESTION, ["Yes."], Cancellation())
