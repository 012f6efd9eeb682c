"""What a typed line means: attachments in every spelling, commands, and what must stay words."""

import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pixtral_cli.images.formats import has_picture_extension
from pixtral_cli.terminal.repl.input_parser import (
    Command,
    Question,
    Source,
    has_open_block,
    parse,
    shell_quoted,
    shell_unquoted,
)


def there(*names: str) -> Callable[[str], bool]:
    return lambda name: name in names


def attached(line: str, *names: str, pasted: tuple[str, ...] = ()) -> list[str]:
    found = parse(line, there(*names), pasted)
    assert isinstance(found, Question)
    return [source.name for source in found.sources]


def words(line: str, *names: str) -> str:
    found = parse(line, there(*names))
    assert isinstance(found, Question)
    return found.text


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("what is in cat.png", "cat.png"),
        ("what is in cat.png?", "cat.png"),
        ("look (cat.png) here", "cat.png"),
        ("cat.png's colour", "cat.png"),
        ("~/pics/cat.png what?", "~/pics/cat.png"),
        ("what is in 'my cat.png'?", "my cat.png"),
        ('what is in "my cat.png"?', "my cat.png"),
        (r"what is in my\ cat.png?", "my cat.png"),
        ("what is in my cat.png?", "my cat.png"),
        ("/home/me/My Pictures/cat (1).png what?", "/home/me/My Pictures/cat (1).png"),
        (r"/home/me/it\'s\ \(1\).jpg", "/home/me/it's (1).jpg"),
        (r"'/home/me/it'\''s.jpg' what?", "/home/me/it's.jpg"),
        ("@cat.png what?", "cat.png"),
        ("@'my cat.png' what?", "my cat.png"),
        ("@notes", "notes"),
        ("see @photo, please", "photo"),
        ("/home/me/photo", "/home/me/photo"),
        ("'/home/me/photo'", "/home/me/photo"),
        ("pages of report.pdf#2-4 please", "report.pdf#2-4"),
        ("CAT.JPG", "CAT.JPG"),
        ("猫はどこ？ 猫.png。", "猫.png"),
    ],
)
def test_an_existing_picture_is_attached_however_it_is_spelled(line: str, name: str) -> None:
    assert attached(line, name) == [name]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("see https://example.org/cat.png.", "https://example.org/cat.png"),
        ("https://example.org/cat.JPG?size=2 what?", "https://example.org/cat.JPG?size=2"),
        ("@https://example.org/200 what?", "https://example.org/200"),
        ("file:///home/me/My%20Cat.png", "file:///home/me/My%20Cat.png"),
        ("look at data:image/png;base64,AAAA==", "data:image/png;base64,AAAA=="),
    ],
)
def test_image_urls_are_attached(line: str, name: str) -> None:
    assert attached(line) == [name]


@pytest.mark.parametrize(
    "line", ["ct.png what?", "what is in ~/ct.png?", "@pics/ct.png", '"my ct.png" what?', r"my\ ct.png"]
)
def test_a_picture_that_is_not_there_is_still_an_attachment_so_that_loading_it_fails_loudly(line: str) -> None:
    assert len(attached(line)) == 1


@pytest.mark.parametrize(
    "line",
    [
        "what does .png mean?",
        "write `out.png` with ```open('cat.png')```",
        '<img src="cat.png">',
        "'tis what it isn't",
        "ask @anna about @types/node and @media",
        "see https://example.org/page",
        "https://example.png",
        "all *.png here? a/b, and/or",
        "Makefile",
        "",
        "   ",
    ],
)
def test_what_names_no_picture_stays_words(line: str) -> None:
    assert attached(line, "Makefile", "cat.png") == []
    assert words(line) == line.strip()


def test_several_pictures_keep_their_order() -> None:
    assert attached("a.png https://x.org/b.png 'c d.png' @e", "a.png", "c d.png", "e") == [
        "a.png",
        "https://x.org/b.png",
        "c d.png",
        "e",
    ]


