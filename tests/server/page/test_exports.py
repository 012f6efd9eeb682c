"""Files that the page saves: what others open fetches nothing, runs nothing and acts on no terminal."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.fakes import FakeEngine
from tests.server.page.chromium import ask
from tests.torture.test_h_exports import HOSTILE, REMOTE, check_markdown, check_terminal

pytestmark = pytest.mark.slow
SAID = HOSTILE.replace("\ud800", "")


def saved(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button, exact=True).click()
    return Path(download.value.path()).read_bytes().decode()


def test_a_conversation_is_exported_harmless_and_whole(page: Page, engine: FakeEngine) -> None:
    answers = [
        f"{SAID}\n\n```html\n{SAID}\n```\n| ` | {REMOTE.splitlines()[0]} |",
        "```\nleft open",
        f"```\n{REMOTE}\n```",
    ]
    engine.answers = list(answers)
    for question in (SAID, "again", "and again"):
        ask(page, question)
    page.get_by_role("button", name="Settings").click()
    check_markdown(saved(page, "Export this one as Markdown"))
    whole = saved(page, "Export this one, all versions")
    check_terminal(whole)
    (conversation,) = json.loads(whole)["conversations"]
    texts = [
        part["text"]
        for message in conversation["messages"]
        if message["role"] == "assistant"
        for part in message["parts"]
    ]
    assert texts == answers


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a ![x](http://e)", r"a \![x](http://e)"),
        (r"\\![x](http://e)", r"\\\![x](http://e)"),
        ("`![x]` vector<int> 1 < 2", r"`![x]` vector\<int> 1 < 2"),
        ("`\n\n![x](http://e)\n\n`", "`\n\n\\![x](http://e)\n\n`"),
        ("<https://e.example/a>", "<https://e.example/a>"),
        ("```\nopen", "```\nopen\n```\n"),
        ("```\n![x](y) <b>\n```", "```\n![x](y) <b>\n```"),
    ],
)
def test_what_is_made_inert_and_what_stays(page: Page, text: str, shown: str) -> None:
    script = "async (text) => (await import('/page/markdown/harmless.js')).harmlessMarkdown(text)"
    assert page.evaluate(script, text) == shown
