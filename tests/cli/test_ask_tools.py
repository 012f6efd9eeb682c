"""`pixtral ask --tool`: the whole program against a server whose model calls tools; each call is shown and asked about."""

import importlib.util
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pexpect
import pytest

from pixtral_cli import command_line as main
from pixtral_cli import config
from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.extras import install_command
from pixtral_cli.sessions.library import Sessions
from tests.chat.test_tool_engine import Scripted
from tests.server.serving import Running, png, serving

ASK = [sys.executable, "-m", "pixtral_cli", "ask"]
CROP = ("crop", {"image": 1, "left": 0, "top": 0, "right": 50, "bottom": 100})


@pytest.fixture
def engine() -> Scripted:
    return Scripted([CROP])


@pytest.fixture
def running(engine: Scripted) -> Iterator[Running]:
    with serving(engine) as running:
        yield running


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    (tmp_path / "x.png").write_bytes(png(400, 200))
    return tmp_path / "x.png"


def ask(running: Running, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*ASK, "what?", "--base-url", running.url, "-m", "fake", "-n", *arguments]
    return subprocess.run(
        command, capture_output=True, check=False, stdin=subprocess.DEVNULL, encoding="utf-8", timeout=120
    )


def test_the_demo_is_said_not_to_know_tools(running: Running, picture: Path) -> None:
    command = [*ASK, "what is this?", "--image", str(picture), "-m", "demo", "-n", "--no-stdin"]
    told = {
        flags: subprocess.run([*command, *flags], capture_output=True, check=True, encoding="utf-8", timeout=240).stderr
        for flags in ((), ("--tool", "crop", "--yes-tools"))
    }
    assert ["not trained to call tools" in text for text in told.values()] == [False, True]
    assert "not trained" not in ask(running, "--image", str(picture), "--tool", "crop", "--yes-tools").stderr


def test_the_model_looks_closer_by_itself(running: Running, engine: Scripted, picture: Path) -> None:
    done = ask(running, "--image", str(picture), "--tool", "crop", "--yes-tools")
    assert (done.returncode, done.stdout) == (0, "Let me see. Done.\n")
    assert "Tool: crop(image=1, left=0, top=0, right=50, bottom=100)" in done.stderr
    assert "1 picture" in done.stderr
    assert [image.size for message in engine.seen[1][0] for image in message.images] == [(400, 200), (200, 200)]


