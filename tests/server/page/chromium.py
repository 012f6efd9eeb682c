"""Debian's Chromium, driven by Playwright: what the page's tests do with it. `apt-get install chromium` first."""

import re
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request, expect

from pixtral_cli.chat.engine import Chunk
from tests.server.serving import Running

PATIENCE = 60_000  # milliseconds: the machine may be busy

EXPECTED = re.compile(
    "Content Security Policy|status of (40[0134]|503)|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING"
)  # what hostile answers try, what a server refuses, a server that has gone


class Watch:
    """Pages that may log no error, open no dialog and ask nobody but their server for anything."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.wrong: list[str] = []

    def over(self, page: Page) -> Page:
        page.set_default_timeout(PATIENCE)
        page.on("console", self._logged)
        page.on("pageerror", lambda error: self.wrong.append(f"{error} {error.stack}"))
        page.on("request", self._asked)
        page.on("dialog", self._disturbed)
        return page

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not EXPECTED.search(message.text):
            self.wrong.append(message.text)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.running.url, "data:", "blob:", "about:")):
            self.wrong.append(request.url)

    def _disturbed(self, dialog: Dialog) -> None:
        self.wrong.append("a dialog")
        dialog.dismiss()


@contextmanager
def watched_context(browser: Browser, running: Running, **options: Any) -> Iterator[tuple[BrowserContext, Watch]]:
    """A fresh browser profile; at its end nothing may have gone wrong in the pages that were watched."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 860}, **options})
    watch = Watch(running)
    try:
        yield context, watch
    finally:
        context.close()
    assert watch.wrong == [], watch.wrong


def watched(browser: Browser, running: Running, **options: Any) -> Iterator[Page]:
    """One watched page of a fresh profile, on the server's address."""
    with watched_context(browser, running, **options) as (context, watch):
        page = watch.over(context.new_page())
        page.goto(running.url)
        yield page


def ask(page: Page, question: str) -> None:
    """Ask, and wait until the answer is there."""
    page.get_by_label("Question", exact=True).fill(question)
    page.keyboard.press("Enter")
    expect(page.locator("#messages .assistant")).not_to_have_count(0)
    expect(page.locator("#messages .writing")).to_have_count(0)
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def begin(page: Page, question: str) -> None:
    """Ask, and wait for nothing."""
    page.get_by_label("Question", exact=True).fill(question)
    page.keyboard.press("Enter")


DROP = """([kind, target, files]) => {
  const carried = new DataTransfer();
  for (const {name, type, data, text} of files) {
    if (text !== undefined) carried.setData("text/plain", text);
    else carried.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name, {type}));
  }
  const given = kind === "paste" ? {clipboardData: carried} : {dataTransfer: carried};
  const made = kind === "paste" ? new ClipboardEvent(kind, {...given, bubbles: true, cancelable: true})
                                : new DragEvent(kind, {...given, bubbles: true, cancelable: true});
  document.querySelector(target).dispatchEvent(made);
}"""


def file(data: bytes, name: str = "picture.png", kind: str = "image/png") -> dict[str, str]:
    return {"name": name, "type": kind, "data": b64encode(data).decode()}


def give(page: Page, kind: str, *files: bytes | dict[str, str], target: str = "#talk") -> None:
    """Drop or paste files."""
    carried = [file(one) if isinstance(one, bytes) else one for one in files]
    if kind == "drop":
        page.evaluate(DROP, ["dragenter", target, carried])
        expect(page.get_by_text("Drop pictures to add them")).to_be_visible()
    page.evaluate(DROP, [kind, target, carried])


class Held(list[str | Chunk]):
    """An answer whose last piece waits for an event."""

    def __init__(self, event: threading.Event, *pieces: str | Chunk) -> None:
        super().__init__(pieces)
        self.event = event

    def __iter__(self) -> Iterator[str | Chunk]:
        *before, last = super().__iter__()
        yield from before
        assert self.event.wait(120)
        yield last
