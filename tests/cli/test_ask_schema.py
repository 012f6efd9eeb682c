"""`pixtral ask --schema` as people and scripts run it: against servers that hold to the schema or do not, and the demo."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixtral_cli import config
from pixtral_cli.command_line import run
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.structured.schema import SCHEMA_PROMPT, parse, validate
from tests.fakes import FakeEngine
from tests.server.serving import Running, serving

FIELDS = "[colour, value:int]"
TABLE = '[{"colour": "red", "value": 7}, {"colour": "blue", "value": 4}]'


@pytest.fixture
def far() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def running(far: FakeEngine, home: Path) -> Iterator[Running]:
    with serving(far, model="m") as running:
        yield running


@pytest.fixture
def ask(running: Running) -> "Ask":
    return Ask(running.url)


class Ask:
    """`pixtral ask` of the server under test."""

    def __init__(self, url: str) -> None:
        self._far = ["--engine", "api", "--base-url", url, "-m", "m", "--no-stdin"]

    def __call__(self, *words: str) -> int:
        return run(["ask", "Read the chart.", *self._far, *words])


def test_a_schema_goes_to_the_far_side_and_json_comes_back(
    ask: Ask, far: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    far.answers = [TABLE]
    assert ask("--schema", FIELDS) == 0
    assert capsys.readouterr() == (f"{TABLE}\n", "")
    heard, sampling = far.seen[0]
    assert sampling.schema == parse(FIELDS)
    assert heard[-1].text == f"Read the chart.\n\n{SCHEMA_PROMPT}\n{json.dumps(parse(FIELDS))}"


def test_csv_to_a_file(ask: Ask, far: FakeEngine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    far.answers = [TABLE]
    assert ask("--schema", FIELDS, "--format", "csv", "-o", str(tmp_path / "bars.csv")) == 0
    assert (tmp_path / "bars.csv").read_text() == '"colour","value"\n"red","7"\n"blue","4"\n'
    assert capsys.readouterr().out == ""


def test_a_record_a_line(ask: Ask, far: FakeEngine, capsys: pytest.CaptureFixture[str]) -> None:
    far.answers = [TABLE]
    assert ask("--schema", FIELDS, "--format", "records") == 0
    assert [json.loads(line)["value"] for line in capsys.readouterr().out.splitlines()] == [7, 4]


def test_a_far_side_that_ignores_the_schema_is_found_out_and_its_answer_kept(
    ask: Ask, far: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    far.answers = ["The red bar is 7."]
    assert ask("--schema", FIELDS) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "The red bar is 7.\npixtral: The answer is not valid JSON: Expecting value at line 1, column 1. "
        "Whoever answered does not hold its answers to schemas\n"
    )
    sessions = Sessions(config.paths().data)
    assert sessions.load(sessions.newest().id).messages[-1].text == "The red bar is 7."


def test_a_far_side_that_refuses_the_schema_is_quoted(
    ask: Ask, far: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    far.answers = [UsageError("response_format is not supported")]
    assert ask("--schema", FIELDS) == 2
    out, err = capsys.readouterr()
    assert (out, err) == ("", "pixtral: 127.0.0.1: response_format is not supported\n")


def test_a_template_names_a_schema_and_a_flag_another(
    ask: Ask, far: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config.paths().config_file.parent / "templates"
    folder.mkdir(parents=True)
    (folder / "bars.toml").write_text(f'schema = "{FIELDS}"\nprompt = "Look. $input"\n')
    far.answers = [TABLE, '{"title": "Sales"}']
    assert ask("-t", "bars") == 0
    assert ask("-t", "bars", "--schema", "title") == 0
    assert capsys.readouterr().out == f'{TABLE}\n{{"title": "Sales"}}\n'
    assert [sampling.schema for _, sampling in far.seen] == [parse(FIELDS), parse("title")]


def test_what_is_typed_goes_before_the_form_that_a_template_wants(
    ask: Ask, far: FakeEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = config.paths().config_file.parent / "templates"
    folder.mkdir(parents=True)
    (folder / "pg.toml").write_text('extract = "html"\n')
    (folder / "bars.toml").write_text('schema = "title"\n')
    (folder / "both.toml").write_text('extract = "html"\nschema = "title"\n')
    page = "Here:\n```html\n<p>hi</p>\n```\n"
    far.answers = [page, '{"title": "Sales"}', page, page]
    for words in (
        ["-t", "pg"],
        ["-t", "pg", "--schema", "title"],
        ["-t", "bars", "-x", "html"],
        ["-t", "both", "-x", "html"],
    ):
        assert ask(*words) == 0
    assert capsys.readouterr().out == '<p>hi</p>\n{"title": "Sales"}\n<p>hi</p>\n<p>hi</p>\n'
    assert [sampling.schema for _, sampling in far.seen] == [None, parse("title"), None, None]
    assert ask("-t", "both") == 2
    assert "The template both needs an answer both as a code block and as JSON" in capsys.readouterr().err


def test_the_conversation_goes_on_without_the_schema(ask: Ask, far: FakeEngine) -> None:
    far.answers = [TABLE, "Red."]
    assert ask("--schema", FIELDS) == 0
    assert ask("-c") == 0
    heard, sampling = far.seen[-1]
    assert [message.text for message in heard] == ["Read the chart.", TABLE, "Read the chart."]
    assert sampling.schema is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--schema", "name:flaot"], "'flaot' is no type of name"),
        (["--schema", ""], "The schema is empty"),
        (["--schema", "no/such.json"], "There is no file no/such.json"),
        (["--schema", '{"$ref": "http://127.0.0.1/"}'], "only its own parts"),
        (["--format", "csv"], "--format csv needs --schema"),
        (["--format", "records"], "--format records needs --schema"),
        (["--schema", "name", "-x", "html"], "--extract takes a code block, and --schema makes the answer JSON"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    ask: Ask, far: FakeEngine, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(*words) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert not far.seen


def test_the_demo_answers_in_json_and_csv(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fields = parse("[colour:red|blue|green|orange, value:int]") | {"minItems": 1, "maxItems": 4}
    fields["items"]["properties"]["value"] |= {"minimum": 0, "maximum": 100}
    asked = ["ask", "Read the chart.", "--image", "examples/bars.png", "-m", "demo", "-n", "-q", "--no-stdin"]
    assert run([*asked, "--schema", json.dumps(fields)]) == 0
    value = validate(capsys.readouterr().out, fields)
    assert run([*asked, "--schema", json.dumps(fields), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["colour"], int(row["value"])) for row in rows] == [(bar["colour"], bar["value"]) for bar in value]


def test_the_demo_cut_short_leaves_no_half_document(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["ask", "Read the chart.", "--image", "examples/bars.png", "-m", "demo", "--no-stdin"]
    assert run([*asked, "--schema", "shape:red|blue, value:int", "--max-tokens", "3"]) == 1
    out, err = capsys.readouterr()
    begun, said = err.splitlines()
    assert out == ""
    assert begun.startswith('{"')
    assert said.startswith("pixtral: The answer was cut off before its JSON was complete. Raise --max-tokens")
    sessions = Sessions(config.paths().data)
    assert sessions.load(sessions.newest().id).messages[-1].text == begun


def test_a_schema_that_no_answer_can_be_held_to_is_reported_before_weights_are_read(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["ask", "Hi", "-m", "demo", "-n", "--no-stdin", "--schema", '{"type": "array", "uniqueItems": true}']) == 2
    )
    said = 'pixtral: The schema cannot be enforced: Unimplemented keys: ["uniqueItems"]. Leave that out of the schema\n'
    assert capsys.readouterr() == ("", said)
