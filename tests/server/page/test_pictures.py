"""Pictures reach the model: all of them, as large as it sees them, with a message about each that cannot be sent."""

import io
import threading
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, Route, expect

from pixtral_cli.chat.engine import Cost, ImageCost
from pixtral_cli.chat.message import Message
from tests.fakes import FakeEngine
from tests.server.page.chromium import ask, file, give, watched
from tests.server.serving import Running, png, serving

pytestmark = pytest.mark.slow


def encoded(kind: str, width: int, height: int, noise: bool = True, **options: object) -> bytes:
    """A picture of coloured noise, which compresses badly, or of one colour."""
    picture = (
        Image.effect_noise((width, height), 90).convert("RGB")
        if noise
        else Image.new("RGB", (width, height), (9, 120, 60))
    )
    with io.BytesIO() as out:
        picture.save(out, kind, **options)  # type: ignore[arg-type]
        return out.getvalue()


class Seeing(FakeEngine):
    """An engine that sees at most 1024 pixels."""

    def measure(self, messages: tuple[Message, ...], tools: object = ()) -> Cost:  # type: ignore[override]
        cost = super().measure(messages)
        images = []
        for image in cost.images:
            scale = min(1.0, 1024 / max(image.width, image.height))
            images.append(ImageCost(round(image.width * scale), round(image.height * scale), image.tokens))
        return Cost(cost.prompt_tokens, cost.context_window, tuple(images))


@pytest.fixture
def engine() -> FakeEngine:
    return Seeing()


def sent(engine: FakeEngine) -> list[tuple[int, int]]:
    return [image.size for image in engine.seen[-1][0][-1].images]


