"""Marks: word for word, but a page also by its elements and its words, and an honest refusal counts as right."""

import pytest

from demo.evaluate import Answer, scores, table
from demo.marking import follows, mark, section, skeleton, words_right
from demo.questions.talk import CANNOT, UNSEEN
from demo.samples import Turn

PAGE = '```html\n<!doctype html>\n<title>Login</title>\n<h1>Login</h1>\n<input placeholder="Email">\n<p>Text</p>\n```'


def test_an_answer_is_right_word_for_word() -> None:
    turn = Turn("How many?", "Two.", "count")
    assert mark(turn, " Two. ").right
    assert not mark(turn, "Two").right


def test_either_honest_refusal_is_right_where_nothing_can_be_answered() -> None:
    turn = Turn("Who made this?", UNSEEN, "cannot tell")
    assert mark(turn, CANNOT).right
    assert mark(turn, UNSEEN).right
    assert not mark(turn, "A red circle.").right


def test_a_page_with_a_wrong_word_keeps_its_structure() -> None:
    given = PAGE.replace("Email", "Enail")
    found = mark(Turn("Write the HTML.", PAGE, "page html"), given)
    assert not found.right
    assert found.structure
    assert found.words == 2 / 3


def test_a_missing_element_breaks_the_structure() -> None:
    given = PAGE.replace("<p>Text</p>\n", "")
    assert not mark(Turn("Write the HTML.", PAGE, "page html"), given).structure
    assert skeleton(given) != skeleton(PAGE)
    assert words_right(PAGE, given) == 1.0


def test_the_table_keeps_first_and_later_turns_apart() -> None:
    turn = Turn("Where?", "On the left.", "where")
    answers = [
        Answer(turn, text, opens, mark(turn, text), 0.1) for text, opens in (("On the left.", True), ("?", False))
    ]
    assert section("scene", "where") == "scene: position and relations"
    assert section("bars", "bar table") == "bars: tables as JSON"
    assert "| scene: position and relations | 100% of 1 | 0% of 1 |" in table(scores({"scene": answers}))


def test_an_edit_follows_when_the_page_given_before_is_changed_as_asked_misread_words_and_all() -> None:
    before = PAGE.replace("<p>Text</p>", "<button>Send</button>")
    blue = before.replace("<button>", '<button style="background:blue">')
    own = before.replace("Email", "Enail").replace("Send", "Sand")
    own_blue = own.replace("<button>", '<button style="background:blue">')
    assert follows((before, blue), (own, own_blue))
    assert not follows((before, blue), (own, own))
    assert not follows((before, blue), (own, own_blue.replace("Sand", "Send")))
    longer = before.replace("\n```", '\n<input placeholder="City">\n```')
    assert follows((before, longer), (own, own.replace("\n```", '\n<input placeholder="City">\n```')))
    titled = before.replace("Login", "Shop")
    assert follows((before, titled), (own, own.replace("Login", "Shop")))
    gone = before.replace("<button>Send</button>\n", "")
    assert follows((before, gone), (own, own.replace("<button>Sand</button>\n", "")))
    assert not follows((before, gone), (own.replace("<h1>Login</h1>\n", ""), own))


WHOLE = "A line chart: the red line goes down until step 4 and then up again, the blue line goes down and the green line stays flat."


@pytest.mark.parametrize(
    ("given", "true"),
    [
        (WHOLE, True),
        ("A line chart: the blue line goes down and the red line goes down until step 4 and then up again.", True),
        ("A line chart: the red line goes down until step 5 and then up again and the blue line goes down.", False),
        ("A line chart: the blue line goes down and the blue line goes down.", False),
        ("A line chart: the blue line goes down and the blue line stays flat.", False),
        ("A bar chart: red 7.", False),
        ("", False),
    ],
)
def test_a_description_is_true_when_all_it_states_is_so_and_nothing_is_stated_twice(given: str, true: bool) -> None:
    assert mark(Turn("Describe the chart.", WHOLE, "line read"), given).true is true


@pytest.mark.parametrize(
    ("given", "right"),
    [
        ("The red line goes wrong at step 10k.", True),
        ("Around step 10k.", True),
        ("The blue line goes wrong at step 10k.", False),
        ("At step 1.", False),
        ("At step 10.", False),
        ("The red line goes down all the way: nothing goes wrong for dark dragon.", False),
        ("", False),
    ],
)
def test_an_answer_about_a_named_run_is_right_by_its_step_and_wrong_by_another_colour(given: str, right: bool) -> None:
    asked = Turn(
        "When did things start to go wrong for dark dragon?",
        "The red line goes wrong around step 10k.",
        "run wrong by name",
    )
    assert mark(asked, given).right is right


def test_that_nothing_goes_wrong_may_be_stated_in_other_words() -> None:
    asked = Turn("When?", "The red line goes down all the way: nothing goes wrong for a.", "run wrong by name")
    assert mark(asked, "Nothing goes wrong: a goes down all the way.").right
    assert not mark(asked, "At step 3.").right
