"""What stops in the middle goes on: a key that changes during a conversation, an answer cut off by its length."""

import dataclasses
from collections.abc import Iterator, Sequence

import pytest
from playwright.sync_api import Browser, Page, expect

from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.server.http.access import AccessRules
from tests.fakes import FakeEngine
from tests.server.page.chromium import ask, begin, give, watched
from tests.server.serving import png, serving

pytestmark = pytest.mark.slow


def enter(page: Page, key: str) -> None:
    page.get_by_label("This server needs an API key").fill(key)
    page.get_by_role("button", name="Continue").click()
    expect(page.locator("#key-form")).to_be_hidden()


def test_a_key_that_changes_in_mid_session_is_asked_for_and_the_question_is_answered_then(
    browser: Browser, engine: FakeEngine
) -> None:
    engine.answers = ["Welcome.", "Still here."]
    rules = AccessRules(api_key="old")
    with serving(engine, rules=rules) as running:
        for page in watched(browser, running):
            enter(page, "old")
            ask(page, "hello")
            object.__setattr__(rules, "api_key", "new")  # as if the server had been started again
            give(page, "drop", png(16, 16))
            expect(page.locator("#staged li")).to_have_count(1)
            page.get_by_label("Question", exact=True).fill("and this picture?")
            page.keyboard.press("Enter")
            expect(page.get_by_label("This server needs an API key")).to_be_visible()
            enter(page, "new")
            expect(page.locator(".assistant .said").last).to_have_text("Still here.")
            expect(page.locator(".user")).to_have_count(2)
    assert [len(message.images) for message in engine.seen[-1][0]] == [0, 0, 1]


def test_the_cursor_stays_in_the_keys_field_while_the_page_opens_a_conversation(
    browser: Browser, engine: FakeEngine
) -> None:
    with serving(engine, rules=AccessRules(api_key="key")) as running:
        for page in watched(browser, running):
            page.get_by_label("This server needs an API key").focus()
            page.evaluate("location.hash = '#/c/none'")
            expect(page.get_by_text("That conversation is not in this browser.").first).to_be_attached()
            expect(page.get_by_label("This server needs an API key")).to_be_focused(timeout=1000)


class CutOff(FakeEngine):
    """Every first answer ends because it might not be longer."""

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        first = not self.seen
        for chunk in super().stream(messages, sampling):
            yield dataclasses.replace(chunk, finish_reason="length") if chunk.finish_reason and first else chunk


def test_an_answer_cut_off_by_its_length_goes_on_in_its_middle(browser: Browser) -> None:
    engine = CutOff(["A list of red, gre", "en and blue."])
    with serving(engine) as running:
        for page in watched(browser, running):
            begin(page, "colours?")
            expect(page.locator(".assistant .tools")).to_contain_text("Cut: the longest answer was reached.")
            page.reload()
            page.get_by_role("button", name="Go on").click()
            expect(page.locator(".assistant .said")).to_have_text("A list of red, green and blue.")
            expect(page.get_by_role("button", name="Go on")).to_have_count(0)
            expect(page.locator(".assistant .versions")).to_contain_text("2/2")