def test_enter_waits_until_all_pictures_are_read(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["Five."]
    gate = threading.Event()
    waiting: list[Route] = []

    def hold(route: Route) -> None:
        waiting.append(route) if not gate.is_set() else route.continue_()

    page.route("**/v1/measure", hold)
    give(page, "drop", *[file(png(n, n), f"{n}.png") for n in range(2, 7)])
    page.get_by_label("Question", exact=True).fill("How many?")
    page.keyboard.press("Enter")
    expect(page.locator("#waiting")).to_contain_text("5 more pictures")
    page.wait_for_timeout(300)
    assert engine.seen == []
    gate.set()
    for route in waiting:
        route.continue_()
    expect(page.locator(".assistant .said")).to_have_text("Five.")
    assert sent(engine) == [(n, n) for n in range(2, 7)]


def test_a_question_that_waits_can_be_held_back_and_one_with_a_bad_picture_is(page: Page, engine: FakeEngine) -> None:
    gate: list[Route] = []
    page.route("**/v1/measure", lambda route: gate.append(route))
    give(page, "drop", file(b"no picture", "broken.png"), file(png(), "good.png"))
    page.get_by_label("Question", exact=True).fill("What?")
    page.keyboard.press("Enter")
    expect(page.locator("#waiting")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#waiting")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator("#waiting")).to_be_visible()
    for route in gate:
        route.continue_()
    expect(page.locator("#wrong")).to_contain_text("broken.png")
    expect(page.locator("#staged")).not_to_contain_text("reading")
    assert engine.seen == []  # it was to go with two
    engine.answers = ["One."]
    page.get_by_label("Question", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .said")).to_have_text("One.")
    assert len(sent(engine)) == 1


def test_a_phone_photo_is_shrunk_to_what_the_model_sees(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["Big."]
    photo = encoded("JPEG", 4032, 3024, quality=92)
    assert len(photo) > 5_000_000
    bodies: list[int] = []
    page.on("request", lambda request: bodies.append(len(request.post_data or "")))
    give(page, "drop", file(photo, "photo.jpg", "image/jpeg"), file(png(700, 500), "small.png"))
    expect(page.locator("#staged")).not_to_contain_text("reading")
    ask(page, "?")
    assert sent(engine) == [(1024, 768), (700, 500)]
    assert max(bodies) < 1_500_000


def test_a_photo_is_upright_after_shrinking(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["Tall."]
    picture = Image.effect_noise((3000, 2000), 90).convert("RGB")
    picture.paste((255, 0, 0), (0, 0, 1500, 2000))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter to the right
    with io.BytesIO() as out:
        picture.save(out, "JPEG", quality=95, exif=exif)
        give(page, "drop", file(out.getvalue(), "turned.jpg", "image/jpeg"))
    expect(page.locator("#staged")).not_to_contain_text("reading")
    ask(page, "?")
    seen = engine.seen[-1][0][-1].images[0]
    assert seen.size == (683, 1024)
    shown = Image.open(io.BytesIO(seen.data)).convert("RGB")
    assert shown.getpixel((300, 100))[0] > 200 > 60 > shown.getpixel((300, 100))[1]  # type: ignore[index]


def test_a_large_drawing_of_few_bytes_goes_as_it_is(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["Green."]
    give(page, "drop", encoded("PNG", 3000, 2000, noise=False))
    expect(page.locator("#staged")).not_to_contain_text("reading")
    ask(page, "?")
    assert sent(engine) == [(3000, 2000)]


def test_formats_that_only_the_browser_reads_are_sent_as_one_the_server_reads(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["Yes."]
    with io.BytesIO() as out:
        Image.new("RGB", (40, 30), (9, 120, 60)).save(out, "BMP")
        bmp = out.getvalue()
    avif = encoded("AVIF", 64, 48)
    give(page, "drop", file(bmp, "a.bmp", "image/bmp"), file(avif, "b.avif", "image/avif"))
    expect(page.locator("#staged")).not_to_contain_text("reading")
    ask(page, "?")
    assert sent(engine) == [(40, 30), (64, 48)]


def test_what_cannot_be_read_is_reported_by_name_with_what_to_do(page: Page) -> None:
    tiff = encoded("TIFF", 30, 20)
    files = [
        file(tiff, "scan.tiff", "image/tiff"),
        file(b"%PDF-1.4 nothing", "letter.pdf", "application/pdf"),
        file(b"\0\0\0\x18ftypheic", "phone.heic", ""),
        file(b"hello", "notes.txt", "text/plain"),
        file(b"", "empty.png", "image/png"),
        file(encoded("JPEG", 64, 64)[:300], "cut.jpg", "image/jpeg"),
    ]
    give(page, "drop", *files)
    said = page.locator("#wrong li span")
    expect(said).to_have_count(6)
    told = said.all_inner_texts()
    for one in files:
        (line,) = [text for text in told if one["name"] in text]
        assert any(word in line for word in ("PNG", "again", "another", "convert", "instal", "export", "image")), line
    expect(page.locator("#staged li")).to_have_count(0)
    for _ in files:
        page.get_by_role("button", name="Dismiss").first.click()
    expect(page.locator("#wrong")).to_have_count(0)


def test_what_the_server_takes_needs_nothing_of_the_page(page: Page, engine: FakeEngine) -> None:
    """A server that reads PDF, by its answer: the page sends the file as it is, and shows it by name."""
    answer = '{"prompt_tokens": 30, "context_window": 1000, "images": [{"width": 9, "height": 9, "tokens": 10}, {"width": 9, "height": 9, "tokens": 20}]}'
    bodies: list[str] = []

    def take(route: Route) -> None:
        bodies.append(route.request.post_data or "")
        route.fulfill(body=answer, content_type="application/json")

    page.route("**/v1/measure", take)
    page.get_by_label("Add pictures").set_input_files(
        [{"name": "a.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4"}]
    )
    expect(page.locator("#staged")).to_contain_text("30 tokens")
    expect(page.locator("#staged .file")).to_contain_text("a.pdf")
    assert "data:application/pdf;base64,JVBERi0xLjQ=" in bodies[0]


def test_pasted_text_beside_a_picture_is_kept(page: Page) -> None:
    question = page.get_by_label("Question", exact=True)
    question.fill("before  after")
    question.evaluate("one => one.setSelectionRange(7, 7)")
    give(page, "paste", file(png(), "image.png"), {"text": "the text"}, target="#question")
    expect(question).to_have_value("before the text after")
    expect(page.locator("#staged li")).to_have_count(1)
    give(page, "paste", file(png(), "photo.png"), {"text": "file:///home/me/photo.png"}, target="#question")
    expect(page.locator("#staged li")).to_have_count(2)
    expect(question).to_have_value("before the text after")


@pytest.fixture
def phone(browser: Browser, running: Running) -> Iterator[Page]:
    options = {
        "viewport": {"width": 390, "height": 700},
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    }
    yield from watched(browser, running, **options)


def test_twenty_one_pictures_leave_send_within_reach_of_a_phone(phone: Page, engine: FakeEngine) -> None:
    engine.answers = ["Many."]
    give(phone, "drop", *[file(png(n, n), f"{n}.png") for n in range(2, 23)])
    expect(phone.locator("#staged")).not_to_contain_text("reading")
    send = phone.get_by_role("button", name="Send")
    box = send.bounding_box()
    assert box and box["y"] + box["height"] <= 700
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert phone.locator("#staged").evaluate("one => one.scrollWidth > one.clientWidth && one.clientHeight < 160")
    phone.get_by_role("button", name="Remove 22.png").scroll_into_view_if_needed()
    phone.get_by_role("button", name="Remove 22.png").tap()
    phone.get_by_label("Question", exact=True).fill("one")
    phone.keyboard.press("Enter")  # a new line, on a phone
    phone.keyboard.type("two")
    assert phone.get_by_label("Question", exact=True).input_value() == "one\ntwo"
    send.tap()
    expect(phone.locator(".assistant .said")).to_have_text("Many.")
    assert len(sent(engine)) == 20


def test_a_server_that_is_not_ready_yet_gets_the_picture_with_the_question(
    browser: Browser, engine: FakeEngine
) -> None:
    ready = threading.Event()
    with serving(engine, alive=ready.is_set) as running:
        for page in watched(browser, running):
            give(page, "drop", png(3, 3))
            expect(page.locator("#staged li")).to_have_count(1)
            expect(page.locator("#staged")).not_to_contain_text("reading")
            ready.set()
            engine.answers = ["There."]
            ask(page, "?")
            assert sent(engine) == [(3, 3)]
