"""The code blocks of an answer, as models really write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.chat.codeblocks import CodeBlock, blocks, language, pick
from pixtral_cli.errors import PixtralError


def test_a_page_and_its_style_sheet() -> None:
    answer = "Sure!\n\n```html\n<p>hi</p>\n```\n\nand\n\n~~~css\np { margin: 0 }\n\n~~~\nDone."
    assert blocks(answer) == [CodeBlock("html", "<p>hi</p>\n"), CodeBlock("css", "p { margin: 0 }\n\n")]


def test_a_longer_fence_holds_shorter_ones() -> None:
    assert blocks("````markdown\n```py\nx\n```\n````\n") == [CodeBlock("markdown", "```py\nx\n```\n")]
    assert blocks("~~~\n```\n~~~") == [CodeBlock("", "```\n")]


def test_a_fence_that_the_answer_leaves_open() -> None:
    assert blocks("```js\nlet a") == [CodeBlock("js", "let a\n", closed=False)]
    assert blocks("```js") == [CodeBlock("js", "", closed=False)]


def test_a_block_inside_a_list_loses_the_list_s_indent_and_no_more() -> None:
    assert blocks("1. Do:\n   ```py\n   if x:\n       y\n   ```\n2. Done") == [CodeBlock("py", "if x:\n    y\n")]
    assert blocks("- ```sh\n  ls\n  ```") == [CodeBlock("sh", "ls\n")]


def test_code_inside_a_line_is_no_block() -> None:
    assert blocks("Use ```x``` here\n``` `x` ```\n`y`") == []


def test_only_newlines_end_a_line() -> None:
    assert blocks("```\na\x0cb\u2028c\n```")[0].text == "a\x0cb\u2028c\n"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r")), st.sampled_from(["```", "~~~", "`````"]))
def test_whatever_is_fenced_comes_back(code: str, fence: str) -> None:
    body = "\n".join(line for line in code.split("\n") if not line.strip().startswith(fence[0]))
    assert blocks(f"Here:\n{fence}py\n{body}\n{fence}\n")[0] == CodeBlock("py", f"{body}\n", blocks_name(body))


def blocks_name(body: str) -> str:
    """A first line that is a comment with a file name is the block's name; here it does not matter which."""
    return blocks(f"```py\n{body}\n```")[0].name


@pytest.mark.parametrize(
    ("info", "named"),
    [
        ("html", "html"), ("HTML", "html"), ("html:index.html", "html"), ('python title="app.py"', "python"),
        ("{.html .numberLines}", "html"), ("index.html", "html"), ("c++", "c++"), ("js {1,3}", "js"), ("", ""),
    ],
)  # fmt: skip
def test_the_language_of_a_fence(info: str, named: str) -> None:
    assert language(info) == named


@pytest.mark.parametrize(
    "answer",
    [
        "```html:index.html\nx\n```",
        '```html title="index.html"\nx\n```',
        "```html {file=index.html}\nx\n```",
        "Here is **index.html**:\n\n```html\nx\n```",
        "### index.html\n```html\nx\n```",
        "Save it as `index.html` please:\n```html\nx\n```",
        "```html\n<!-- index.html -->\nx\n```",
        "```html\n<!-- file: index.html -->\nx\n```",
    ],
)
def test_the_file_name_an_answer_gives_a_block(answer: str) -> None:
    assert blocks(answer)[0].name == "index.html"


@pytest.mark.parametrize(
    "answer", ["See example.com for more:\n```\nx\n```", "e.g.\n```py\nx = 3.5\n```", "```\nx\n```"]
)
def test_no_file_name_is_made_up(answer: str) -> None:
    assert blocks(answer)[0].name == ""


def test_picking_takes_the_first_in_the_language_under_any_of_its_names() -> None:
    answer = "```py\n1\n```\n```javascript\n2\n```\n```python\n3\n```"
    assert pick(answer, "python").text == "1\n"
    assert pick(answer, "JS").text == "2\n"
    assert pick(answer, "any").text == "1\n"


def test_a_block_that_names_no_language_serves_when_no_other_does() -> None:
    assert pick("```\n<p>\n```", "html").text == "<p>\n"
    assert pick("```\nls\n```\n```html\n<p>\n```", "html").text == "<p>\n"


def test_a_fence_around_nothing_is_no_block() -> None:
    with pytest.raises(PixtralError, match="holds no code block"):
        pick("```\n", "html")


def test_picking_what_is_not_there_says_what_is() -> None:
    with pytest.raises(PixtralError, match="no code block in rust, only python, css"):
        pick("```python\nx\n```\n```css\ny\n```\n```python\nz\n```", "rust")
    with pytest.raises(PixtralError, match="no code block"):
        pick("Sorry.", "any")
