"""Thinking on the page: a closed block with its length above the answer, kept, and sent back with the next question."""

import json
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from pixtral_cli.chat.engine import Chunk
from tests.fakes import FakeEngine
from tests.server.page.chromium import Held, ask, begin

pytestmark = pytest.mark.slow

THOUGHTS = "Is it <b>red</b>?\nIt **looks** so."


def test_it_is_a_closed_block_with_its_length_and_opens_as_it_was_written(page: Page, engine: FakeEngine) -> None:
    engine.answers = [[Chunk(reasoning=THOUGHTS), "A *red* box."], "Yes."]
    ask(page, "What is it?")
    block = page.locator(".assistant details.thinking")
    expect(block.locator("summary")).to_have_text("Thought, 6 words")
    expect(block.get_by_text("looks")).to_be_hidden()
    expect(page.locator(".assistant .said")).to_have_text("A red box.")
    block.locator("summary").click()
    assert block.locator("div").inner_text() == THOUGHTS
    ask(page, "Sure?")
    assert [message.reasoning for message in engine.seen[1][0]] == ["", THOUGHTS, ""]
    expect(page.locator("details.thinking")).to_have_count(1)


def test_it_is_kept_while_it_comes_and_goes_on_with_the_answer(page: Page, engine: FakeEngine, tmp_path: Path) -> None:
    held = threading.Event()
    engine.answers = [Held(held, Chunk(reasoning="Is it "), Chunk(reasoning="red?"), "never seen"), "A whole answer."]
    begin(page, "question")
    expect(page.locator("details.thinking summary")).to_have_text("Thinking, 3 words")
    page.reload()
    expect(page.locator("details.thinking summary")).to_have_text("Thought, 3 words")
    expect(page.locator(".assistant")).to_contain_text("Interrupted")
    held.set()
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".assistant .said")).to_have_text("A whole answer.")
    expect(page.locator("details.thinking")).to_have_count(0)


def test_an_answer_that_broke_off_goes_on_after_what_was_thought(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    engine.answers = [Held(held, Chunk(reasoning="Red?"), "It ", "is ", "red."), "is red."]
    begin(page, "question")
    expect(page.locator(".assistant .said")).to_contain_text("It is")
    page.get_by_role("button", name="Stop").click()
    held.set()
    page.get_by_role("button", name="Go on").click()
    expect(page.locator(".assistant .said")).to_contain_text("red.")
    expect(page.locator("details.thinking summary")).to_have_text("Thought, 1 word")
    assert engine.seen[-1][0][1].reasoning == "Red?"


def test_an_export_of_all_brings_it_back(page: Page, engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers = [[Chunk(reasoning=THOUGHTS), "A box."]]
    ask(page, "What is it?")
    page.get_by_role("button", name="Settings").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export all").click()
    download.value.save_as(tmp_path / "all.json")
    (kept,) = json.loads((tmp_path / "all.json").read_text())["conversations"]
    assert [message.get("reasoning") for message in kept["messages"]] == [None, THOUGHTS]
