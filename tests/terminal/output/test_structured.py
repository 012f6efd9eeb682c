"""An answer under a schema: its output formats, and that half a document is never written."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, FinishReason, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.structured.schema import SCHEMA_PROMPT, AnswerMismatch, parse
from pixtral_cli.terminal.ask.ask import answer
from pixtral_cli.terminal.ask.dry_run import dry_run
from pixtral_cli.terminal.ask.request import Request, build_message
from pixtral_cli.terminal.output.output import Format, Output, choose_output
from pixtral_cli.terminal.output.structured import Layout, describe_schema
from tests.fakes import FakeEngine

TABLE = '[{"colour": "red", "value": 7},{"colour":"blue","value":-2.50}]'
WANTED = Request("Read it.", sampling=Sampling(schema=parse("[colour, value:float]")))


class Ending(FakeEngine):
    """Ends its answers for another reason than that all is said."""

    reason: FinishReason = "length"

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        for chunk in super().stream(messages, sampling):
            yield replace(chunk, finish_reason=self.reason) if chunk.finish_reason else chunk


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@dataclass
class Asked:
    out: str
    err: str
    conversation: Conversation
    error: BaseException | None = None


def ask(
    said: Any,
    request: Request = WANTED,
    format: Format = "text",
    layout: Layout = "",
    stdout: io.StringIO | None = None,
    engine: FakeEngine | None = None,
) -> Asked:
    stdout, stderr, conversation = stdout or io.StringIO(), io.StringIO(), Conversation()
    output: Output = choose_output(stdout=stdout, stderr=stderr, format=format, model="fake", env={"TERM": "xterm"})
    request = replace(request, layout=layout)
    engine = engine or FakeEngine()
    engine.answers = [said]
    error = None
    try:
        answer(request, build_message(request, output, None), conversation, engine, output)
    except BaseException as caught:
        error = caught
    return Asked(stdout.getvalue(), stderr.getvalue(), conversation, error)


def test_it_leaves_as_one_line_of_json() -> None:
    asked = ask(TABLE)
    assert asked.out == '[{"colour": "red", "value": 7}, {"colour": "blue", "value": -2.5}]\n'
    assert (asked.err, asked.error) == ("", None)
    assert asked.conversation.turns[-1].text == TABLE


def test_on_a_terminal_it_is_laid_out_for_people_and_never_drawn_as_markdown() -> None:
    table = '[{"colour": "**red** [/] \\u001b[31m", "value": 7}]'
    asked = ask(table, stdout=Screen())
    assert json.loads(asked.out) == json.loads(table)
    assert asked.out.startswith('[\n  {\n    "colour": "**red** [/] \\u001b[31m"')


def test_csv_and_a_record_a_line() -> None:
    assert ask(TABLE, layout="csv").out == '"colour","value"\n"red","7"\n"blue","-2.5"\n'
    assert ask(TABLE, layout="records").out == '{"colour": "red", "value": 7}\n{"colour": "blue", "value": -2.5}\n'
    assert ask("[]", layout="csv").out == '"colour","value"\n'
    assert ask("[]", layout="records").out == ""


def test_what_is_beside_the_list_is_named() -> None:
    receipt = Request("Read it.", sampling=Sampling(schema=parse("shop, items[name, n:int], total:float")))
    asked = ask('{"shop": "A", "items": [{"name": "tea", "n": 2}], "total": 3}', receipt, layout="csv")
    assert asked.out == '"name","n"\n"tea","2"\n'
    assert asked.err == "Not in the table: shop, total (--format json has all)\n"


def test_cells_that_a_spreadsheet_would_run_are_reported() -> None:
    asked = ask('[{"colour": "=1+1", "value": 1}]', layout="csv")
    assert asked.out == '"colour","value"\n"\'=1+1","1"\n'
    assert asked.err == "A cell begins like a formula; it gets an apostrophe, so that no spreadsheet runs it\n"


@pytest.mark.parametrize("format", ["json", "jsonl"])
def test_the_object_of_json_holds_the_text_and_what_it_means(format: Format) -> None:
    (line,) = ask(TABLE, format=format).out.splitlines()
    told = json.loads(line)
    assert told["answer"] == TABLE
    assert told["parsed"] == [{"colour": "red", "value": 7}, {"colour": "blue", "value": -2.5}]
    assert told["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("layout", "begins"), [("", '[{"colour"'), ("csv", '"colour","value"\n'), ("records", '{"colour"')]
)
def test_a_file_gets_what_stdout_would(tmp_path: Path, layout: Layout, begins: str) -> None:
    asked = ask(TABLE, replace(WANTED, file=tmp_path / "bars"), layout=layout, stdout=Screen())
    text = (tmp_path / "bars").read_text()
    assert text.startswith(begins)
    assert text == ask(TABLE, layout=layout).out
    assert asked.out == ""


@pytest.mark.parametrize("format", ["text", "json", "jsonl"])
@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("The red bar is 7.", "The answer is not valid JSON: Expecting value at line 1, column 1"),
        ('```json\n[{"colour": "red", "value": 7}]\n```', "The answer is not valid JSON"),
        ('[{"colour": "red", "value": 7}', "The answer is not valid JSON: Expecting ',' delimiter"),
        ('[{"colour": "red"}]', "The answer does not satisfy the schema at [0]: 'value' is a required property"),
        ("", "The answer is not valid JSON"),
    ],
)
def test_what_does_not_fit_leaves_nothing_on_stdout_and_is_not_lost(
    tmp_path: Path, said: str, why: str, format: Format
) -> None:
    asked = ask(said, replace(WANTED, file=tmp_path / "bars"), format=format)
    assert isinstance(asked.error, AnswerMismatch)
    assert asked.error.message.startswith(why)
    assert asked.error.hint == "Whoever answered does not hold its answers to schemas"
    assert asked.error.status == 1
    assert asked.out == ""
    assert not (tmp_path / "bars").exists()
    assert asked.err == (f"{said}\n" if said else "")
    assert asked.conversation.turns[-1].text == said


@pytest.mark.parametrize("said", [TABLE[:40], TABLE[:-1], ""])
def test_one_that_was_cut_says_so(said: str) -> None:
    asked = ask(said, engine=Ending())
    assert isinstance(asked.error, AnswerMismatch)
    assert asked.error.message == "The answer was cut off before its JSON was complete"
    assert "--max-tokens" in asked.error.hint
    assert asked.out == ""
    assert asked.conversation.turns[-1].text == said


def test_one_that_was_complete_when_it_was_cut_is_taken_but_a_number_may_go_on() -> None:
    assert ask(TABLE, engine=Ending()).error is None
    number = Request("How many?", sampling=Sampling(schema={"type": "integer"}))
    assert ask("12", number).out == "12\n"
    assert "cut off" in str(ask("12", number, engine=Ending()).error)


def test_a_stop_string_is_named_when_it_may_be_the_cause() -> None:
    request = replace(WANTED, sampling=replace(WANTED.sampling, stop=("blue",)))
    error = ask('[{"colour": "red", "value": 7},{"colour":"', request).error
    assert isinstance(error, AnswerMismatch)
    assert error.hint == "A --stop string may have cut it: leave that out"


def test_ctrl_c_leaves_stdout_empty_and_the_part_in_the_conversation() -> None:
    def interrupted() -> Iterator[str]:
        yield '[{"colour": '
        raise KeyboardInterrupt

    asked = ask(interrupted())
    assert isinstance(asked.error, KeyboardInterrupt)
    assert asked.out == ""
    assert asked.conversation.turns[-1].text == '[{"colour": '
    assert asked.conversation.turns[-1].interrupted


def test_a_surrogate_and_a_control_character_leave_harmless() -> None:
    said = '[{"colour": "\\ud800 \u202e \x7f", "value": 1}]'
    for layout in ("", "csv", "records"):
        asked = ask(said, layout=layout)
        asked.out.encode()
        assert "\u202e" not in asked.out and "\x7f" not in asked.out
    assert json.loads(ask(said).out)[0]["colour"] == "\ud800 \u202e \x7f"


def test_a_dry_run_counts_the_schema_too_and_names_its_fields() -> None:
    engine, stdout = FakeEngine(), io.StringIO()
    output = choose_output(stdout=stdout, stderr=io.StringIO(), model="fake", env={})
    dry_run(WANTED, build_message(WANTED, output, None), Conversation(), engine, output)
    assert "schema   a list of colour, value\n" in stdout.getvalue()
    told = len(f"Read it. {SCHEMA_PROMPT} {json.dumps(WANTED.sampling.schema)}".split())
    assert f"prompt   {told} tokens" in stdout.getvalue()
    stdout.truncate(stdout.seek(0))
    dry_run(WANTED, build_message(WANTED, output, None), Conversation(), engine, replace(output, format="json"))
    assert json.loads(stdout.getvalue())["schema"] == WANTED.sampling.schema


def test_a_schema_in_a_few_words() -> None:
    assert describe_schema(parse("name, price:float")) == "name, price"
    assert describe_schema({"type": "array", "items": {"type": "string"}}) == "a list of string"
    assert describe_schema({"anyOf": [{}, {}]}) == "any JSON"
