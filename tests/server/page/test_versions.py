"""A conversation is a tree: editing and trying again add a branch, and nothing is removed."""

import threading

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fakes import FakeEngine
from tests.server.page.chromium import Held, ask, begin, give, watched_context
from tests.server.serving import Running, png

pytestmark = pytest.mark.slow


def versions(page: Page, role: str) -> str:
    return page.locator(f".{role} .versions").last.inner_text().strip()


def go(page: Page, role: str, which: str) -> None:
    page.locator(f".{role} .versions").last.get_by_role("button", name=f"{which} version").click()


def test_regenerate_keeps_the_finished_answer_at_every_moment(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    engine.answers = ["The first answer.", Held(held, "A second", " that never ends")]
    ask(page, "question")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".assistant .said")).to_contain_text("A second")
    page.keyboard.press("Escape")
    held.set()
    expect(page.locator(".assistant")).to_contain_text("Stopped.")
    assert versions(page, "assistant") == "2/2"
    go(page, "assistant", "Earlier")
    expect(page.locator(".assistant .said")).to_have_text("The first answer.")
    page.reload()
    expect(page.locator(".assistant .said")).to_have_text("The first answer.")
    assert versions(page, "assistant") == "1/2"
    go(page, "assistant", "Later")
    expect(page.locator(".assistant .said")).to_contain_text("A second")


@pytest.mark.parametrize("moment", ["before the first word", "in the middle"])
def test_a_reload_while_trying_again_loses_neither_answer(page: Page, engine: FakeEngine, moment: str) -> None:
    held = threading.Event()
    pieces = ["never ends"] if moment == "before the first word" else ["A second ", "never ends"]
    engine.answers = ["The first answer.", Held(held, *pieces)]
    ask(page, "question")
    page.get_by_role("button", name="Regenerate").click()
    if len(pieces) > 1:
        expect(page.locator(".assistant .said")).to_contain_text("A second")
    page.reload()
    held.set()
    expect(page.locator(".assistant")).to_contain_text("Interrupted")
    if len(pieces) > 1:
        expect(page.locator(".assistant .said")).to_contain_text("A second")
    go(page, "assistant", "Earlier")
    expect(page.locator(".assistant .said")).to_have_text("The first answer.")


def test_editing_an_early_question_keeps_all_that_followed(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One.", "Two.", "Three.", "Other.", "After other."]
    give(page, "drop", png(9, 9))
    expect(page.locator("#staged")).to_contain_text("tokens")
    for question in ("first", "second", "third"):
        ask(page, question)
    page.locator(".user").first.hover()
    page.get_by_role("button", name="Edit").first.click()
    expect(page.locator("#staged li")).to_have_count(1)
    ask(page, "first, edited")
    expect(page.locator(".assistant .said")).to_have_text(["Other."])
    assert [message.text for message in engine.seen[-1][0]] == ["first, edited"]
    assert engine.seen[-1][0][0].images[0].size == (9, 9)
    ask(page, "and then")
    page.reload()
    expect(page.locator(".assistant .said")).to_have_text(["Other.", "After other."])
    page.locator(".user .versions").first.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".assistant .said")).to_have_text(["One.", "Two.", "Three."])
    expect(page.locator(".user img")).to_have_count(1)
    page.locator(".user .versions").first.get_by_role("button", name="Later version").click()
    expect(page.locator(".assistant .said")).to_have_text(["Other.", "After other."])


def test_an_edit_lays_the_draft_aside_and_gives_it_back(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One.", "Two."]
    ask(page, "first")
    question = page.get_by_label("Question", exact=True)
    question.fill("half a thought")
    page.keyboard.press("Alt+e")
    expect(question).to_have_value("first")
    page.keyboard.press("Escape")
    expect(question).to_have_value("half a thought")
    page.keyboard.press("Alt+e")
    ask(page, "first again")
    expect(question).to_have_value("half a thought")
    assert versions(page, "user") == "2/2"


def test_go_on_makes_a_version_that_begins_with_what_there_is(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    engine.answers = [Held(held, "The beginning ", "never"), "and the end."]
    begin(page, "tell")
    expect(page.locator(".assistant .said")).to_contain_text("The beginning")
    page.get_by_role("button", name="Stop").click()
    held.set()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".assistant .said")).to_have_text("The beginning and the end.")
    expect(page.locator(".assistant")).not_to_contain_text("Stopped.")
    heard = [message.text for message in engine.seen[-1][0]]
    assert heard[:2] == ["tell", "The beginning "]
    go(page, "assistant", "Earlier")
    expect(page.locator(".assistant .said")).to_have_text("The beginning ")


def test_two_tabs_that_ask_at_once_make_two_branches(browser: Browser, running: Running, engine: FakeEngine) -> None:
    held = threading.Event()
    engine.answers = ["Begun.", Held(held, "From the left", "."), "From the right."]
    with watched_context(browser, running) as (context, watch):
        left = watch.over(context.new_page())
        left.goto(running.url)
        ask(left, "begin")
        right = watch.over(context.new_page())
        right.goto(left.url)
        expect(right.locator(".assistant .said")).to_have_text("Begun.")
        right.get_by_label("Question", exact=True).fill("right draft")
        begin(left, "left")
        expect(left.locator(".assistant .said").last).to_contain_text("From the left")
        expect(right.locator(".assistant .said").last).to_contain_text("From the left")  # it follows
        expect(right.get_by_label("Question", exact=True)).to_have_value("right draft")
        right.locator(".user").last.hover()
        right.get_by_role("button", name="Edit").last.click()
        right.get_by_label("Question", exact=True).fill("right")
        right.keyboard.press("Enter")
        expect(right.locator(".assistant .said").last).to_contain_text("From the right")
        held.set()
        expect(left.locator(".writing")).to_have_count(0)
        expect(left.locator(".user .said").last).to_have_text("left")
        assert versions(left, "user") == "1/2"
        left.reload()
        for page in (left, right):
            seen = set()
            for which in ("Later", "Earlier"):
                button = page.locator(".user .versions").last.get_by_role("button", name=f"{which} version")
                if button.is_enabled():
                    button.click()
                seen.add(page.locator(".assistant .said").last.inner_text())
            assert seen == {"From the left.", "From the right."}
