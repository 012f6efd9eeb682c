"""What is shown is what was said: no character that is not surely markup is dropped by rendering, in any window."""

import io
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from pixtral_cli.terminal.output.markdown.blocks import split
from pixtral_cli.terminal.output.markdown.renderer import MARKS, block_renderer
from pixtral_cli.terminal.output.output import choose_output
from pixtral_cli.terminal.output.render import render
from pixtral_cli.util.sanitize import clean
from tests.terminal.emulator import Terminal, lines_of
from tests.terminal.output.test_live import Window
from tests.terminal.output.test_render import chunks, on_terminal


def shown(text: str, columns: int = 80) -> list[str]:
    """The lines on an emulated terminal, after the text has come in small pieces."""
    view = Window(columns, 24)
    for start in range(0, len(text), 3):
        view.page.show(text[start : start + 3])
    view.page.finish("")
    return lines_of(view.screen)


@pytest.mark.parametrize(
    "answer",
    [
        "10.", "2024.", "7. 8. 9.", "1)", "3) 4)", "-", "+", "*", "#", "###", ">", "> >", "- -", "- *", "+ -", "-\n-", "# #",
        "***", "---", "___", "* * *", "**", "****", "~~~", "```", "```\n```", "~~~\n~~~", "``` \n\n```", "|", "`", "1.\n2.",
        "\\", "\\\\", "[]", "![]()", "[ ]", "=", "===", "<>", "&", "&amp;", "0.", "-1.", "5", "No.", "007.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("columns", [20, 80])
def test_an_answer_without_words_is_shown_as_it_was_written(answer: str, columns: int) -> None:
    assert "".join(" ".join(shown(answer, columns)).split()) == "".join(answer.split())


@pytest.mark.parametrize(
    "answer",
    [
        "vector<int>", "std::map<std::string, int>", "a<b and c>d", "<center>", "</div>", "<!-- note -->", "&lt;b&gt;",
        "5*3*2", "2*3*4 = 24 and 5 * 6", "x*y*z", "__init__", "__name__ == '__main__'", "_id", "snake_case_name", "_a b_",
        "C:\\_dir\\*.txt", "\\\\server\\share\\x", "\\(x^2\\)", "\\[x_1*y_2\\]", "$a_1*b_2*c$", "\\frac{a}{b}", "\\$5",
        "cmd \\\nnext", "*.png, *.jp*", "**/*.ts and **/*.js", "src/**/*.py or test/**/*.py", "char *a, *b;", "f(*args, **kwargs)",
        "/*comment*/", "Press \"*\" then '*'.", "it`s and that`s", "``Hello'' and ``Bye''", "****1234", "**** **** **** 1234",
        "p**s and q**t", "a~~b~~c", "~5~", "arr[i](j)", "f[0](1)", "[^1] and [2]", "[a]: http://b.c", "<https://a.b/c_d_e>",
        "#hashtag", "Name\n===", "Total\n-", "a\n>\nb", "# 5", "> 5", "- 5", "+ 3", "- $3", "7) seven", "1. one\n1. one again",
        "| a | b |\n|---|---|\n| 1 | 2 | 3 |", "0*0*0*", "a \\* b", "E = mc^2*", "10\\% \\& \\_", "{1} {{2}}", "©2024™ ½", "a\u00a0b",
        "1986\\ A", "x^*y^*", "***-**-1234", "50 % * 2 %", "~/.config/*", "<br>\n<br>", "\\begin{a}\\\\\\end{a}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("columns", [20, 80])
def test_characters_that_might_be_markup_and_are_none_stay(answer: str, columns: int) -> None:
    said, seen = "".join(answer.split()), "".join("".join(shown(answer, columns)).split())
    if answer.startswith("|"):
        assert Counter(said) <= Counter(seen)
    else:
        assert said.lstrip("-") == seen.lstrip("-•")


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        ("**bold**, *it* and ***both***: `code`", ["bold, it and both: code"]),
        ("(**a**), “**b**” and **c:** d", ["(a), “b” and c: d"]),
        ("这是**粗体**文字", ["这是粗体文字"]),
        ("~~gone~~ here", ["gone here"]),
        ("\\*not styled\\* but C:\\_d\\*.txt", ["*not styled* but C:\\_d\\*.txt"]),
        ("1986\\. A year\n\\# no heading", ["1986. A year", "# no heading"]),
        ("\\[a\\](http://b.c) and [a](http://b.c)", ["[a](http://b.c) and a (http://b.c)"]),
        ('[text](http://a.b/c_d "A title")', ['text (http://a.b/c_d "A title")']),
        ("![A red circle](circle.png) and ![](x.png)", ["A red circle (circle.png) and  (x.png)"]),
        ("7. seven\n8. eight", [" 7. seven", " 8. eight"]),
        ("1. a\n   ```\n   x\n   ```\n2. b", [" 1. a", "    x", " 2. b"]),
        ("- [x] done\n- [ ] open", [" • [x] done", " • [ ] open"]),
        ("```python title.py\nx = 1\n```", ["python title.py", "x = 1"]),
        ("# Title", ["Title"]),
        ("| a | n |\n|---|--:|\n| x | 13,200 |\n| y | 5 |", ["a       n", "─  ──────", "x  13,200", "y       5"]),
    ],
)
def test_what_is_markup_is_rendered(answer: str, lines: list[str]) -> None:
    assert shown(answer) == lines


@pytest.mark.parametrize("columns", [20, 30, 40, 80])
def test_no_number_of_a_table_is_broken(columns: int) -> None:
    numbers = ["13,200", "1,234,567.89", "-42.5%", "2024-11-30", "0.000123"]
    names = ["Revenue in thousands", "Change", "A rather long name of a column", "Q4", "EUR"]
    table = "\n".join([
        "| " + " | ".join(names) + " |", "|" + "--:|" * 5, *("| " + " | ".join(numbers[n:] + numbers[:n]) + " |" for n in range(5)),
    ])  # fmt: skip
    lines = shown(table, columns)
    assert all(len(line) < columns for line in lines)
    for number in numbers:
        assert sum(line.count(number) for line in lines) == 5


MARKUP = [
    "*", "**", "_", "__", "`", "``", "```", "~~", "#", "##", ">", "-", "+", "1.", "7)", "|", "|---|", "[", "](", ")", "!", "<", ">",
    "\\", "\n", "\n\n", "  ", " ", "    ", "\t", "===", "---", "<b>", "&amp;", "](http://a.b)", "```py\n", "```\n", "| a | b |\n",
]  # fmt: skip
anything = st.lists(
    st.one_of(st.sampled_from(MARKUP), st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=6)),
    max_size=30,
).map("".join)


@given(anything, st.sampled_from([20, 40, 100]))
@settings(max_examples=150, deadline=None)
def test_every_character_that_is_no_markup_is_on_the_screen(text: str, columns: int) -> None:
    text = clean(text)
    lines = [line for block in split(text) for line in block_renderer(columns - 1).lines(block)]
    seen = Counter(Text.from_ansi("".join(lines)).plain)
    assert Counter(letter for letter in text if not letter.isspace() and letter not in MARKS) <= seen


@given(st.lists(st.sampled_from([mark for mark in MARKUP if mark.strip()]), min_size=1, max_size=6).map(" ".join))
@settings(max_examples=100, deadline=None)
def test_an_answer_never_shows_as_nothing(text: str) -> None:
    assert any(Text.from_ansi(line).plain.strip() for block in split(text) for line in block_renderer(79).lines(block))


@pytest.mark.parametrize("answer", [">" * 2000 + " x", "*" * 2000, "* " * 2000, "[" * 2000, "\\*" * 2000, "`a" * 2000])
def test_a_thousand_marks_are_shown_in_a_moment(answer: str) -> None:
    assert "".join("".join(line.split()) for block in split(answer) for line in block_renderer(79).lines(block)).strip()


def test_an_answer_is_shown_so_in_the_end_by_ask() -> None:
    assert on_terminal("10", ".").lines == ["10."]
    assert on_terminal("vector<", "int>").lines == ["vector<int>"]


def test_a_schema_answer_is_broken_between_words_only() -> None:
    answer = '{"a": "' + " ".join(f"word{number}" for number in range(40)) + '"}'
    with Terminal(20, 24) as terminal:
        out = choose_output(stdout=terminal.out, stderr=io.StringIO(), env={"TERM": "dumb"})
        render(chunks(*(answer[start : start + 5] for start in range(0, len(answer), 5))), replace(out, wrap=True))
    assert " ".join(terminal.lines).split() == answer.split()
    assert len(terminal.lines) > 5
