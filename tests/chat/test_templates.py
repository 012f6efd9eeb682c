"""Templates: the file, the values of its placeholders, and errors in either."""

from pathlib import Path

import pytest

from pixtral_cli.chat.templates import EXAMPLE, Template, Templates, parse
from pixtral_cli.errors import UsageError


def test_a_template_says_how_a_question_is_asked(tmp_path: Path) -> None:
    (tmp_path / "page.toml").write_text(
        'prompt = "Write $kind like this. $input"\nsystem = "Answer in ${language}."\nmodel = "pixtral-12b"\n'
        'extract = "html"\ntemperature = 0\nmax_tokens = 900\nschema = {type = "object"}\n'
        '[defaults]\nlanguage = "English"\nkind = "HTML"\n'
    )
    template = Templates(tmp_path).load("page")
    assert (template.model, template.extract, template.temperature, template.max_tokens) == (
        "pixtral-12b",
        "html",
        0,
        900,
    )
    assert template.schema == '{"type": "object"}'
    filled = template.fill("Make it blue.", {"language": "French"})
    assert (filled.prompt, filled.system) == ("Write HTML like this. Make it blue.", "Answer in French.")


def test_a_schema_may_lie_beside_its_template(tmp_path: Path) -> None:
    (tmp_path / "bill.json").write_text("{}")
    for name, schema in [("a", "bill.json"), ("b", "name, price:float"), ("c", "other.json"), ("d", "/etc/bill.json")]:
        (tmp_path / f"{name}.toml").write_text(f'schema = "{schema}"')
    templates = Templates(tmp_path)
    found = [templates.load(name).schema for name in "abcd"]
    assert found == [str(tmp_path / "bill.json"), "name, price:float", "other.json", "/etc/bill.json"]


def test_a_text_file_is_a_prompt_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "describe.txt").write_text("Describe the picture.\n")
    (tmp_path / "notes.rst").write_text("no template")
    (tmp_path / "b.md").write_text("# B")
    templates = Templates(tmp_path)
    assert templates.names() == ("b", "describe")
    assert templates.load("describe").fill().prompt == "Describe the picture."
    assert templates.load("describe").fill("In detail.").prompt == "Describe the picture.\n\nIn detail."


def test_what_is_put_in_is_not_looked_at_again() -> None:
    template = Template("t", "say $word: $input")
    assert template.fill("$word costs $5", {"word": "$input"}).prompt == "say $input: $word costs $5"


@pytest.mark.parametrize("text", ["$5", "$HOME", "100$", "$ x", "${A}", "a$$b"])
def test_a_dollar_that_names_nothing_is_a_dollar(text: str) -> None:
    assert Template("t", text).fill().prompt == text.replace("$$", "$")


def test_a_value_that_is_missing_or_has_no_place_is_named() -> None:
    template = Template("t", "$input in $language and $style", defaults={"style": "short"})
    assert template.placeholders == ("language",)
    with pytest.raises(UsageError, match=r"needs \$language") as error:
        template.fill("x")
    assert error.value.hint == "Give it: -p language=VALUE"
    with pytest.raises(UsageError, match=r"has no \$colour"):
        template.fill("x", {"language": "German", "colour": "red"})
    with pytest.raises(UsageError, match=r"has no \$input"):
        template.fill("x", {"language": "German", "input": "y"})
    assert template.fill("x", {"language": "German", "style": "long"}).prompt == "x in German and long"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("prompt = ", "not valid TOML"),
        ('promt = "x"', "unknown key 'promt'"),
        ("prompt = 3", "prompt cannot be a int"),
        ('temperature = "hot"', "temperature cannot be a str"),
        ("seed = true", "seed cannot be a bool"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse("t", text)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "", ".x", "x.toml", "\x1b[2J"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name") as error:
        Templates(tmp_path).load(name)
    assert error.value.message.isprintable()


def test_a_template_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no template 'x'") as error:
        Templates(tmp_path / "none").load("x")
    assert error.value.hint == "Write it: pixtral templates edit x"
    (tmp_path / "page.txt").write_text("x")
    with pytest.raises(UsageError) as error:
        Templates(tmp_path).load("x")
    assert error.value.hint == "There is: page"


def test_the_example_is_a_template() -> None:
    assert parse("new", EXAMPLE).fill("hello").prompt == "hello"


@pytest.mark.parametrize("damage", ["folder", "bytes"])
def test_a_template_that_cannot_be_read_names_its_file(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "ocr.txt"
    if damage == "folder":
        file.mkdir()
    else:
        file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match=r"Cannot read .*ocr\.txt") as refused:
        Templates(tmp_path).load("ocr")
    assert refused.value.hint


def test_eight_of_the_templates_there_are_are_named(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"t{number}.txt").write_text("x")
    with pytest.raises(UsageError, match="There is no template 'ocr'") as refused:
        Templates(tmp_path).load("ocr")
    assert refused.value.hint == "There is: t0, t1, t2, t3, t4, t5, t6, t7"
