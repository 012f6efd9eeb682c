"""The completion scripts, run by the shells they are for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

FOLDER = Path(__file__).parents[2] / "completions"
BIN = Path(sys.executable).parent


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    assert (BIN / "pixtral").exists(), "install the project: make test"
    return {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def run(shell: list[str], script: str, environment: dict[str, str]) -> list[str]:
    done = subprocess.run([*shell, script], env=environment, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split()


def test_bash_completes_commands_and_options(environment: dict[str, str]) -> None:
    script = (
        f"source {FOLDER}/pixtral.bash; COMP_WORDS=(pixtral {{}}); COMP_CWORD={{}};"
        "_pixtral_completion pixtral; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    assert run(["bash", "-c"], script.format("mod", 1), environment) == ["models"]
    assert "--temperature" in run(["bash", "-c"], script.format("ask --te", 2), environment)


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
def test_zsh_completes_commands(environment: dict[str, str]) -> None:
    assert shutil.which("zsh")
    shell = pexpect.spawn("zsh", ["-f"], env=environment, encoding="utf-8", timeout=30)
    shell.sendline(f"PS1='> '; autoload -U compinit; compinit -u; source {FOLDER}/_pixtral; echo rea''dy")
    shell.expect("ready")
    shell.send("pixtral mod\t")
    shell.expect("models")
    shell.close(force=True)


def test_the_generated_scripts_are_not_stale() -> None:
    subprocess.run([sys.executable, str(FOLDER / "generate.py"), "--check"], check=True)
