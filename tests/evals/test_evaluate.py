"""`pixtral eval` as a user meets it: streams, exit statuses, files, what is shown and compared."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import typer

from pixtral_cli import command_line, config
from pixtral_cli.chat.message import Message
from pixtral_cli.cli import evaluate
from pixtral_cli.errors import PixtralError
from pixtral_cli.evals import task_registry
from pixtral_cli.server.http.access import AccessRules
from tests.evals.answering import Answering
from tests.evals.sets import folder
from tests.server.serving import serving

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """`pixtral eval WORDS…`: status, stdout, stderr."""
    app = typer.Typer(rich_markup_mode=None)
    app.add_typer(evaluate.app, name="eval")

    def call(*words: str) -> tuple[int, str, str]:
        try:
            status = command_line._invoke(app, ["eval", *words])
        except PixtralError as error:
            status = command_line._report(error)
        return status, *capsys.readouterr()

    return call


def runs() -> list[Path]:
    return sorted((config.paths().data / "evals").iterdir())


def knows_peru(messages: Sequence[Message]) -> str:
    return "It is Peru.\nFinal Answer: Peru"


def test_alone_it_says_how_it_is_used(call: Call) -> None:
    status, out, _ = call()
    assert status == 0
    assert "pixtral eval TASK" in out
    assert "compare" in out
    assert {line.split()[0] for line in call("tasks")[1].splitlines()} >= {"mmmu", "chartqa", "demo-shapes"}


def test_a_run_prints_its_scores_on_stdout_and_its_progress_on_stderr(call: Call) -> None:
    status, out, err = call("demo-shapes", "--model", "demo", "--limit", "4")
    assert status == 0
    assert out.startswith("Demo: coloured shapes: demo, 4 rows\n4 questions")
    assert re.search(r"right answers +\d+\.\d", out)
    assert "0 of 4 rows" in err
    assert "4 of 4 rows · right answers" in err
    again = call("demo-shapes", "--model", "demo", "--limit", "4")
    assert again[1] == out
    assert len(runs()) == 1
    assert call("list")[1].count("\n") == 1


def test_the_list_in_json_has_values(call: Call) -> None:
    call("demo-shapes", "--model", "demo", "--limit", "4", "--seed", "7", "-q")
    (row,) = json.loads(call("list", "--format", "json")[1])["runs"]
    score = row.pop("score")
    assert 0 <= score <= 1
    assert datetime.fromisoformat(row.pop("changed")).utcoffset() == timedelta(0)
    assert row.pop("settings")["seed"] == 7
    assert row == {
        "run": runs()[0].name, "task": "demo-shapes", "model": "demo", "metric": "stated", "percent": True,
        "questions": 4, "rows": 4, "rows_in_all": 4,
    }  # fmt: skip
    assert f"{100 * score:6.1f}  4 questions" in call("list")[1]


def test_the_record_says_everything_that_decides_an_answer(call: Call) -> None:
    call("demo-shapes", "--model", "demo", "--limit", "1", "--seed", "7", "--max-tokens", "9", "-q")
    written = json.loads((runs()[0] / "run.json").read_text())
    about = written["about"]
    assert about["sampling"] == {"temperature": 0.0, "top_p": 1.0, "seed": 7, "stop": [], "max_tokens": 9}
    assert about["model"]["revision"].startswith("sha256:")
    assert about["data"]["revision"].startswith("sha256:")
    assert about["prompts"]["source"] == "pixtral"
    assert [{"pixtral", "python", "torch", "mistral_inference"} <= set(one) for one in written["versions"]] == [True]
    assert "server" not in written["versions"][0]
    record = json.loads((runs()[0] / "answers.jsonl").read_text())
    rows = (task_registry.get_task("demo-shapes").folder / "rows.jsonl").read_text().splitlines()  # type: ignore[operator]
    assert record["messages"][0]["parts"][1] == json.loads(rows[record["row"]])["question"]


def test_any_server_can_be_measured_and_two_runs_be_compared(call: Call, tmp_path: Path) -> None:
    data = str(folder("chartqa", tmp_path / "data"))
    wanted = ["chartqa", "--data", data, "--concurrency", "2", "-q"]
    with serving(Answering(knows_peru)) as one, serving(Answering(lambda messages: "Final Answer: 25%")) as two:
        assert call(*wanted, "--base-url", f"{one.url}/v1")[0] == 0
        status, out, err = call(*wanted, "--base-url", f"{two.url}/v1")
    assert (status, err) == (0, "")
    assert re.search(r"relaxed correctness, explicit prompt +50\.0  \[0\.0, 100\.0\]", out)
    assert "Pixtral report, Pixtral 12B                     81.8" in out
    assert "human_test" in out
    status, out, _ = call("compare", *(run.name for run in runs()))
    assert status == 0
    assert "p = 1.000 (McNemar, 2 questions)" in out
    assert "Pixtral report" in out


def test_what_the_servers_run_is_recorded(call: Call, tmp_path: Path) -> None:
    data = str(folder("mm-mt-bench", tmp_path / "data"))
    judge = Answering(lambda messages: "[[7]]")
    with serving(Answering(knows_peru)) as running, serving(judge) as judging:
        words = ("--base-url", running.url, "--judge", "fake", "--judge-url", f"{judging.url}/v1")
        assert call("mm-mt-bench", "--data", data, *words, "-q")[0] == 0
    (versions,) = json.loads((runs()[0] / "run.json").read_text())["versions"]
    for server in (versions["server"], versions["judge"]):
        assert server["pixtral"] == server["version"] == versions["pixtral"]
        assert server["torch"] == versions["torch"]


def test_a_run_that_goes_on_with_other_versions_says_so_and_records_both(call: Call) -> None:
    call("demo-shapes", "--model", "demo", "--limit", "3", "-q")
    about, answers = runs()[0] / "run.json", runs()[0] / "answers.jsonl"
    written = json.loads(about.read_text())
    now = written["versions"][0]["torch"]
    written["versions"][0]["torch"] = "1.0"
    about.write_text(json.dumps(written))
    answers.write_text("".join(answers.read_text().splitlines(keepends=True)[:2]))
    assert "; unfinished: 2 of 3 rows" in call("show", runs()[0].name)[1]
    assert "rows so far</td><td class=n>2</td><td>of 3<" in (runs()[0] / "report.html").read_text()
    _, out, err = call("demo-shapes", "--model", "demo", "--limit", "3")
    assert f"Not as when this run was begun: torch 1.0 → {now}\n" in err
    assert "unfinished" not in out
    assert [one["torch"] for one in json.loads(about.read_text())["versions"]] == ["1.0", now]
    assert "Not as when" not in call("demo-shapes", "--model", "demo", "--limit", "3")[2]


def test_more_rows_than_there_are_are_all_of_them(call: Call) -> None:
    call("demo-reading", "--model", "demo", "--limit", "2", "-q")
    out = call("demo-reading", "--model", "demo", "-q")[1]
    assert call("demo-reading", "--model", "demo", "--limit", "1000", "-q")[1] == out
    assert len(runs()) == 2
    _, out, _ = call("compare", *(run.name for run in runs()))
    assert "What differs:\n  limit " in out
    assert "2  |  null" in out or "null  |  2" in out


def test_a_folder_that_holds_answers_of_something_else_is_left_alone(call: Call, tmp_path: Path) -> None:
    own = tmp_path / "answers.jsonl"
    own.write_text("mine\n")
    for fresh in ((), ("--fresh",)):
        status, _, err = call("demo-shapes", "--model", "demo", "--limit", "1", "-o", str(tmp_path), *fresh)
        assert status == 2
        assert "belongs to no run" in err
    assert [file.name for file in tmp_path.iterdir()] == ["answers.jsonl"]
    assert own.read_text() == "mine\n"


def test_ctrl_c_ends_it_at_once_and_says_how_it_goes_on(tmp_path: Path) -> None:
    data = str(folder("chartqa", tmp_path / "data"))
    asked, over = threading.Event(), threading.Event()

    def answer(messages: Sequence[Message]) -> str:
        if "share" in messages[0].text:
            asked.set()
            over.wait()
        return "Final Answer: Peru"

    with serving(Answering(answer)) as running:
        command = [sys.executable, "-m", "pixtral_cli", "eval", "chartqa", "--data", data, "--base-url", running.url]
        with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                assert asked.wait(120)
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=120)
            finally:
                over.set()
                process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.endswith("\nStopped after 1 of 2 rows. The same command goes on from there\n")


def test_published_prompts_are_asked_and_recorded(call: Call, tmp_path: Path) -> None:
    (tmp_path / "chartqa.py").write_text("PROMPT = 'Say it.'")
    data = str(folder("chartqa", tmp_path / "data"))
    engine = Answering(knows_peru)
    with serving(engine) as running:
        out = call("chartqa", "--data", data, "--prompts", str(tmp_path), "--base-url", f"{running.url}/v1", "-q")[1]
    assert engine.asked[0][0].text == "Which is highest?\nSay it."
    assert "published prompts" in out


def test_a_judge_of_its_own_with_its_own_key(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = str(folder("mm-mt-bench", tmp_path / "data"))
    judge = Answering(lambda messages: "Fine. Rating: [[7]]")
    monkeypatch.setenv("PIXTRAL_JUDGE_KEY", "secret")
    with serving(Answering(knows_peru)) as running, serving(judge, rules=AccessRules(api_key="secret")) as judging:
        status, out, err = call(
            "mm-mt-bench", "--data", data, "--base-url", f"{running.url}/v1", "--judge", "fake", "--judge-url", judging.url
        )  # fmt: skip
    assert status == 0, err
    assert re.search(r"judge's rating +7\.00", out)
    assert len(judge.asked) == 2
    assert "secret" not in "".join(file.read_text() for file in runs()[0].glob("*.json*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "There is no task named 'nonsense'. Tasks: "),
        (["demo-shapez"], "There is no task named 'demo-shapez'. Did you mean demo-shapes?"),
        (["mm-mt-bench", "--model", "demo"], "needs a model that judges"),
        (["humaneval", "--model", "demo"], "--allow-exec"),
        (["chartqa", "--model", "demo", "--data", "/nowhere"], "not a folder"),
        (
            ["demo-shapes", "--base-url", "http://127.0.0.1:9", "--device", "cpu"],
            "--device is for models on this machine",
        ),
        (["demo-shapes", "--model", "demo", "--judge", "x"], "demo-shapes has metrics and needs no judge"),
        (["demo-shapes", "--model", "demo", "--output", __file__], "test_evaluate.py is a file"),
        (["demo-shapes", "--engine", "api", "--dtype", "float32"], "--dtype is for models on this machine"),
        (["show", "nothing"], "There is no run"),
        (["compare", "nothing"], "There is no run"),
        (["demo-shapes", "--limit", "0"], "--limit"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(call: Call, words: list[str], said: str) -> None:
    status, out, err = call(*words)
    assert (status, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


def test_failed_questions_are_the_exit_status(call: Call, tmp_path: Path) -> None:
    data = folder("mt-bench", tmp_path / "data")
    (data / "rows.jsonl").write_text('{"image": "none.png", "question": "?", "answer": "1", "kind": "count"}\n')
    status, out, err = call("demo-shapes", "--model", "demo", "--data", str(data))
    assert status == 8
    assert "failed" in out
    assert "Failed questions: 1" in err


def test_the_page_shows_wrong_answers_first_with_their_pictures_and_nothing_can_run_in_it(
    call: Call, tmp_path: Path
) -> None:
    data = str(folder("chartqa", tmp_path / "data"))
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\nFinal Answer: Peru"
    with serving(Answering(lambda messages: evil)) as running:
        call("chartqa", "--data", data, "--base-url", f"{running.url}/v1", "-q")
    status, out, _ = call("show", runs()[0].name, "--output", str(tmp_path / "page.html"))
    assert status == 0
    assert "50.0" in out
    page = (tmp_path / "page.html").read_text()
    assert page.index("What share?") < page.index("Which is highest?")
    assert page.count("data:image/webp;base64,") == 2
    assert "<script" not in page
    assert "onerror=alert(1)&gt;" in page
    assert "default-src 'none'" in page
    assert page.count('<article class="good') == 1
    call("show", str(runs()[0]), "--questions", "1")
    assert (runs()[0] / "report.html").read_text().count("<article") == 1


def test_nothing_is_left_beside_a_run(call: Call) -> None:
    call("demo-reading", "--model", "demo", "--limit", "2", "-q")
    assert {file.name for file in runs()[0].iterdir()} - {".lock"} == {"run.json", "answers.jsonl", "images"}


def test_a_run_that_cannot_be_kept_says_where_and_what_to_do(call: Call) -> None:
    config.paths().data.mkdir(parents=True)
    (config.paths().data / "evals").write_text("a file")
    status, out, err = call("demo-shapes", "--model", "demo", "--limit", "1", "-q")
    assert (status, out) == (1, "")
    assert "The run cannot be kept in " in err
    assert err.endswith(": not a directory. Name another folder: -o DIR\n")


def test_a_run_that_cannot_be_read_hides_no_other_from_the_list(call: Call) -> None:
    call("demo-reading", "--model", "demo", "--limit", "2", "-q")
    gone, damaged = (config.paths().data / "evals" / name for name in ("gone", "damaged"))
    for broken in (gone, damaged):
        broken.mkdir()
    about = json.loads(next(run for run in runs() if run.name.startswith("demo")).joinpath("run.json").read_text())
    about["about"]["task"] = "signs"
    (gone / "run.json").write_text(json.dumps(about))
    (damaged / "run.json").write_text("{")
    status, out, err = call("list")
    assert (status, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert "no task named 'signs'" in lines["gone"]
    assert "damaged" in lines["damaged"]
    assert any(name.startswith("demo-reading") and "2 questions" in line for name, line in lines.items())


def test_the_list_says_when_and_how_each_run_ran_and_the_beginning_of_a_name_finds_it(call: Call) -> None:
    for seed in ("7", "8"):
        call("demo-reading", "--model", "demo", "--limit", "1", "--seed", seed, "--device", "cpu", "-q")
    lines = call("list")[1].splitlines()
    assert all(re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d ", line) for line in lines)
    assert ["seed=7" in line for line in lines] == [True, False]
    assert all("device=cpu" in line for line in lines)
    first = lines[0].split()[0]
    status, out, _ = call("show", first[:-2])
    assert (status, out.startswith("Demo: ")) == (0, True)
    status, out, err = call("show", "demo-reading")
    assert (status, out) == (2, "")
    assert f"2 runs begin with demo-reading: {', '.join(sorted(line.split()[0] for line in lines))}" in err
    assert "There is no run in" in call("show", "nothing")[2]


def test_a_run_that_is_complete_says_so_once(call: Call) -> None:
    call("demo-reading", "--model", "demo", "--limit", "2")
    assert call("demo-reading", "--model", "demo", "--limit", "2")[2].count("2 of 2 rows") == 1


def completed(words: str) -> list[str]:
    """What Tab offers for the last of the words, as bash asks for it."""
    given = {"COMP_WORDS": f"pixtral {words}", "COMP_CWORD": str(words.count(" ") + 1)}
    asked = {**os.environ, **given, "_PIXTRAL_COMPLETE": "complete_bash"}
    command = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'pixtral'; from pixtral_cli.__main__ import main; main()",
    ]
    return subprocess.run(command, env=asked, capture_output=True, text=True, check=False).stdout.split()


def test_tab_offers_tasks_and_runs(call: Call) -> None:
    call("demo-reading", "--model", "demo", "--limit", "2", "-q")
    (run,) = runs()
    (run.parent / "$(touch pwned)").mkdir()
    (run.parent / "$(touch pwned)" / "run.json").write_text((run / "run.json").read_text())
    assert completed("eval demo-") == ["demo-charts", "demo-reading", "demo-shapes"]
    assert completed("eval co") == ["compare"]
    assert completed("eval show ") == [run.name]
    assert completed(f"eval compare {run.name} demo-") == [run.name]
