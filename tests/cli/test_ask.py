"""`pixtral ask` as people and scripts run it: the whole program, on the demo checkpoint, about pictures drawn here."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from pixtral_cli.terminal.repl.commands.settings import SETTINGS
from tests.terminal.emulator import Terminal

ASK = [sys.executable, "-m", "pixtral_cli", "ask"]
WHAT = "What is in the image?"


@pytest.fixture
def circle(tmp_path: Path) -> Path:
    picture = Image.new("RGB", (320, 240), "white")
    ImageDraw.Draw(picture).ellipse((100, 60, 220, 180), fill="red")
    picture.save(tmp_path / "circle.png")
    return tmp_path / "circle.png"


@pytest.fixture
def square(tmp_path: Path) -> Path:
    picture = Image.new("RGB", (320, 240), "white")
    ImageDraw.Draw(picture).rectangle((100, 60, 220, 180), fill="blue")
    picture.save(tmp_path / "square.png")
    return tmp_path / "square.png"


def ask(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"stdin": subprocess.DEVNULL, "encoding": "utf-8", "timeout": 120, **options}
    if "input" in options:
        del options["stdin"]
    return subprocess.run([*ASK, *map(str, arguments)], capture_output=True, check=False, **options)


def test_it_says_what_is_in_a_picture_and_goes_on_about_it(circle: Path) -> None:
    first = ask(WHAT, "--image", circle, "-v")
    assert first.returncode == 0, first.stderr
    assert "red circle" in first.stdout.lower()
    assert first.stdout.endswith("\n")
    note, counted, timed = first.stderr.splitlines()
    assert note.startswith("Using the small built-in model; ")
    assert counted.startswith("prompt ")
    assert "of 128,000 of the context window used" in counted
    assert "first token" in timed
    second = ask("What colour is it?", "-c", "-m", "demo", "-q")
    assert "red" in second.stdout.lower()
    assert second.stderr == ""


def test_image_bytes_on_stdin_and_json_in_a_file(square: Path, tmp_path: Path) -> None:
    with square.open("rb") as stdin:
        done = ask(WHAT, "--image", "-", "-m", "demo", "--format", "json", "-o", tmp_path / "told.json", stdin=stdin)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    told = json.loads((tmp_path / "told.json").read_text())
    assert "blue square" in told["answer"].lower()
    assert told["model"] == "demo"
    assert told["finish_reason"] == "stop"
    assert told["usage"]["image_tokens"] > 0
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]
    assert 0 < told["timings"]["ttft"] < told["timings"]["total"]


def test_piped_text_is_part_of_the_question_and_a_missing_block_loses_no_answer() -> None:
    done = ask("-m", "demo", "-x", "html", "-n", input="Who are you?\n")
    assert (done.returncode, done.stdout) == (1, "")
    answer, error = done.stderr.splitlines()
    assert "demo" in answer
    assert error == "pixtral: The answer holds no code block. Ask for code in a fenced block"


def test_a_picture_that_is_asked_as_text_is_remarked_on(circle: Path) -> None:
    done = ask(str(circle), "-m", "demo", "--dry-run", "--no-stdin")
    assert done.stderr.endswith(f"is sent as text. To send the picture: --image {circle}\n")
    done = ask(f"What is in {circle}?", "-m", "demo", "--dry-run", "--no-stdin")
    assert done.stderr.endswith(f"is sent as text. To send the picture: --image {circle}\n")


def test_a_dry_run_counts_the_images_in_their_order_and_loads_no_torch(circle: Path, square: Path) -> None:
    code = (
        "import sys; from pixtral_cli.command_line import run; "
        "status = run(sys.argv[1:]); print('torch' in sys.modules); sys.exit(status)"
    )
    arguments = ["ask", "Is {2} beside {1}?", "--image", str(square), "-a", str(circle), "-m", "demo", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    model, first, second, text, question, prompt, left, torch = done.stdout.splitlines()
    assert model.split() == ["model", "demo"]
    assert first.startswith("image {2}  circle.png  320×240 → ")
    assert second.startswith("image {1}  square.png  320×240 → ")
    assert (text, question) == ("text     12 characters", "         Is  beside ?")
    assert prompt.startswith("prompt   ")
    assert left.endswith("of 128,000 tokens left for the answer")
    assert torch == "False"
    assert not (Path(os.environ["PIXTRAL_HOME"]) / "data").exists()


def test_an_error_is_broken_between_words_on_a_terminal() -> None:
    with Terminal(40, 10) as terminal:
        assert terminal.run(*ASK, "x", "--top-logprobs", "3").wait(240) == 2
        terminal.wait_for("Add")
    assert terminal.lines == ["pixtral: --top-logprobs goes with", "--logprobs. Add --logprobs"]


def test_on_a_terminal_it_reads_no_stdin_and_draws(circle: Path) -> None:
    with Terminal(40, 10) as terminal:
        child = terminal.run(*ASK, WHAT, "--image", str(circle), "-m", "demo", env={**os.environ, "TERM": "xterm"})
        assert child.wait(240) == 0
    assert "red circle" in terminal.lines[-1].lower()
    assert len(terminal.lines) == 1, "the spinner left a trace"
    assert b"demo is at work" in terminal.raw


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        ([], 2, 'There is no question. For example: pixtral ask "What is this?" --image photo.jpg'),
        (["x", "--image", "none.png"], 3, "none.png: no such file or directory. "),
        (["x {2}", "--image", "circle.png"], 2, "The question places an image {2}, but only one image came with it. "),
        (["x", "-m", "no-such-model"], 4, "There is no model named 'no-such-model'. "),
        (["x", "-m", "demo", "--engine", "steam"], 2, "There is no engine named 'steam'. Engines: local, vllm, api"),
        (["x", "--session", ""], 2, "--session needs an id, and it is empty. "),
        (["x", "-p", "language=French"], 2, "--param fills a template, and none is named. "),
        (["x", "--base-url", "http://h", "--keep-alive", "1m"], 2, "--keep-alive is for models on this machine, and "),
        (
            ["x", "--engine", "api", "--device", "cpu"],
            2,
            "--device is for models on this machine, and another's is to answer. Leave it out",
        ),
        (["x", "-m", "demo", "--stop", ""], 2, "--stop is empty. Give the text before which the answer is to end"),
        (["x", "-m", "demo", "--seed", str(2**63)], 2, f"The seed must fit in 64 bits, unlike {2**63}"),
        (["x", "-m", "demo", "-o", "."], 2, ". is a directory. Name a file: -o FILE"),
        (["x", "-m", "demo", "--session", "zzz"], 2, "There is no session 'zzz'. "),
        (["x", "-m", "demo", "--max-tokens", "200000", "--dry-run"], 6, "The prompt takes 4 tokens and 200,000 "),
    ],
)
def test_a_mistake_is_one_line_and_its_status(
    arguments: list[str], status: int, line: str, circle: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from pixtral_cli.command_line import run

    monkeypatch.chdir(circle.parent)
    monkeypatch.setattr(sys, "stdin", None)
    assert run(["ask", *arguments, "-q"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"pixtral: {line}")
    assert err.count("\n") == 1


def test_sampling_flags_change_the_answer_and_senseless_ones_are_named(circle: Path) -> None:
    """With so strong a reward for what was said already the demo repeats the question."""
    usual = ask(WHAT, "--image", circle, "-n", "-m", "demo").stdout
    other = ask(WHAT, "--image", circle, "-n", "-m", "demo", "--repetition-penalty", 0.01, "--max-tokens", 12).stdout
    same = ask(WHAT, "--image", circle, "-n", "-m", "demo", "--top-k", 1, "--temperature", 2).stdout
    assert usual == same != other
    for flag, value in (("--top-k", -1), ("--min-p", 1.1), ("--repetition-penalty", 0), ("--presence-penalty", 3)):
        wrong = ask(WHAT, flag, value)
        assert wrong.returncode == 2
        assert flag in wrong.stderr


def test_a_closed_stdin_and_a_closed_stdout_do_no_harm() -> None:
    command = " ".join(f"'{word}'" for word in [*ASK, "x", "-m", "demo", "--dry-run", "-q"])
    done = subprocess.run(["sh", "-c", f"{command} <&-"], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    done = subprocess.run(["sh", "-c", f"{command} >&-"], capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "pixtral: The answer cannot be written: stdout is closed. Write it to a file: -o FILE\n",
    )


def test_a_home_that_holds_nothing_is_reported_and_does_not_keep_from_answering(circle: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pixtral_cli", "ask", "What is in the image?", "-a", str(circle), "-m", "demo"],
        env={**os.environ, "PIXTRAL_HOME": "/dev/null/nowhere"}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stdout.strip()
    assert "This conversation is not being saved." in done.stderr


def test_dev_stdout_is_stdout_and_no_file_to_replace(circle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pixtral_cli", "ask", "What is it?", "-a", str(circle), "-m", "demo", "-n"]
    with (tmp_path / "both").open("w") as both:
        print("before", file=both, flush=True)
        subprocess.run([*command, "-o", "/dev/stdout"], stdout=both, stdin=subprocess.DEVNULL, check=True)
    assert len((tmp_path / "both").read_text().removeprefix("before\n").splitlines()) == 1


def test_a_template_asks_with_its_placeholders_filled(home: Path) -> None:
    folder = home / "pixtral" / "templates"
    folder.mkdir(parents=True)
    (folder / "colour.toml").write_text('prompt = "What color is the $thing? $input"\nmax_tokens = 3\n')
    said = ask("-t", "colour", "-p", "thing=circle", "--dry-run", "--format", "json", "--no-stdin", "-m", "demo")
    assert json.loads(said.stdout)["text"] == "What color is the circle?"
    assert "Give it: -p thing=VALUE" in ask("-t", "colour", "--no-stdin").stderr
    assert "--param must be NAME=VALUE" in ask("-t", "colour", "-p", "thing", "--no-stdin").stderr


def test_a_page_of_a_scan_and_of_a_pdf_is_asked_about(tmp_path: Path, circle: Path) -> None:
    pages = [Image.new("RGB", (320, 240), "white"), Image.open(circle).convert("RGB")]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    done = ask(WHAT, "--image", f"{tmp_path}/scan.tif#2", "-m", "demo")
    assert (done.returncode, done.stdout.lower().count("red circle")) == (0, 1), done.stderr
    pages[0].save(tmp_path / "two.pdf", save_all=True, append_images=pages[1:])
    planned = ask("Compare {1} and {2}", "--image", tmp_path / "two.pdf", "-m", "demo", "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "two.pdf#2" in planned.stdout
    assert "all 2 pages are used" in planned.stderr


def test_a_seed_below_zero_is_one_wherever_it_is_given() -> None:
    assert ask("hi", "-m", "demo", "-n", "--seed", "-1").returncode == 0
    assert SETTINGS["seed"].read("-1") == -1
