"""An answer on the page: what is shown is what was said."""

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.fakes import FakeEngine
from tests.server.page.chromium import Held, ask, begin

pytestmark = pytest.mark.slow

SHORT = [
    "10.", "2024.", "7. 8. 9.", "1)", "12)", "-", "+", "*", "#", "###", ">", "> >", "---", "***", "```\n```", "~~~\n~~~",
    "- 5", "+ 3.5", "> 7", "# 4", "5\n-\n3", "[1]: http://example.com", "0", "=", "**", "__", "``", "|", "!", "&", "&amp;", "\\", "1.\n2.",
]  # fmt: skip


def test_short_answers_are_shown_as_written(page: Page, engine: FakeEngine) -> None:
    for answer in SHORT:
        engine.answers = [answer]
        ask(page, "How many?")
        assert page.locator(".assistant .said").last.inner_text().strip() == answer


VERBATIM = [
    "vector<int> and a<b and c>d", "<center>", "<b>bold</b> &lt;b&gt; &amp; &nbsp;", "a\n<div>\nb", "5*3*2", "2**10 == 1024, x**y**z",
    "__init__ and __main__.py and _private_ and snake_case_name", r"C:\_dir\*.txt", r"\\server\share\_x_", r"5\*3 and \# and \$HOME",
    "/*comment*/ int *p, *q; f(*args, **kwargs)", "~5~ and 3~5, 7~9", "f[0](x) and [a](b c)", "$5 and $10, $HOME:$PATH", r"\[citation needed\]",
    "<!-- a remark -->", "<https://example.com>", "# C#", "a  b   c", "line one\nline two", "- a\n\n<script>alert(1)</script>", "a_b*c_d*e", "<br>",
    r"\d+\.\w*", "![](http://example.com/x.png)", "^[x]^ ==y==", "a | b", "1 < 2 > 0", "«x» ‹y›", "🙂\u200d🙂", "x^2 and H_2O",
]  # fmt: skip


def test_no_character_of_an_answer_is_missing(page: Page, engine: FakeEngine) -> None:
    for answer in VERBATIM:
        engine.answers = [answer]
        ask(page, "Transcribe it")
        shown = page.locator(".assistant .said").last.inner_text()
        assert shown.split() == [word for word in answer.removeprefix("# ").removeprefix("- ").split() if word]


