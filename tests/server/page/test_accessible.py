"""Accessibility of the page: no finding of axe-core, no sideways scrolling, at three widths, light and dark."""

import threading
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.fakes import FakeEngine
from tests.server.page.chromium import Held, ask, begin, give, watched
from tests.server.serving import Running, png, serving

pytestmark = pytest.mark.slow

ANSWER = """# A plan

Some *text*, `code`, a [link](https://example.com) and \\(x^2\\).

### Steps

7. seven
8. eight

- [x] done
- [ ] to do

| item | price |
|:--|--:|
| Milk | 13,200.00 |
| a much longer cell, which has quite some words to say for itself | 2.50 |

> a quotation

```html
<!doctype html><h1>Hello</h1><script>1</script>
```

```python
def f(x):
    return "a"  # a comment
```

$$\\int_0^1 x\\,dx$$
"""


@pytest.fixture(params=[(1280, 860), (820, 1100), (390, 760)], ids=["1280", "820", "390"])
def sized(request: pytest.FixtureRequest, browser: Browser, running: Running) -> Iterator[Page]:
    width, height = request.param
    yield from watched(browser, running, viewport={"width": width, "height": height})


def check(page: Page) -> None:
    """In light and in dark: nothing found, nothing wider than the window."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        page.wait_for_timeout(50)
        found = Axe().run(page, options={"resultTypes": ["violations"], "iframes": False})
        told = [f"{one['id']}: {[node['html'][:160] for node in one['nodes']]}" for one in found.response["violations"]]
        assert told == [], scheme
        width = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] <= width[1]


def test_nothing_is_found_at_any_width_in_light_and_dark(sized: Page, engine: FakeEngine) -> None:
    page = sized
    check(page)
    engine.answers = [ANSWER, "Another."]
    give(page, "drop", png(300, 200), png(30, 20))
    expect(page.locator("#staged")).not_to_contain_text("reading")
    check(page)
    ask(page, "Make a plan")
    expect(page.locator(".hl-keyword").first).to_be_visible()
    expect(page.locator(".katex").first).to_be_visible()
    check(page)
    page.keyboard.press("Alt+r")
    expect(page.locator(".assistant .versions")).to_be_visible()
    page.keyboard.press("Alt+,")
    expect(page.locator(".assistant .said")).to_contain_text("A plan")
    page.keyboard.press("Alt+e")
    give(page, "drop", b"no picture")
    expect(page.locator("#wrong")).to_be_visible()
    check(page)
    page.get_by_role("button", name="Preview", exact=True).click()
    page.get_by_role("button", name="Run scripts").click()
    expect(page.frame_locator("#frame").get_by_role("heading")).to_be_visible()
    check(page)


def test_nothing_is_found_in_the_dialogs_and_the_list(sized: Page, engine: FakeEngine) -> None:
    page = sized
    engine.answers = ["One."]
    ask(page, "first")
    page.keyboard.press("Alt+s")
    expect(page.get_by_role("dialog", name="Settings")).to_be_visible()
    check(page)
    page.keyboard.press("Escape")
    page.locator("#messages").click()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    check(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_label("Search conversations")).to_be_focused()
    check(page)
    page.get_by_role("button", name="Rename first").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("New name")).to_be_focused()
    check(page)


def test_the_demo_says_that_it_is_a_demo(browser: Browser, engine: FakeEngine) -> None:
    with serving(engine, model="demo", window=lambda: 4096) as running:
        for page in watched(browser, running, viewport={"width": 390, "height": 760}):
            expect(page.locator("#welcome")).to_contain_text("This is the demo")
            expect(page.locator("header")).to_contain_text("demo model")
            check(page)


def test_the_shortcuts_do_what_the_list_says(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One.", "Two.", "Three."]
    ask(page, "first")
    page.keyboard.press("Alt+r")
    expect(page.locator(".assistant .said")).to_have_text("Two.")
    page.keyboard.press("Alt+,")
    expect(page.locator(".assistant .said")).to_have_text("One.")
    page.keyboard.press("Alt+.")
    expect(page.locator(".assistant .said")).to_have_text("Two.")
    page.keyboard.press("Alt+e")
    expect(page.get_by_label("Question", exact=True)).to_have_value("first")
    page.keyboard.press("Escape")
    page.keyboard.press("Alt+n")
    expect(page.locator("#welcome")).to_be_visible()
    question = page.get_by_label("Question", exact=True)
    question.fill("a")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("b?")
    assert question.input_value() == "a\nb?"
    expect(page.get_by_role("dialog")).to_have_count(0)  # a question mark that is typed is a question mark
    page.keyboard.press("Control+Enter")
    expect(page.locator(".user .said")).to_have_text("a\nb?")


def test_enter_while_an_answer_comes_keeps_one_draft(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    engine.answers = [Held(held, "Slow", "."), "Next."]
    begin(page, "first")
    expect(page.locator(".assistant .said")).to_contain_text("Slow")
    page.get_by_label("Question", exact=True).focus()
    page.evaluate("document.querySelector('#question').setRangeText('one\\ntwo\\nthree', 0, 0, 'end'); "
                  "document.querySelector('#question').dispatchEvent(new InputEvent('input', {bubbles: true}))")  # fmt: skip
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("still being written")
    assert page.get_by_label("Question", exact=True).input_value() == "one\ntwo\nthree"
    held.set()
    expect(page.locator(".writing")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .said").last).to_have_text("Next.")
    assert engine.seen[-1][0][-1].text == "one\ntwo\nthree"


def test_settings_shape_the_answers_of_a_conversation(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One.", "Two.", "Three."]
    page.keyboard.press("Alt+s")
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_label("Temperature").fill("0.7")
    page.get_by_label("Max tokens").fill("12")
    page.keyboard.press("Escape")
    ask(page, "first")
    messages, sampling = engine.seen[-1]
    assert [(message.role, message.text) for message in messages] == [("system", "Be brief."), ("user", "first")]
    assert (sampling.temperature, sampling.max_tokens) == (0.7, 12)
    page.reload()
    ask(page, "second")
    assert engine.seen[-1][1].max_tokens == 12
    page.keyboard.press("Alt+s")
    page.get_by_label("Temperature").fill("")
    page.get_by_label("System prompt").fill("")
    page.get_by_label("Max tokens").fill("")
    page.keyboard.press("Escape")
    ask(page, "third")
    assert engine.seen[-1][1].max_tokens != 12
    assert engine.seen[-1][0][0].role == "user"


def test_on_paper_there_is_the_conversation_alone(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["line\n\n" * 100]
    ask(page, "print me")
    page.emulate_media(media="print")
    for gone in ("#sidebar", "#composer", ".tools", "#theme"):
        expect(page.locator(gone).first).to_be_hidden()
    expect(page.locator(".user .said")).to_be_visible()
    assert page.locator("#talk").evaluate("one => one.scrollHeight <= one.clientHeight + 2")  # nothing is cut off