def test_a_pythons_file_functions_are_tools(running: Running, engine: Scripted, tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text('def roll(sides: int) -> int:\n    """Roll a die."""\n    return sides\n')
    engine.rounds = [[("roll", {"sides": 6})]]
    done = ask(running, "--tool", str(tmp_path / "t.py"), "--yes-tools", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert engine.seen[1][0][-1].text == "6"
    assert engine.seen[0][1].tools[0].description == "Roll a die."


def test_a_follow_up_by_a_new_process_has_the_calls_of_the_turn_before(
    running: Running, engine: Scripted, picture: Path, tmp_path: Path
) -> None:
    (tmp_path / "t.py").write_text("import os\ndef key() -> str:\n    return str(len(os.environ['A_SECRET']))\n")
    engine.rounds = [[CROP, ("key", {})]]
    tools = ["--tool", "crop", "--tool", str(tmp_path / "t.py"), "--yes-tools"]
    command = [*ASK, "--no-stdin", "--base-url", running.url, "-m", "fake"]
    secret = {**os.environ, "A_SECRET": "hush-hush"}
    for words in (["what?", "--image", str(picture), *tools], ["and?", "-c"]):
        subprocess.run([*command, *words], check=True, capture_output=True, timeout=120, env=secret)
    (_, _), (second, _), (follow_up, _) = engine.seen
    assert [each.role for each in follow_up] == ["user", "assistant", "tool", "tool", "user", "assistant", "user"]
    assert [follow_up[0].text, follow_up[3].text, follow_up[-1].text] == ["what?", "9", "and?"]
    for before, after in zip(second, follow_up, strict=False):
        assert (before.role, before.text, before.tool_calls) == (after.role, after.text, after.tool_calls)
        assert [image.key for image in before.images] == [image.key for image in after.images]
    kept = b"".join(file.read_bytes() for file in config.paths().data.rglob("*") if file.is_file())
    assert b"Let me see." in kept
    assert b"hush-hush" not in kept
    shown = subprocess.run([*ASK[:-1], "sessions", "export", *_newest()], capture_output=True, check=True, text=True)
    assert "crop(" in shown.stdout
    assert shown.stdout.count("data:image/png") == 2


def _newest() -> list[str]:
    return [Sessions(config.paths().data).list()[0].id]


MCP = f"{shlex.quote(sys.executable)} -m tests.chat.failing_mcp_server"


def test_an_mcp_servers_tools_are_called(running: Running, engine: Scripted) -> None:
    engine.rounds = [[("say_it", {"text": "hello"}), ("end", {})]]
    done = ask(running, "--mcp", MCP, "--tool", "crop", "--yes-tools")
    assert (done.returncode, done.stdout) == (0, "Let me see. Done.\n"), done.stderr
    assert [tool.name for tool in engine.seen[0][1].tools][:2] == ["crop", "say_it"]
    assert "say_it, environment" in done.stderr
    assert 'Tool: say_it(text="hello")' in done.stderr
    assert "the disk is gone" in done.stderr
    assert [image.size for message in engine.seen[1][0] for image in message.images] == [(6, 4)]


def test_the_file_of_an_mcp_server_is_not_written_over(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "server.py"
    file.write_text("print()")
    done = ask(running, "--mcp", f"{MCP} {file}", "--yes-tools", "-o", str(file))
    assert (done.returncode, file.read_text()) == (2, "print()"), done.stderr


@pytest.mark.parametrize("command", ["ask", "chat"])
def test_one_line_says_how_to_install_what_mcp_servers_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mcp" else found(name))
    assert main.run([command, "what?", "-m", "demo", "--mcp", "x", "--yes-tools", "-n"]) == 2
    assert capsys.readouterr().err == f"pixtral: --mcp needs one more package. Get it: {install_command('mcp')}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--mcp", "true"], "--yes-tools"),
        (["--mcp", "no-such-command", "--yes-tools"], "there is no command no-such-command"),
        (["--mcp", f"{MCP}", "--mcp", f"{MCP} again", "--yes-tools"], "Two tools have the name say_it"),
        (["--mcp", "no-such-command"], "there is no command no-such-command"),
        (["--tool", "crop"], "--yes-tools"),
        (["--tool", "nix"], "There is no tool 'nix'"),
        (["--tool", "none.py"], "There is no file none.py"),
        (["--tool", "nix", "--yes-tools"], "There is no tool 'nix'"),
        (["--tool", "none.py", "--yes-tools"], "There is no file none.py"),
        (["--yes-tools"], "there is none"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_status_2(running: Running, arguments: list[str], said: str) -> None:
    done = ask(running, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_file_of_the_tools_is_not_written_over(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "t.py"
    file.write_text("def f() -> str:\n    return ''\n")
    done = ask(running, "--tool", str(file), "--yes-tools", "-o", str(file))
    assert done.returncode == 2
    assert file.read_text().startswith("def f")


@pytest.mark.parametrize(("key", "result"), [("y", "is shown next"), ("n", "did not allow"), ("a", "is shown next")])
def test_on_a_terminal_each_call_is_asked_about(
    running: Running, engine: Scripted, picture: Path, key: str, result: str
) -> None:
    engine.rounds = [[CROP], [CROP]]
    command = [
        *ASK[1:],
        "what?",
        "--base-url",
        running.url,
        "-m",
        "fake",
        "-n",
        "--image",
        str(picture),
        "--tool",
        "crop",
    ]
    child = pexpect.spawn(ASK[0], command, env={**os.environ, "TERM": "xterm"}, encoding="utf-8", timeout=120)
    for _ in range(1 if key == "a" else 2):
        child.expect_exact("crop(image=1, left=0, top=0, right=50, bottom=100)")
        child.expect_exact("Run it?")
        child.sendline(key)
        child.expect_exact(result)
    child.expect_exact("Done.")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert len(engine.seen) == 3


class Waiting(Scripted):
    """Makes its calls, and begins each answer only once it may."""

    def __init__(self, *rounds: list[tuple[str, Any]]) -> None:
        super().__init__(*rounds)
        self.may_answer = threading.Semaphore(0)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        assert self.may_answer.acquire(timeout=120)
        yield from super().stream(messages, sampling)


def test_on_a_terminal_a_spinner_shows_each_wait_and_leaves_the_question_alone(picture: Path) -> None:
    engine = Waiting([CROP])
    with serving(engine) as running:
        words = ["what?", "--base-url", running.url, "-m", "fake", "-n", "--image", str(picture), "--tool", "crop"]
        child = pexpect.spawn(
            ASK[0], [*ASK[1:], *words], env={**os.environ, "TERM": "xterm"}, encoding="utf-8", timeout=120
        )
        child.expect_exact("fake is at work")
        engine.may_answer.release()
        child.expect_exact("Run it? [y]es, [n]o, [a]ll: ")
        assert child.expect_exact(["at work", pexpect.TIMEOUT], timeout=0.5) == 1
        child.sendline("y")
        child.expect_exact("is shown next")
        child.expect_exact("fake is at work")
        engine.may_answer.release()
        child.expect_exact("Done.")
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == 0