def test_the_longest_name_that_is_there_wins() -> None:
    assert attached("compare my cat.png", "my cat.png", "cat.png") == ["my cat.png"]
    assert attached("a.png b.png", "a.png", "b.png") == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("/tmp/a.png what is this?", "what is this?"),
        ("what is this? /tmp/a.png", "what is this?"),
        ("a.png b.png which is bigger?", "which is bigger?"),
        ("what is in /tmp/a.png?", "what is in a.png?"),
        ("describe /tmp/a.png", "describe a.png"),
        ("is a.png bigger than b.png?", "is a.png bigger than b.png?"),
        ("a.png or b.png: which?", "a.png or b.png: which?"),
        ("a.png", ""),
        ("a.png  b.png ", ""),
        ("@https://x.org/q/a.png?w=2 in words", "in words"),
    ],
)
def test_a_name_stays_in_the_sentence_that_needs_it(line: str, text: str) -> None:
    assert words(line, "/tmp/a.png", "a.png", "b.png") == text


def test_image_numbers_are_kept_but_not_made_up() -> None:
    assert words("is #2 like `#3` or b#1.png?", "b#1.png") == r"is #2 like `\#3` or b\#1.png?"


def test_a_pasted_block_of_several_lines_attaches_nothing_and_says_what_it_named() -> None:
    block = "Dear all,\nsee /home/me/cat.png and #1"
    found = parse(f"a.png explain this: {block}", there("a.png", "/home/me/cat.png"), (block,))
    assert isinstance(found, Question)
    assert [source.name for source in found.sources] == ["a.png"]
    assert found.text == "explain this: Dear all,\nsee /home/me/cat.png and \\#1"
    assert found.notes == ("pasted text attaches nothing: /home/me/cat.png (/image attaches it)",)


@pytest.mark.parametrize(
    ("block", "names"),
    [
        ("a.png\nb.png", ["a.png", "b.png"]), ("/home/me/a b.png\n'/home/me/c d.jpg'\n", ["/home/me/a b.png", "/home/me/c d.jpg"]),
        ("docs/paper\n\ndocs/other.md", ["docs/paper", "docs/other.md"]), ("file:///home/me/a%20b.png\n/x/y.png", ["/home/me/a b.png", "/x/y.png"]),
        ("/home/me/a\\ b.png\n/x/y.png", ["/home/me/a b.png", "/x/y.png"]),
    ],
)  # fmt: skip
def test_a_pasted_block_that_is_nothing_but_paths_attaches_them(block: str, names: list[str]) -> None:
    block = block.strip("\n")
    found = parse(f"{block} what are these?", there(*names), (block,))
    assert isinstance(found, Question)
    assert [source.name for source in found.sources] == names
    assert (found.text, found.notes) == ("what are these?", ())
    assert attached(f"{block} what?", *names[:1], pasted=(block,)) == []  # one is not there


@pytest.mark.parametrize("block", ["src\ntests", "a.png\nsee below", "notes\na.png", "a.png\n" * 200])
def test_a_pasted_block_of_words_that_happen_to_be_names_attaches_nothing(block: str) -> None:
    block = block.strip("\n")
    assert attached(block, *block.split("\n"), pasted=(block,)) == []


def test_a_pasted_block_that_was_edited_makes_the_whole_text_attach_nothing() -> None:
    assert attached("x.png\n/home/me/cat.png!", "x.png", "/home/me/cat.png", pasted=("x.png\n/home/me/cat.png",)) == []
    assert attached("x.png\n/home/cat.png!", "x.png", "/home/cat.png", pasted=("x.png\n/home/me/cat.png",)) == []


def test_a_pasted_block_is_no_command() -> None:
    block = "/image secret.png\nplease"
    assert attached(block, "secret.png", pasted=(block,)) == []