def test_spaces_within_a_line_are_kept(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["MILK    2.50\nBREAD  13.00"]
    ask(page, "Transcribe it")
    assert page.locator(".assistant .said").inner_text().strip() == "MILK    2.50\nBREAD  13.00"


def test_what_is_markdown_is_styled(page: Page, engine: FakeEngine) -> None:
    engine.answers = [r"**bold** *slanted* ~~gone~~ `code` \*plain\* **重要**です [link](https://example.com)"]
    ask(page, "?")
    said = page.locator(".assistant .said")
    for tag, text in {"em": "slanted", "del": "gone", "code": "code", "a": "link"}.items():
        expect(said.locator(tag)).to_have_text(text)
    expect(said.locator("strong")).to_have_text(["bold", "重要"])
    expect(said).to_contain_text("*plain*")


def test_lists_are_numbered_as_written(page: Page, engine: FakeEngine) -> None:
    engine.answers = [
        "7. seven\n8. eight\n\n```sh\nls\n```\n\n9. nine\n\ntext\n\n2024) year\n\n* x\n\n1. one\n1. again"
    ]
    ask(page, "?")
    marks = "all => all.map(one => [one.value, getComputedStyle(one).listStyleType])"
    found = page.locator(".assistant .said ol > li").evaluate_all(marks)
    assert [value for value, _ in found] == [7, 8, 9, 2024, 1, 1]
    assert [mark.strip('" ') for _, mark in found] == ["7.", "8.", "9.", "2024)", "1.", "1."]
    box = page.locator(".assistant .said").bounding_box()
    item = page.locator(".assistant .said li", has_text="year").bounding_box()
    assert box and item and item["x"] - box["x"] > 40  # there is room for "2024)"


def test_task_boxes_are_distinguished(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["- [x] bought\n- [ ] forgotten\n- neither"]
    ask(page, "?")
    items = page.locator(".assistant .said li")
    expect(items.nth(0).get_by_role("img", name="done")).to_have_text("☑")
    expect(items.nth(1).get_by_role("img", name="to do")).to_have_text("☐")
    expect(items.nth(2)).to_have_text("neither")


LINES = """one => {
  const range = document.createRange();
  range.selectNodeContents(one);
  return new Set([...range.getClientRects()].map(({top}) => Math.round(top))).size;
}"""


def test_tables_align_scroll_and_break_no_number(page: Page, engine: FakeEngine) -> None:
    names = [f"column {n}" for n in range(9)]
    rows = [f"| {' | '.join(['13,200.50', '1 000 000', *['a long text in a cell of its own'] * 7])} |"] * 2
    rule = "|--:|:-:|" + "---|" * 7
    engine.answers = [
        "\n".join([f"| {' | '.join(names)} |", rule, *rows, "| 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | tenth |"])
    ]
    page.set_viewport_size({"width": 390, "height": 800})
    ask(page, "?")
    cells = page.locator(".assistant .said tbody td")
    expect(cells.nth(0)).to_have_css("text-align", "right")
    expect(cells.nth(1)).to_have_css("text-align", "center")
    for place in (0, 1):
        assert cells.nth(place).evaluate(LINES) == 1
    box = page.get_by_role("region", name="Table")
    assert box.evaluate("one => one.scrollWidth > one.clientWidth")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    expect(page.locator(".assistant .said")).to_contain_text("tenth")  # one more than there are headings


def test_pictures_and_formulas(page: Page, engine: FakeEngine) -> None:
    engine.answers = [
        (
            r"![A red square](https://example.com/x.png) and \(x^2\), $$\frac{1}{2}$$ and \(\frac{1\) then $\alpha$ and \[a"
            "\n= b\\]"
        )
    ]
    ask(page, "?")
    expect(page.locator(".assistant .said a.picture")).to_have_text("A red square")
    formulas = page.locator(".assistant .said .formula")
    expect(formulas).to_have_count(5)
    expect(formulas.nth(0).locator(".katex-html")).to_have_text("x2")
    expect(formulas.nth(2)).to_have_text(r"\(\frac{1\)")  # no TeX: as it was written
    expect(page.locator(".assistant .said .katex")).to_have_count(4)
    assert page.evaluate("[...document.fonts].some(one => one.family.startsWith('KaTeX') && one.status === 'loaded')")


def test_the_switch_shows_an_answer_as_written(page: Page, engine: FakeEngine) -> None:
    answer = "# Title\n\n* a **b**\n\n| x |\n|---|\n| 1 |\n"
    engine.answers = [answer, answer]
    ask(page, "?")
    expect(page.locator(".assistant .said table")).to_be_visible()
    page.get_by_role("button", name="As written").click()
    assert page.locator(".assistant .said .written").text_content() == answer
    page.get_by_role("button", name="As written").click()
    expect(page.locator(".assistant .said table")).to_be_visible()
    page.get_by_role("button", name="Settings").click()
    page.get_by_label("Show answers as written").check()
    page.keyboard.press("Escape")
    page.reload()
    assert page.locator(".assistant .said .written").text_content() == answer


DEEP = [">" * 2000, "> " * 2000 + "x", "* " * 2000, "- " * 1500 + "x", "1. " * 2000, "*" * 2000, "[" * 5000, "**a *b " * 3000,
        "\n".join(" " * 2 * n + "- a" for n in range(400)), "`" * 3000, "\\(" * 3000, "<" * 5000, "![a](" * 2000, "$$\n" * 2000]  # fmt: skip


def test_deep_nesting_makes_no_conversation_unusable(page: Page, engine: FakeEngine) -> None:
    for answer in DEEP:
        engine.answers = [[answer]]
        ask(page, "nest")
    page.reload()
    engine.answers = ["Still here."]
    ask(page, "next")
    expect(page.locator(".assistant .said").last).to_have_text("Still here.")
    assert page.locator(".assistant .said").first.text_content() == ">" * 2000


def test_code_is_coloured_and_its_language_named(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["```python title=x\ndef f():\n\treturn 'a'\n```\n\n```nonsense\n<b>\n```\n\n```\nplain\n```"]
    ask(page, "?")
    expect(page.locator("figure.code").nth(0).locator(".hl-keyword").first).to_have_text("def")
    expect(page.locator("figcaption span").nth(0)).to_have_text("python title=x")
    assert page.locator("figure.code pre").nth(0).text_content() == "def f():\n\treturn 'a'"
    expect(page.locator("figure.code pre").nth(1)).to_have_text("<b>")


def test_while_an_answer_comes_text_stays_selected_and_buttons_stay(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    more = [f"word{n} " for n in range(60)]
    code = ["```html\n<h1>", "First</h1>\n", *[f"<p>{n}</p>\n" for n in range(40)]]
    engine.answers = [Held(held, "Select this sentence. ", *more, "\n\n", *code, "```\n\nThe end.")]
    begin(page, "?")
    expect(page.locator("figure.code")).to_contain_text("<p>39</p>")
    page.evaluate("""() => {
      const text = document.querySelector(".assistant .said p").firstChild;
      getSelection().setBaseAndExtent(text, 0, document.querySelector(".assistant .said p").childNodes[2], 9);
      window.button = [...document.querySelectorAll("figcaption button")].find((one) => one.textContent === "Preview");
      window.first = document.querySelector("figure.code code").firstChild;
    }""")
    held.set()
    expect(page.locator(".assistant .said")).to_contain_text("The end.")
    assert page.evaluate("getSelection().toString()") == "Select this sentence."
    assert page.evaluate("window.button.isConnected")


def test_the_growing_paragraph_itself_can_be_selected(page: Page, engine: FakeEngine) -> None:
    first, last = threading.Event(), threading.Event()
    engine.answers = [InThree(first, last)]
    begin(page, "?")
    expect(page.locator(".assistant .said p")).to_contain_text("Select this sentence.")
    page.evaluate("""() => {
      const words = document.querySelector(".assistant .said p").childNodes;
      getSelection().setBaseAndExtent(words[0], 0, words[2], 9);
    }""")
    first.set()
    expect(page.locator(".assistant .said p")).to_contain_text("and more")
    assert page.evaluate("getSelection().toString()") == "Select this sentence."
    last.set()
    expect(page.locator(".writing")).to_have_count(0)
    assert page.evaluate("getSelection().toString()") == "Select this sentence."


class InThree(list[str]):
    """An answer in three pieces, which wait for two events."""

    def __init__(self, first: threading.Event, last: threading.Event) -> None:
        super().__init__(["", "", ""])
        self.events = (first, last)

    def __iter__(self) -> Iterator[str]:
        yield "Select this sentence. It goes "
        assert self.events[0].wait(120)
        yield "on and more "
        assert self.events[1].wait(120)
        yield "to the end."
