"""`pixtral batch` as a user meets it: lines, order, stops and resumption, exit statuses, terminals and pipes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from openai.types.batch_error import BatchError
from openai.types.chat import ChatCompletion

from pixtral_cli.batch.journal import GO_ON
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.models.names import demo_folder
from pixtral_cli.structured.schema import parse, with_schema_prompt
from tests.batch.calling import COMMAND, ROOT, batch, plain, read, request, start, write
from tests.cli.calling import pixtral
from tests.server.serving import data_url, picture, png, serving
from tests.terminal.emulator import Terminal

EXAMPLES = ROOT / "examples"


def until(true: Callable[[], bool], child: "subprocess.Popen[bytes]") -> None:
    """Wait for something that the child does."""
    end = time.monotonic() + 120
    while not true():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def lines_in(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


# What comes out


def test_every_row_gets_a_line_in_its_order_and_its_shape(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    rows = [
        {"prompt": "one", "images": ["a.png"], "id": 7, "metadata": {"page": 1}},
        request("two", [{"type": "text", "text": "what"}, picture()]),
        "this is not JSON",
        {"prompt": "four", "images": ["missing.png"]},
        {"custom_id": "five", "body": {"messages": []}},
    ]
    result = batch(write(tmp_path / "in.jsonl", rows), "-o", tmp_path / "out.jsonl")
    assert result.status == 8
    one, two, three, four, five = read(tmp_path / "out.jsonl")
    assert (one["row"], one["id"], one["metadata"], one["error"]) == (1, 7, {"page": 1}, None)
    assert one["answer"].endswith("é\u2028")
    assert one["usage"] == {
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "total_tokens": 9,
        "image_tokens": 0,
        "reasoning_tokens": 0,
    }
    assert (two["custom_id"], two["response"]["status_code"], two["error"]) == ("two", 200, None)
    assert (three["row"], three["answer"]) == (3, None)  # what cannot be read gets the shape of the first row
    assert three["error"]["code"] == "invalid_json_line"
    assert [each for each in one if each not in ("id", "metadata")] == list(three) == list(four)
    assert four["answer"] is None
    assert (four["error"]["type"], four["error"]["code"]) == ("invalid_request_error", "invalid_image")
    assert "missing.png" in four["error"]["message"]
    assert five["response"]["status_code"] == 400
    assert five["response"]["body"]["error"]["param"] == "body.messages"
    assert "Answered 2 of 5 rows in " in result.stderr
    assert "3 of 5 rows failed" in result.stderr
    assert "Row 3 failed: not valid JSON" in result.stderr


@pytest.mark.parametrize("flags", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("in.jsonl", '{"prompt": "one"}\n\n\n{"prompt": "two", "images": "none.png"}\n'),
        ("in.csv", 'prompt,image\n"one\n\n",\ntwo,none.png\n'),
        ("in.tsv", "prompt\timage\n\none\t\ntwo\tnone.png\n"),
    ],
)
def test_a_failed_row_is_named_by_its_line_in_the_file_too(
    tmp_path: Path, name: str, content: str, flags: list[str]
) -> None:
    line = 5 if name == "in.csv" else 4
    (tmp_path / name).write_text(content)
    result = batch(tmp_path / name, *flags)
    assert result.status == 8
    assert f"Row 2 (line {line}) failed: " in result.stderr


def test_openais_own_types_read_its_lines(tmp_path: Path) -> None:
    rows = [request("fine", max_tokens=5), request("bad", tool_choice="required")]
    fine, bad = read(batch(write(tmp_path / "in.jsonl", rows)).stdout)
    said = ChatCompletion.model_validate(fine["response"]["body"], strict=True)
    assert said.choices[0].message.content
    assert said.usage
    assert said.usage.total_tokens == 9
    assert {"id", "custom_id", "response", "error"} == set(fine) == set(bad)
    assert bad["response"]["body"]["error"] == {
        "message": "body.tool_choice: is not supported", "type": "invalid_request_error", "param": "body.tool_choice",
        "code": "invalid_request",
    }  # fmt: skip
    assert BatchError.model_validate(bad["error"], strict=True).message == "body.tool_choice: is not supported"


def test_each_file_of_a_pattern_is_asked_about_and_named(tmp_path: Path) -> None:
    for name in ("p10.png", "p2.png", "other.txt"):
        (tmp_path / name).write_bytes(png())
    result = batch("--glob", f"{tmp_path}/*.png", "Transcribe")
    assert [Path(line["file"]).name for line in read(result.stdout)] == ["p2.png", "p10.png"]
    assert result.status == 0


def test_rows_come_from_stdin_and_each_is_answered_before_the_next_is_known(tmp_path: Path) -> None:
    with start("-", "-q") as child:
        assert child.stdin
        assert child.stdout
        for number in range(3):
            child.stdin.write(json.dumps({"prompt": f"{number}?"}).encode() + b"\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["row"] == number + 1
        child.stdin.close()
        assert child.wait(120) == 0


def test_a_template_asks_and_a_schema_is_kept_to(tmp_path: Path, home: Path) -> None:
    (home / "pixtral" / "templates").mkdir(parents=True)
    (home / "pixtral" / "templates" / "tell.txt").write_text("Say in $language: $input")
    rows = write(tmp_path / "in.jsonl", plain(1))
    filled = batch(rows, "-t", "tell", "-p", "language=French")
    asked = batch(write(tmp_path / "same.jsonl", [{"prompt": "Say in French: What is 0?"}]))
    assert read(filled.stdout)[0]["answer"] == read(asked.stdout)[0]["answer"]
    wrong = batch(rows, "--schema", "name")
    assert wrong.status == 8
    assert read(wrong.stdout)[0]["error"]["message"].startswith("The answer is not valid JSON")


def test_dry_run_counts_and_answers_nothing(tmp_path: Path) -> None:
    rows = write(tmp_path / "in.jsonl", [{"prompt": "one two", "images": [data_url()]}, "no JSON", {"prompt": "three"}])
    result = batch(rows, "--dry-run")
    assert result.status == 8
    assert result.stdout == (
        "model    demo\nrows     3, 1 of them would fail\nimages   1, 10 tokens\nprompts  13 tokens in all\n"
    )


def test_dry_run_counts_what_says_the_schema(tmp_path: Path) -> None:
    rows = write(tmp_path / "in.jsonl", [{"prompt": "one two"}])
    words = len(with_schema_prompt([Message("user", ("one two",))], parse("name"))[0].text.split())
    assert f"prompts  {words} tokens in all\n" in batch(rows, "--dry-run", "--schema", "name").stdout


def test_of_answers_under_a_templates_extract_the_code_block_is_kept(tmp_path: Path, home: Path) -> None:
    (home / "pixtral" / "templates").mkdir(parents=True)
    (home / "pixtral" / "templates" / "pg.toml").write_text('extract = "html"\n')
    rows = write(tmp_path / "in.jsonl", [{"prompt": "page"}, *plain(1)])
    result = batch(rows, "-t", "pg", "-o", tmp_path / "out.jsonl")
    page, none = read(tmp_path / "out.jsonl")
    assert (result.status, page["answer"], page["error"]) == (8, "<p>hi</p>\n", None)
    assert (none["answer"], none["error"]["code"]) == (None, "invalid_answer")
    assert none["error"]["message"] == "The answer holds no code block"
    assert "with other settings" in batch(rows, "-o", tmp_path / "out.jsonl").stderr
    typed = read(batch(rows, "-t", "pg", "--schema", "name").stdout)
    assert "The answer is not valid JSON" in typed[0]["error"]["message"]


# Stopped, killed, resumed


def test_killed_ten_times_it_ends_as_one_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    chance = Random(20261123)
    kinds: list[Callable[[int], Any]] = [
        lambda number: {"prompt": f"What is {number}?"},
        lambda number: request(f"r{number}", f"What is {number}?"),
        lambda number: "{" * number,
        lambda number: {"prompt": "refused"},
    ]
    rows = write(tmp_path / "in.jsonl", [*(chance.choice(kinds)(number) for number in range(299)), {"prompt": "last"}])
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    assert batch(rows, "-o", whole, "-q").status == 8
    for time_ in range(10):
        with start(rows, "-o", killed, "-q", pause=0.02) as child:
            wanted = 27 * time_ + chance.randrange(25)
            until(lambda wanted=wanted: lines_in(killed) > wanted, child)
            time.sleep(chance.random() / 50)  # not always just after a line
            child.kill()
        if chance.random() < 0.5:  # as if the kill had come in the middle of a write
            with killed.open("r+b") as file:
                file.truncate(killed.stat().st_size - chance.randrange(1, 150))
        assert whole.read_bytes().startswith(killed.read_bytes())
    assert 200 < lines_in(killed) < 300
    assert batch(rows, "-o", killed).status == 8
    assert killed.read_bytes() == whole.read_bytes()
    failed = sum(bool(json.loads(line)["error"]) for line in killed.read_text().splitlines())
    again = batch(rows, "-o", killed)
    assert again.status == 8
    assert f"answers {300 - failed} of 300 rows already" in again.stderr
    assert killed.read_bytes() == whole.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"in.jsonl", "whole.jsonl", "killed.jsonl"}


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_cleanly_and_it_says_how_it_goes_on(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    rows = write(tmp_path / "in.jsonl", [*plain(5), {"prompt": "forever"}, *plain(3)])
    out = tmp_path / "out.jsonl"
    with start(rows, "-o", out) as child:
        until(lambda: lines_in(out) == 5, child)
        child.send_signal(sent)
        _, err = child.communicate(timeout=120)
    assert child.returncode == status
    last = err.decode().splitlines()[-1]  # the signal may come between a line and its being counted
    assert re.fullmatch(r"Stopped after [45] of 9 rows\. The same command goes on from there", last)
    assert [line["row"] for line in read(out)] == [1, 2, 3, 4, 5]


def test_more_rows_at_the_end_are_answered_and_what_was_stays(tmp_path: Path) -> None:
    rows, out = write(tmp_path / "in.jsonl", plain(3)), tmp_path / "out.jsonl"
    assert batch(rows, "-o", out, "--limit", "2").status == 0
    before = out.read_bytes()
    assert batch(rows, "-o", out, "--limit", "1").status == 0
    assert out.read_bytes() == before
    write(rows, plain(5))
    assert batch(rows, "-o", out).status == 0
    assert out.read_bytes().startswith(before)
    assert [line["row"] for line in read(out)] == [1, 2, 3, 4, 5]


def test_a_changed_row_or_flag_is_reported_and_nothing_is_touched(tmp_path: Path) -> None:
    rows, out = write(tmp_path / "in.jsonl", plain(3)), tmp_path / "out.jsonl"
    batch(rows, "-o", out)
    before = out.read_bytes()
    write(rows, [*plain(1), {"prompt": "another"}, *plain(3)[2:]])
    changed = batch(rows, "-o", out)
    assert (changed.status, "Row 2 of in.jsonl is not the one" in changed.stderr) == (2, True)
    write(rows, plain(2))
    assert "more lines than in.jsonl has rows" in batch(rows, "-o", out).stderr
    write(rows, plain(3))
    for flags in (["--temperature", "0.5"], ["-s", "Be kind"], ["--max-tokens", "9"], ["--schema", "name"]):
        other = batch(rows, "-o", out, *flags)
        assert (other.status, "with other settings" in other.stderr) == (2, True)
    assert out.read_bytes() == before
    assert batch(rows, "-o", out, "-s", "Be kind", "--fresh").status == 0
    assert out.read_bytes() != before
    assert lines_in(out) == 3


@pytest.mark.parametrize(("broken", "status"), [("open", 4), ("load", 7)])
def test_beginning_anew_forgets_nothing_until_the_engine_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, status: int
) -> None:
    rows, out = write(tmp_path / "in.jsonl", plain(3)), tmp_path / "out.jsonl"
    batch(rows, "-o", out)
    before = out.read_bytes()
    monkeypatch.setenv("BROKEN", broken)
    assert batch(rows, "-o", out, "--fresh").status == status
    assert out.read_bytes() == before
    monkeypatch.delenv("BROKEN")
    assert batch("-", "-o", out, "--fresh").status == 2  # no rows
    assert out.read_bytes() == before


def test_a_fresh_batch_that_was_stopped_says_that_it_goes_on_without_the_flag(tmp_path: Path) -> None:
    rows, out = write(tmp_path / "in.jsonl", [*plain(2), {"prompt": "forever"}]), tmp_path / "out.jsonl"
    with start(rows, "-o", out, "--fresh") as child:
        until(lambda: lines_in(out) == 2, child)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=120)
    last = err.decode().splitlines()[-1]  # the signal may come between a line and its being counted
    assert re.fullmatch(r"Stopped after [12] of 3 rows\. Without --fresh it goes on from there", last)


# Asked again


@pytest.fixture
def failed(tmp_path: Path) -> tuple[Path, Path]:
    """Rows of which the second and the fourth are refused, and the output that says so."""
    refused = {"prompt": "refused"}
    rows, out = write(tmp_path / "in.jsonl", [*plain(1), refused, *plain(1), refused]), tmp_path / "out.jsonl"
    assert batch(rows, "-o", out).status == 8
    return rows, out


def answers(out: Path) -> list[bool]:
    return [line["error"] is None for line in read(out)]


def test_rows_that_failed_are_answered_in_their_places(
    failed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, out = failed
    assert batch(rows, "-o", out, "--retry-failed").status == 8
    assert answers(out) == [True, False, True, False]
    monkeypatch.setenv("MENDED", "1")
    assert batch(rows, "-o", out, "--retry-failed").status == 0
    assert answers(out) == [True] * 4
    assert [line["row"] for line in read(out)] == [1, 2, 3, 4]
    assert {file.name for file in out.parent.iterdir()} == {"in.jsonl", "out.jsonl"}


@pytest.mark.parametrize(
    "left", [[1], [1, 2, 3, 4], [2, 4], [2, 4, 3], []], ids=["another's", "more", "all-failed", "longer", "empty"]
)
def test_what_an_earlier_retry_left_behind_hinders_none(
    failed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, left: list[int]
) -> None:
    rows, out = failed
    lines = out.read_bytes().splitlines(keepends=True)
    out.with_name(".out.jsonl.retry").write_bytes(b"".join(lines[number - 1] for number in left))
    monkeypatch.setenv("MENDED", "1")
    result = batch(rows, "-o", out, "--retry-failed")
    assert result.status == 0, result.stderr
    assert answers(out) == [True] * 4
    assert {file.name for file in out.parent.iterdir()} == {"in.jsonl", "out.jsonl"}


def test_beginning_anew_forgets_what_a_retry_left_behind(failed: tuple[Path, Path]) -> None:
    rows, out = failed
    out.with_name(".out.jsonl.retry").write_bytes(out.read_bytes())
    assert batch(rows, "-o", out, "--fresh").status == 8
    assert {file.name for file in out.parent.iterdir()} == {"in.jsonl", "out.jsonl"}


@pytest.mark.parametrize(
    "content", ["hello", "hello\n", '{"row": 1}\n', '{"id": "x"}\n', "\n\n", '{"row": 1, "key": "x"\n']
)
@pytest.mark.parametrize("flags", [[], ["--fresh"]])
def test_a_file_that_is_not_a_batchs_is_left_alone(tmp_path: Path, content: str, flags: list[str]) -> None:
    rows, out = write(tmp_path / "in.jsonl", plain(3)), tmp_path / "notes.txt"
    out.write_text(content)
    result = batch(rows, "-o", out, *flags)
    assert (result.status, out.read_text()) == (2, content)
    assert result.stderr.count("\n") == 1


def test_two_processes_do_not_write_one_output(tmp_path: Path) -> None:
    rows, out = write(tmp_path / "in.jsonl", [*plain(1), {"prompt": "forever"}]), tmp_path / "out.jsonl"
    with start(rows, "-o", out) as child:
        until(lambda: lines_in(out) == 1, child)
        second = batch(rows, "-o", out)
        child.kill()
    assert (second.status, "Another process is writing" in second.stderr) == (1, True)


# What fails


def test_an_engine_that_is_down_ends_the_run_and_fails_no_row(tmp_path: Path) -> None:
    rows = write(tmp_path / "in.jsonl", [*plain(2), *[{"prompt": "outage"}] * 40, *plain(2)])
    out = tmp_path / "out.jsonl"
    result = batch(rows, "-o", out)
    assert result.status == 5
    assert result.stderr.splitlines()[-2:] == [
        "Stopped after 2 of 44 rows. The same command goes on from there",
        "pixtral: The server is down. Try again later",
    ]
    assert lines_in(out) == 2


def test_a_bug_of_ours_is_reported_as_its_rows_failure(tmp_path: Path) -> None:
    result = batch(write(tmp_path / "in.jsonl", [*plain(1), {"prompt": "bug"}, *plain(1)]))
    assert result.status == 8
    assert [line["error"] is None for line in read(result.stdout)] == [True, False, True]
    assert "Row 2 failed: Internal error: KeyError" in result.stderr


def test_a_full_disk_is_one_line_and_what_was_written_is_whole(tmp_path: Path) -> None:
    rows, out = write(tmp_path / "in.jsonl", plain(40)), tmp_path / "out.jsonl"
    limited = ["bash", "-c", 'ulimit -f 4; exec "$@"', "bash", *COMMAND, str(rows), "-o", str(out), "-m", "demo"]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("out.jsonl cannot be written: File too large. " + GO_ON)
    assert out.read_bytes().endswith(b"}\n")
    kept = lines_in(out)
    assert 5 < kept < 40
    assert batch(rows, "-o", out).status == 0
    assert [line["row"] for line in read(out)] == list(range(1, 41))


def test_a_full_device_is_one_line(tmp_path: Path) -> None:
    rows = write(tmp_path / "in.jsonl", plain(3))
    result = batch(rows, "-o", "/dev/full", "-q")
    assert (result.status, result.stderr) == (
        1,
        "pixtral: /dev/full cannot be written: No space left on device. Choose another place: -o FILE\n",
    )
    with Path("/dev/full").open("w") as full:
        result = batch(rows, "-q", stdout=full)
    assert result.status == 1
    assert result.stderr.startswith("pixtral: The answer cannot be written: No space left on device")
    assert result.stderr.count("\n") == 1


def test_a_reader_that_leaves_ends_it_silently(tmp_path: Path) -> None:
    rows = write(tmp_path / "in.jsonl", [*plain(500), {"prompt": "forever"}])
    with start(rows) as child:
        assert child.stdout
        assert child.stderr
        child.stdout.readline()
        child.stdout.close()
        assert child.wait(120) == 0
        assert child.stderr.read() == b""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "A batch needs one file of rows"),
        (["a", "b"], "A batch needs one file of rows, not 2"),
        (["missing.jsonl"], "missing.jsonl cannot be read: No such file"),
        (["."], ". is a folder, no file of rows. Ask about its files: --glob './*' \"QUESTION\""),
        (["what is it?"], "There is no file of rows 'what is it?'. A question goes with the files of --glob"),
        (["--glob", "folder", "What?"], "No file matches folder. Those in the folder: --glob 'folder/*'"),
        (["rows", "-o", "o.xlsx"], "o.xlsx cannot be a spreadsheet. Name it .csv or .tsv"),
        (["empty"], "There are no rows in empty"),
        (["a.png"], "a.png is a picture or a document, no file of rows. For example: pixtral batch --glob"),
        (["-"], "There are no rows in stdin"),
        (["--glob", "*.nothing", "What?"], "No file matches *.nothing"),
        (["--glob", "*"], "There is no question"),
        (["--glob", "a.png", "b.png", "What?"], "--glob needs its pattern in quotes"),
        (["rows", "-o", "rows"], "would be written over"),
        (["rows", "-o", "nowhere/out"], "is not a directory"),
        (["rows", "--fresh"], "--fresh begins an output file anew"),
        (["rows", "-o", "out", "--fresh", "--retry-failed"], "--fresh forgets all answers, --retry-failed keeps"),
        (["rows", "--base-url", "http://127.0.0.1:9", "--device", "cpu"], "--device is for models on this machine"),
        (["rows", "--engine", "api", "--dtype", "float32"], "--dtype is for models on this machine"),
        (["rows", "--schema", ""], "The schema is empty"),
        (["rows", "--retry-failed"], "--retry-failed needs an output file"),
        (["-", "-o", "rows", "--retry-failed"], "a pipe comes once"),
        (["rows", "--schema", "{"], "The schema is not valid JSON"),
        (["rows", "--concurrency", "0"], "--concurrency"),
        (["rows", "--limit", "0"], "--limit"),
        (["rows", "-p", "a=b"], "--param fills a template"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").write_text("\n  \n")
    (tmp_path / "a.png").write_bytes(png())
    write(tmp_path / "rows", plain(1))
    before = sorted(tmp_path.iterdir())
    result = batch(*words)
    assert (result.status, result.stdout) == (2, "")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


# What is seen


@pytest.mark.parametrize(("columns", "seen"), [(100, "7 of 9 rows · "), (20, "7/9 · ")])
def test_a_terminal_sees_a_line_that_is_redrawn_and_wiped_away(tmp_path: Path, columns: int, seen: str) -> None:
    rows = write(tmp_path / "in.jsonl", [*plain(6), "{", {"prompt": "forever"}, *plain(1)])
    command = [*COMMAND, str(rows), "-o", str(tmp_path / "out.jsonl"), "-m", "demo"]
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
    with Terminal(columns, 24) as terminal, terminal.run(*command, env=env) as child:
        terminal.wait_for(seen)
        assert all(len(line) <= columns for line in terminal.lines)
        terminal.type(b"\x03")
        assert child.wait(120) == 130
        terminal.wait_for("from there" if columns > 50 else "goes on from")
        assert seen not in "\n".join(terminal.lines)
        assert "Row 7 failed" in " ".join(terminal.lines)


def test_no_escape_sequence_outside_of_a_terminal_and_nothing_at_all_when_quiet(tmp_path: Path) -> None:
    rows = write(tmp_path / "in.jsonl", ["{", {"prompt": "\x1b]52;c;x\x07\x9b2J\u202e", "id": "\x1b[2J\x9b\u202e"}])
    loud, quiet = batch(rows), batch(rows, "-q")
    for text in (loud.stderr, loud.stdout, quiet.stdout):
        assert not set("\x1b\x9b\u202e") & set(text)
    assert read(quiet.stdout)[1]["id"] == "\x1b[2J\x9b\u202e"
    assert quiet.stderr == "pixtral: 1 of 2 rows failed\n"


# With the model that ships inside, and through a server


def demo_rows(folder: Path) -> Path:
    asked = ["What shapes are there?", "Is there a circle?", "Describe the picture.", "How many shapes are there?"]
    pictures = [str(EXAMPLES / name) for name in ("shapes.png", "bars.png", "runs.png")]
    rows = [{"prompt": question, "images": [shown]} for question in asked for shown in pictures]
    return write(folder / "in.jsonl", [*rows, {"prompt": "Which is larger?", "images": pictures[:2]}])


def test_the_demo_answers_a_batch_as_one_row_at_a_time_and_a_server_as_it_does(tmp_path: Path) -> None:
    rows = demo_rows(tmp_path)
    words = ["batch", str(rows), "-q", "-m", "demo", "--temperature", "0", "--max-tokens", "40"]
    one = pixtral(*words, "--concurrency", "1")
    several = pixtral(*words, "--concurrency", "4")
    with serving(LocalEngine(demo_folder(), name="demo"), model="demo", running=4) as running:
        served = pixtral(*words, "--base-url", running.url)
    assert (one.status, several.status, served.status) == (0, 0, 0), served.stderr
    assert several.stdout == one.stdout
    assert [line["answer"] for line in read(served.stdout)] == [line["answer"] for line in read(one.stdout)]
    assert [line["usage"] for line in read(served.stdout)] == [line["usage"] for line in read(one.stdout)]
    assert "circle" in read(one.stdout)[0]["answer"]


@pytest.mark.slow
def test_the_demo_killed_and_resumed_says_what_it_says_undisturbed(tmp_path: Path) -> None:
    rows = demo_rows(tmp_path)
    rows.write_bytes(rows.read_bytes() * 4)
    whole, killed = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    real = [sys.executable, "-m", "pixtral_cli", "batch"]
    with start(rows, "-o", whole, "-q", command=real) as child:
        assert child.wait(600) == 0
    chance = Random(7)
    for time_ in range(4):
        with start(rows, "-o", killed, "-q", command=real) as child:
            wanted = 9 * time_ + chance.randrange(8)
            until(lambda wanted=wanted: lines_in(killed) > wanted, child)
            time.sleep(chance.random() / 20)
            child.kill()
    assert lines_in(killed) < 52
    with start(rows, "-o", killed, "-q", command=real) as child:
        assert child.wait(600) == 0
    assert killed.read_bytes() == whole.read_bytes()


def test_help_loads_nothing_heavy() -> None:
    code = "import sys\nfrom pixtral_cli.command_line import run\nrun(['batch', '--help'])\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--glob" in done.stdout
    assert not {"torch", "PIL", "rich", "httpx2", "jsonschema"} & {name.split(".")[0] for name in done.stderr.split()}