def test_a_link_that_is_not_surely_a_picture_goes_as_text_and_says_so() -> None:
    found = parse("see https://example.org/page.", there())
    assert isinstance(found, Question)
    assert found.notes == ("sent as text: https://example.org/page (@https://example.org/page attaches it)",)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("/help", Command("help")),
        ("/?", Command("?")),
        ("/Image a.png b.png", Command("image", "a.png b.png")),
        ("/system one\ntwo", Command("system", "one\ntwo")),
        ("/nonsense", Command("nonsense")),
    ],
)
def test_a_slash_and_a_word_is_a_command(line: str, command: Command) -> None:
    assert parse(line, there()) == command


@pytest.mark.parametrize("line", ["/abs/path.png", "/abs/path.png what?", "/missing.png", "/a\\ b/c.png"])
def test_a_path_that_begins_with_a_slash_is_no_command(line: str) -> None:
    assert len(attached(line, "/abs/path.png")) == 1


def test_a_space_before_the_slash_makes_it_text() -> None:
    assert words(" /etc is what?") == "/etc is what?"


def test_a_block_in_triple_quotes_is_a_question_and_what_is_typed_in_it_attaches() -> None:
    assert words('"""/help\nme"""') == "/help\nme"
    assert attached('"""\nwhat is\ncat.png\n"""', "cat.png") == ["cat.png"]
    assert (
        has_open_block('"""')
        and has_open_block('"""one\n')
        and not has_open_block('"""one\ntwo"""')
        and not has_open_block("one")
    )


# Between two backticks in a line stands code, whatever else it looks like.
NAMES = (
    st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="/\\`"), min_size=1, max_size=20)
    .map(lambda stem: f"/p/{stem} {stem}.png")
    .filter(has_picture_extension)
)
TALK = st.lists(st.sampled_from(["what", "is", "the,", "colour?", "it's", "(so)"]), max_size=5).map(" ".join)


@given(TALK, NAMES, TALK)
@example("", "/p/' '.png", "")
def test_any_name_is_attached_in_every_spelling(before: str, name: str, after: str) -> None:
    spellings = [shell_quoted(name), "@" + shell_quoted(name), "file://" + quote(name)]
    spellings += [f"'{name}'"] if "'" not in name else ["'" + name.replace("'", "'\\''") + "'"]
    spellings += [f'"{name}"'] if '"' not in name else []
    for spelling in spellings:
        line = f"{before} {spelling} {after}"
        assert attached(line, name) in ([name], ["file://" + quote(name)]), line


@given(st.text(st.sampled_from("ab /\\'\"`@#.~:pngdf123 \n([?")), st.booleans())
def test_nothing_typed_is_lost_or_crashes(line: str, all_there: bool) -> None:
    found = parse(line, lambda name: all_there)
    if isinstance(found, Question) and not line.startswith('"""'):
        pieces = "".join(part if isinstance(part, str) else part.raw for part in found.parts)
        assert pieces.strip() == line.strip()
        assert not any(isinstance(part, Source) and not part.name for part in found.parts)


@given(st.text())
def test_a_pasted_block_is_one_piece_of_words(block: str) -> None:
    found = parse(block, lambda name: True, (block,)) if "\n" in block else Question((block,))
    assert isinstance(found, Question)
    assert not found.sources


@given(st.text(st.characters(exclude_categories=["C"])))
def test_quoting_a_name_and_reading_it_back_gives_the_name(name: str) -> None:
    assert shell_unquoted(shell_quoted(name)) == name


@pytest.mark.parametrize("line", ["a" * 1_000_000, "a.b " * 20_000, "'" * 100_000, "/" * 100_000, "a.png " * 5_000])
def test_long_lines_are_read_in_linear_time(line: str) -> None:
    def seconds(part: str) -> float:
        began = time.process_time()
        parse(part, there())
        return time.process_time() - began

    assert seconds(line) < 1 + 40 * seconds(line[: len(line) // 8])  # quadratic, it would take 64 times as long


def test_backticks_behind_backslashes_are_part_of_a_name() -> None:
    assert attached("@/p/\\`\\ \\`.png", "/p/` `.png") == ["/p/` `.png"]
