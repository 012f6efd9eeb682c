"""How every command ends: exit statuses, one line on stderr, signals."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pixtral_cli.command_line import run


def pixtral(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pixtral_cli", *arguments]
    return subprocess.run(command, text=True, check=False, timeout=240, **{"capture_output": True, **options})  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nope"], "pixtral: No such command 'nope'. See: pixtral --help"),
        (["run", "demo"], "pixtral: No such command 'run'. Here it is: pixtral chat -m MODEL"),
        (["models", "version"], "pixtral: No such command 'version'"),
        (["ask", "--nope"], "pixtral: No such option: --nope"),
        (["ask", "hi", "--temperature", "hot"], "pixtral: Invalid value for '--temperature'"),
        (["models", "verify", "no-such-model"], None),
    ],
)
def test_a_wrong_command_line_is_one_line_on_stderr(
    arguments: list[str], line: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(arguments)
    out, err = capsys.readouterr()
    assert status == (2 if line else 4)
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith(line or "pixtral: ")


def test_a_question_without_quotes_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ask", "what", "is", "this"]) == 2
    assert capsys.readouterr().err.endswith('Quote the question: pixtral ask "What is this?"\n')


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["ask", "-n", "3", "a name"], "So many answers: --n 3"),
        (["ask", "a name", "-m", "demo", "-n", "5"], "So many answers: --n 5"),
        (["ask", "-n", "3"], "So many answers: --n 3"),
        (["show", "x"], "Here it is: pixtral models show MODEL"),
        (["logout"], "Here it is: pixtral login --remove"),
        (["search", "x"], "Here it is: pixtral sessions search WORDS"),
        (["create", "x"], "Here it is: pixtral templates edit NAME"),
    ],
)
def test_what_other_programs_have_is_told_by_its_name_here(
    arguments: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err.endswith(f". {hint}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["models", "--format", "json", "list"], "--format is given before 'list'. Put it after: pixtral models list"),
        (["sessions", "--limit", "1", "list"], "--limit is given before 'list'. Put it after: pixtral sessions list"),
        (["sessions", "--all", "list"], "--all is given before 'list'. Put it after: pixtral sessions list"),
        (
            ["config", "--format", "json", "get", "seed"],
            "--format is given before 'get'. Put it after: pixtral config get",
        ),
        (
            ["models", "--format", "json", "path"],
            "--format is given before 'path'. pixtral models path has no such option: leave it out",
        ),
    ],
)
def test_an_option_that_a_subcommand_would_not_see_is_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert capsys.readouterr().err == f"pixtral: {said}\n"


def test_a_choice_of_words_is_on_one_line_unescaped(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion"]) == 2
    assert "Choose from: bash, zsh, fish, powershell. See: " in capsys.readouterr().err


def test_a_list_onto_a_full_disk_names_no_option_it_lacks() -> None:
    with Path("/dev/full").open("w") as full:
        done = pixtral("models", stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "pixtral: Cannot write to stdout: No space left on device\n")


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_help_into_a_pipe_that_closes_is_silent() -> None:
    done = pixtral("--help", stdout=_closed_pipe(), capture_output=False, stderr=subprocess.PIPE)
    assert done.stderr == ""
    assert done.returncode == 0


def test_help_onto_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = pixtral("--help", stdout=full, capture_output=False, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "pixtral: Cannot read or write: No space left on device\n"


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_waiting_for_input_ends_with_its_status(sent: signal.Signals, status: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "pixtral_cli", "ask", "hi", "-m", "demo"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stderr
    assert "stdin" in child.stderr.readline()
    child.send_signal(sent)
    out, err = child.communicate(timeout=120)
    assert (child.returncode, out) == (status, "")
    assert "Traceback" not in err


def test_what_nohup_started_outlives_its_terminal() -> None:
    command = ["nohup", sys.executable, "-m", "pixtral_cli", "ask", "hi", "-m", "demo", "--no-log"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stderr
    assert "stdin" in child.stderr.readline()
    child.send_signal(signal.SIGHUP)
    out, err = child.communicate("there", timeout=120)
    assert (child.returncode, bool(out)) == (0, True), err


INTERRUPTED_IMPORT = """
import os, sys

class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), 2)

sys.meta_path.insert(0, Interrupted())
from pixtral_cli.__main__ import main
main(["--version"])
"""


@pytest.mark.parametrize(
    "module",
    [
        "signal",
        "pixtral_cli.command_line",
        "typing",
        "pixtral_cli.errors",
        "pixtral_cli.cli.app",
        "typer",
        "typer.main",
    ],
)
def test_ctrl_c_while_the_program_is_still_being_loaded_is_silent(module: str) -> None:
    command = [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path!r}\n{INTERRUPTED_IMPORT}", module]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored, where the tests run in the background
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


IN_A_DEL = """
import os, sys, time
from pixtral_cli import command_line

class Deleted:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))
        time.sleep(0)

def invoke(app, argv):
    Deleted()
    time.sleep(600)

command_line._invoke = invoke
command_line.main(["ask"])
"""


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_comes_where_nothing_can_be_raised_is_not_lost(sent: signal.Signals, status: int) -> None:
    command = [sys.executable, "-c", IN_A_DEL, str(int(sent))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PIXTRAL_DEBUG", "1")
    assert run(["config", "get", "nope"]) == 2
    assert "Traceback" in capsys.readouterr().err


def _closed_pipe() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def test_a_fault_of_ours_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pixtral_cli.config.overview.describe", lambda: 1 / 0)
    assert run(["config"]) == 1
    err = capsys.readouterr().err
    assert err == "pixtral: Internal error: ZeroDivisionError. PIXTRAL_DEBUG=1 shows where\n"
