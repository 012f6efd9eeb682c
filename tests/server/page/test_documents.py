"""A PDF that a client or the page sends is its pages, where the server reads all formats; else it is refused with a reason."""

import io

import pytest
from PIL import Image as PIL
from playwright.sync_api import Browser, expect

from pixtral_cli.server.openai import conversation
from pixtral_cli.server.openai.requests import make_image_loader
from tests.fakes import FakeEngine
from tests.server.page.chromium import ask, file, give, watched
from tests.server.serving import data_url, picture, png, serving


def pdf(pages: int) -> bytes:
    """A document of so many pages, each of its own grey."""
    drawn = [PIL.new("RGB", (60, 40), (20 * number, 0, 0)) for number in range(pages)]
    with io.BytesIO() as out:
        drawn[0].save(out, "PDF", save_all=True, append_images=drawn[1:])
        return out.getvalue()


def document(pages: int) -> dict[str, object]:
    return picture(data_url(pdf(pages), "application/pdf"))


def test_its_pages_stand_in_its_place_and_are_counted() -> None:
    engine = FakeEngine(["Two pages."] * 2)
    with serving(engine, load=make_image_loader(urls=False, all_formats=True)) as running:
        content = [{"type": "text", "text": "Compare"}, document(2), {"type": "text", "text": "with"}, picture()]
        for _ in range(2):  # the second time from the cache
            reply = running.ask(content)
            assert reply.status_code == 200, reply.text
        body = {"model": "fake", "messages": [{"role": "user", "content": content}]}
        with running.client as client:
            measured = client.post("/v1/measure", json=body).json()
    parts = engine.seen[-1][0][-1].parts
    assert [part if isinstance(part, str) else part.size for part in parts] == [
        "Compare", parts[1].size, parts[2].size, "with", (2, 1),  # type: ignore[union-attr]
    ]  # fmt: skip
    assert len(measured["images"]) == 3


def test_without_all_formats_it_is_refused_and_a_broken_or_long_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FakeEngine(["no"])) as running:
        reply = running.ask([document(1)])
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "messages.0.content.0.image_url")
    assert "PDF" in reply.json()["error"]["message"]
    engine = FakeEngine(["yes"])
    with serving(engine, load=make_image_loader(urls=False, all_formats=True)) as running:
        broken = running.ask([picture(data_url(b"%PDF-1.4 nothing", "application/pdf"))])
        assert (broken.status_code, broken.json()["error"]["code"]) == (400, "invalid_image")
        assert "has 41 pages" in running.ask([document(41)]).json()["error"]["message"]
        monkeypatch.setattr(conversation, "MAX_IMAGES", 3)
        many = running.ask([document(2), document(2)])
        assert (many.status_code, "more than 3 images" in many.json()["error"]["message"]) == (400, True)
        assert engine.seen == []
        assert running.ask([document(2), picture()]).status_code == 200


@pytest.mark.slow
def test_a_pdf_dropped_on_the_page_is_sent_as_its_pages(browser: Browser) -> None:
    engine = FakeEngine(["Two pages."])
    with serving(engine, load=make_image_loader(urls=False, all_formats=True), window=lambda: 1000) as running:
        for page in watched(browser, running):
            give(page, "drop", file(pdf(2), "letter.pdf", "application/pdf"), file(png(), "a.png"))
            expect(page.locator("#staged")).to_contain_text("letter.pdf")
            expect(page.locator("#staged")).not_to_contain_text("reading")
            ask(page, "What is it?")
            expect(page.locator(".assistant .said")).to_have_text("Two pages.")
    assert len(engine.seen[-1][0][-1].images) == 3
