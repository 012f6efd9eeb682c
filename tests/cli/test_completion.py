"""The completion scripts, run by the shells they are for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

from pixtral_cli.chat.message import assistant, user
from pixtral_cli.sessions.library import Sessions
from tests.test_imports import HEAVY

FOLDER = Path(__file__).parents[2] / "completions"
BIN = Path(sys.executable).parent


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    assert (BIN / "pixtral").exists(), "install the project: make test"
    named = {name: os.environ[name] for name in ("PIXTRAL_HOME", "HF_HOME")}
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "TERM": "dumb", "LC_ALL": "C.UTF-8", **named}


@pytest.fixture
def session(home: Path) -> str:
    """A saved conversation whose title would act in a shell; a template too."""
    title = "What's \\$(touch pwned) `touch pwned` \\\"; touch pwned #"
    with Sessions(home / "pixtral" / "data").add([user(title), assistant("Nothing.")]) as session:
        templates = home / "pixtral" / "templates"
        templates.mkdir()
        (templates / "postcard.txt").write_text("Write a postcard: $input")
        return session.id


def run(shell: list[str], script: str, environment: dict[str, str]) -> list[str]:
    done = subprocess.run([*shell, script], env=environment, capture_output=True, text=True, check=True, timeout=240)
    return done.stdout.split()


def in_bash(words: str, environment: dict[str, str]) -> list[str]:
    """What bash would complete the last word to."""
    script = (
        f"source {FOLDER}/pixtral.bash; COMP_WORDS=(pixtral {words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1));"
        "_pixtral_completion pixtral; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    return run(["bash", "-c"], script, environment)


def test_bash_completes_commands_and_options(environment: dict[str, str]) -> None:
    assert in_bash("mod", environment) == ["models"]
    assert "--temperature" in in_bash("ask --te", environment)


def test_bash_completes_the_names_of_models_sessions_and_templates(environment: dict[str, str], session: str) -> None:
    assert in_bash("chat --model de", environment) == ["demo"]
    assert in_bash("ask -t ''", environment) == ["postcard"]
    assert in_bash(f"chat --session {session[:2]}", environment) == [session]
    assert in_bash("sessions show ''", environment) == [session]
    assert in_bash("models path ''", environment) == ["demo"]
    assert sorted(in_bash("pull pix", environment)) == ["pixtral-12b", "pixtral-large"]


def test_bash_completes_words_that_an_option_takes_and_runs(environment: dict[str, str], home: Path) -> None:
    run_file = home / "pixtral" / "data" / "evals" / "first-run" / "run.json"
    run_file.parent.mkdir(parents=True)
    run_file.write_text("{}")
    assert sorted(in_bash("ask --engine ''", environment)) == ["api", "local", "vllm"]
    assert sorted(in_bash("chat --device c", environment)) == ["cpu", "cuda"]
    assert in_bash("batch --quantize 4", environment) == ["4bit"]
    assert in_bash("eval show f", environment) == ["first-run"]
    assert in_bash("stop ''", environment) == []  # nothing is kept


def test_bash_completes_settings_their_values_tags_and_placeholders(
    environment: dict[str, str], session: str, home: Path
) -> None:
    assert in_bash("config set qua", environment) == ["quantize"]
    assert in_bash("config get theme.he", environment) == ["theme.heading"]
    assert sorted(in_bash("config set engine ''", environment)) == ["api", "local", "vllm"]
    assert in_bash("config set models.demo.quantize 4", environment) == ["4bit"]
    assert sorted(in_bash("config set plain ''", environment)) == ["false", "true"]
    assert sorted(in_bash("config set model pixtral-l", environment)) == ["pixtral-large"]
    assert in_bash("config set nothing ''", environment) == []
    assert "ministral-3b" in in_bash("models show ''", environment)
    sessions = Sessions(home / "pixtral" / "data")
    sessions.tag(session, ["receipts", "may"])
    assert in_bash("sessions --tag rec", environment) == ["receipts"]
    assert in_bash("sessions search x --tag m", environment) == ["may"]
    (home / "pixtral" / "templates" / "into.toml").write_text('prompt = "$input in $language"\n[defaults]\nway = "x"\n')
    assert in_bash("ask -t into -p lang", environment) == ["language="]
    assert sorted(in_bash("chat --template into --param ''", environment)) == ["language=", "way="]
    assert in_bash("ask -p ''", environment) == []


def test_a_command_is_described_by_a_whole_sentence(environment: dict[str, str]) -> None:
    asked = {"_PIXTRAL_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    for words in ("pixtral ", "pixtral models "):
        done = subprocess.run(
            [BIN / "pixtral"], env=environment | asked | {"_TYPER_COMPLETE_ARGS": words},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout
        assert "..." not in done.stdout


def test_names_are_looked_up_without_a_word_when_nothing_can_be_read(environment: dict[str, str], home: Path) -> None:
    (home / "pixtral" / "data").mkdir(parents=True)
    (home / "pixtral" / "data" / "sessions.db").mkdir()
    assert in_bash("sessions show ''", environment) == []


@pytest.mark.parametrize("words", ["chat -m ", "sessions show ", "ask -t ", "ask --", ""])
def test_tab_loads_nothing_heavy(environment: dict[str, str], session: str, words: str) -> None:
    code = (
        "import atexit, sys\natexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from pixtral_cli.__main__ import main\nmain([])"
    )
    asked = {"_PIXTRAL_COMPLETE": "complete_zsh", "_TYPER_COMPLETE_ARGS": f"pixtral {words}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment | asked, capture_output=True, text=True, check=True
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "typer" in loaded
    assert not loaded & (HEAVY - {"sqlite3"})
    assert "touch pwned" in done.stdout if words.startswith("sessions") else done.stdout
    assert not set("$`;#") & set(done.stdout.partition(session)[2])


@pytest.mark.slow
def test_fish_completes_commands_and_options(environment: dict[str, str]) -> None:
    assert shutil.which("fish")
    source = f"source {FOLDER}/pixtral.fish; complete -C "
    assert "models" in run(["fish", "--no-config", "-c"], f"{source} 'pixtral mod'", environment)
    assert "--temperature" in run(["fish", "--no-config", "-c"], f"{source} 'pixtral ask --te'", environment)


@pytest.mark.slow
def test_fish_completes_files_for_an_image(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "cat.png").touch()
    command = f"cd {tmp_path}; source {FOLDER}/pixtral.fish; complete -C 'pixtral ask --image ca'"
    assert "cat.png" in run(["fish", "--no-config", "-c"], command, environment)


@pytest.mark.slow
def test_fish_completes_names(environment: dict[str, str], session: str) -> None:
    command = f"source {FOLDER}/pixtral.fish; complete -C 'pixtral sessions show '"
    assert session in run(["fish", "--no-config", "-c"], command, environment)


@pytest.mark.slow
def test_zsh_completes_names_and_takes_no_title_for_a_command(
    environment: dict[str, str], session: str, tmp_path: Path
) -> None:
    shell = pexpect.spawn("zsh", ["-f"], env=environment, encoding="utf-8", timeout=120, cwd=str(tmp_path))
    shell.sendline(f"PS1='> '; autoload -U compinit; compinit -u; source {FOLDER}/_pixtral; echo rea''dy")
    shell.expect("ready")
    shell.send("pixtral sessions show \t")
    shell.expect(session)
    shell.close(force=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_zsh_completes_commands(environment: dict[str, str]) -> None:
    assert shutil.which("zsh")
    shell = pexpect.spawn("zsh", ["-f"], env=environment, encoding="utf-8", timeout=120)
    shell.sendline(f"PS1='> '; autoload -U compinit; compinit -u; source {FOLDER}/_pixtral; echo rea''dy")
    shell.expect("ready")
    shell.send("pixtral mod\t")
    shell.expect("models")
    shell.close(force=True)


def test_the_generated_scripts_are_not_stale() -> None:
    subprocess.run([sys.executable, str(FOLDER / "generate.py"), "--check"], check=True)
