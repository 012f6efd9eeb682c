"""`pixtral pull` and `pixtral models` as a user meets them: streams, exit statuses, bars and questions."""

import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pyte
import pytest

from pixtral_cli.models import layout, names
from tests.hub import FakeHub, Fault, Forever, environment, model_files, pixtral, running, until

REPO = "mistralai/Pixtral-12B-2409"
WEIGHTS = layout.WEIGHTS_FILE


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return model_files(names.demo_folder())


@pytest.fixture
def fake(files: dict[str, bytes]) -> Iterator[FakeHub]:
    with FakeHub({REPO: {"main": files}}) as hub:
        yield hub


def test_pull_shows_its_progress_on_stderr_and_nothing_on_stdout(fake: FakeHub, files: dict[str, bytes]) -> None:
    done = pixtral(fake, "pull", "pixtral-12b")
    assert (done.returncode, done.stdout) == (0, "")
    first, *_, last = done.stderr.splitlines()
    assert re.match(r"Downloading params\.json: .* of .* MiB", first)
    assert last.startswith("pixtral-12b is whole: ")
    assert "\x1b" not in done.stderr
    folder = Path(pixtral(fake, "models", "path", "pixtral-12b").stdout.strip())
    assert model_files(folder) == files


def test_pull_q_is_silent(fake: FakeHub) -> None:
    done = pixtral(fake, "pull", "-q", "pixtral-12b")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pull_asks_the_hub_for_the_model_and_nothing_else(fake: FakeHub) -> None:
    pixtral(fake, "pull", "pixtral-12b", AI_AGENT="someone")
    assert len(fake.log) >= 4  # the listing and three files
    assert all(f"/{REPO}/" in request.path for request in fake.log)
    agents = {request.headers["user-agent"] for request in fake.log}
    assert all(agent.startswith("pixtral/") and "torch" not in agent and "someone" not in agent for agent in agents)


def test_the_token_goes_to_the_hub_and_is_never_shown(fake: FakeHub) -> None:
    fake.faults[WEIGHTS] = Forever([Fault(403, {"X-Error-Code": "GatedRepo"})])
    done = pixtral(fake, "pull", "pixtral-12b", HF_TOKEN="hf_secret")
    assert done.returncode == 4
    assert {request.headers["authorization"] for request in fake.log} == {"Bearer hf_secret"}
    assert "hf_secret" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("args", "env"),
    [(["--offline"], {}), ([], {"HF_HUB_OFFLINE": "1"}), ([], {"PIXTRAL_OFFLINE": "1"})],
    ids=["the flag", "the hub's variable", "our variable"],
)
def test_offline_makes_no_request(fake: FakeHub, args: list[str], env: dict[str, str]) -> None:
    done = pixtral(fake, "pull", "pixtral-12b", *args, **env)
    assert (done.returncode, fake.log) == (5, [])
    assert "offline" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "status", "says"),
    [
        ("demo", 0, "nothing to download"),
        ("nonsense", 4, "Known: demo, pixtral-12b"),
        (".", 2, "models verify"),
        ("nobody/nothing", 4, "no such repository"),
        ("a--b/c", 4, "cannot be a repository's name"),
    ],
)
def test_pull_of_what_cannot_be_pulled_says_so_in_one_line(fake: FakeHub, name: str, status: int, says: str) -> None:
    done = pixtral(fake, "pull", name)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (status, "", 1)
    assert says in done.stderr


def test_ctrl_c_keeps_what_came_and_says_how_to_go_on(fake: FakeHub, files: dict[str, bytes]) -> None:
    fault = Fault(gate=4_000_000)
    fake.faults[WEIGHTS] = [fault]
    with running(fake, ["pull", "pixtral-12b"]) as process:
        assert fault.reached.wait(120)
        until(lambda: sum(file.stat().st_size for file in names.hub_cache().rglob("*.incomplete")) > 3_900_000)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "Stopped. What came is kept; go on with: pixtral pull pixtral-12b"
    fault.open.set()
    assert pixtral(fake, "pull", "pixtral-12b").returncode == 0
    assert fake.gets(WEIGHTS)[1].start > 3_900_000


def test_on_a_terminal_a_bar_with_size_and_rate_is_drawn_and_wiped_away(fake: FakeHub) -> None:
    fault = Fault(gate=4_000_000)
    fake.faults[WEIGHTS] = [fault]
    screen = pyte.Screen(100, 24)
    stream = pyte.Stream(screen)
    child = pexpect.spawn(
        sys.executable,
        ["-m", "pixtral_cli", "pull", "pixtral-12b"],
        env={**environment(fake), "TERM": "xterm-256color"},
        dimensions=(24, 100),
        encoding="utf-8",
        timeout=120,
    )
    child.expect(r"Downloading consolidated\.safetensors.*\d\.\d MiB of \d\.\d MiB")
    stream.feed(child.before + child.after)
    assert any("Downloading consolidated" in line for line in screen.display)
    fault.open.set()
    child.expect(pexpect.EOF)
    stream.feed(child.before)
    child.close()
    shown = [line.rstrip() for line in screen.display if line.strip()]
    assert child.exitstatus == 0
    assert shown[0].startswith("pixtral-12b is whole")
    assert not any("Downloading" in line for line in shown)


def test_models_lists_what_is_here_and_what_runs(fake: FakeHub, home: Path, files: dict[str, bytes]) -> None:
    alone = pixtral(fake, "models")
    assert re.search(r"^\* demo +\d\.\d MiB  built in", alone.stdout, re.MULTILINE)
    pixtral(fake, "pull", "pixtral-12b")
    other = home / "mistral_models" / "Other"
    other.mkdir(parents=True)
    (other / "params.json").write_bytes(files["params.json"])
    listed = json.loads(pixtral(fake, "models", "list", "--format", "json").stdout)["models"]
    by_name = {model["name"]: model for model in listed}
    assert [name for name, model in by_name.items() if model["default"]] == ["pixtral-12b"]
    assert by_name["pixtral-12b"]["state"] == "complete"
    assert by_name["pixtral-12b"]["size"] == sum(map(len, files.values()))
    assert by_name[str(other)]["detail"] == "tekken.json is missing"
    assert "incomplete: tekken.json is missing" in pixtral(fake, "models").stdout


def test_verify_finds_one_flipped_bit_that_loading_would_not(fake: FakeHub, files: dict[str, bytes]) -> None:
    pixtral(fake, "pull", "pixtral-12b")
    sound = pixtral(fake, "models", "verify")
    assert (sound.returncode, sound.stdout.count("is as recorded")) == (0, 3)
    blob = (names.resolve("pixtral-12b").folder / WEIGHTS).resolve()
    data = bytearray(files[WEIGHTS])
    data[-100] ^= 1
    blob.write_bytes(data)
    found = pixtral(fake, "models", "verify", "pixtral-12b")
    assert found.returncode == 4
    assert re.search(rf"^damaged .*{WEIGHTS}", found.stdout, re.MULTILINE)
    assert f"{WEIGHTS} is damaged" in found.stderr
    assert "pixtral pull pixtral-12b" in found.stderr
    assert pixtral(fake, "pull", "pixtral-12b").returncode == 0
    assert pixtral(fake, "models", "verify", "pixtral-12b").returncode == 0


def test_rm_asks_first_and_needs_yes_without_a_terminal(fake: FakeHub) -> None:
    pixtral(fake, "pull", "pixtral-12b")
    refused = pixtral(fake, "models", "rm", "pixtral-12b")
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    for answer, left in (("n", True), ("y", False)):
        child = pexpect.spawn(
            sys.executable, ["-m", "pixtral_cli", "models", "rm", "pixtral-12b"], env=environment(fake), timeout=120
        )
        child.expect(r"Remove pixtral-12b, \d files of \d\.\d MiB\? \[y/N\] ")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0
        assert (names.resolve(None).name == "pixtral-12b") is left
    assert not list(names.hub_cache().glob("models--*"))


def test_rm_yes_frees_every_byte(fake: FakeHub) -> None:
    pixtral(fake, "pull", "pixtral-12b")
    done = pixtral(fake, "models", "rm", "--yes", "pixtral-12b")
    assert done.returncode == 0
    assert "Removed pixtral-12b" in done.stderr
    assert not [file for file in names.hub_cache().rglob("*") if file.is_file() and file.suffix != ".lock"]


def test_rm_refuses_the_demo(fake: FakeHub) -> None:
    done = pixtral(fake, "models", "rm", "--yes", "demo")
    assert done.returncode == 2
    assert names.demo_folder().joinpath(WEIGHTS).is_file()


def test_path_prints_the_folder_alone(fake: FakeHub) -> None:
    done = pixtral(fake, "models", "path", "demo")
    assert (done.stdout, done.stderr) == (f"{names.demo_folder()}\n", "")
    missing = pixtral(fake, "models", "path", "pixtral-12b")
    assert (missing.returncode, missing.stdout) == (4, "")
    assert "pixtral pull pixtral-12b" in missing.stderr


def test_a_name_with_control_characters_is_shown_harmless(fake: FakeHub) -> None:
    done = pixtral(fake, "pull", "\x1b]52;c;AAAA\x07")
    assert done.returncode == 4
    assert "\x1b" not in done.stderr
    assert os.linesep == done.stderr[-1:]


def test_an_alias_of_the_config_names_a_model(fake: FakeHub) -> None:
    assert pixtral(fake, "config", "set", "aliases.tiny", "demo").returncode == 0
    done = pixtral(fake, "ask", "Who are you?", "-m", "tiny", "--no-stdin", "--format", "json", "-n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "demo"
    near = pixtral(fake, "ask", "Who are you?", "-m", "tinny", "--no-stdin")
    assert near.returncode == 4
    assert "Did you mean tiny?" in near.stderr


def test_models_shows_what_can_be_pulled_and_marks_what_fits(fake: FakeHub) -> None:
    done = pixtral(fake, "models")
    here, _, to_pull = done.stdout.partition("\n\n")
    assert here.splitlines()[1].split()[1] == "demo"
    rows = {line.split()[-len(line.split()) + (line[0] == "✓")]: line for line in to_pull.splitlines()[1:]}
    assert {"pixtral-12b", "pixtral-large", "ministral-3b", "ministral-14b-reasoning"} <= {*rows}
    assert not rows["pixtral-large"].startswith("✓")
    assert "Mistral Research License" in rows["pixtral-large"]
    listed = json.loads(pixtral(fake, "models", "--format", "json").stdout)["available"]
    [entry] = [entry for entry in listed if entry["name"] == "pixtral-12b"]
    assert entry["memory"]["none"] > entry["memory"]["8bit"] > entry["memory"]["4bit"]
    assert (entry["repository"], entry["gated"]) == (REPO, True)


def test_a_downloaded_model_is_no_longer_to_be_pulled(fake: FakeHub) -> None:
    assert pixtral(fake, "pull", "pixtral-12b").returncode == 0
    here, _, to_pull = pixtral(fake, "models").stdout.partition("\n\n")
    assert "pixtral-12b" in here
    assert "pixtral-12b" not in to_pull


def test_pull_without_a_name_recommends(fake: FakeHub) -> None:
    done = pixtral(fake, "pull")
    assert done.returncode == 2
    assert done.stderr.startswith("pixtral: Name a model; ")
    assert done.stderr.count("\n") == 1
    assert not fake.log


@pytest.mark.parametrize("command", ["models", "doctor"])
def test_a_list_is_as_wide_as_its_terminal_and_breaks_at_words(command: str) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "pixtral_cli", command], dimensions=(50, 60), encoding="utf-8", timeout=120,
        env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    shown = child.read()
    child.close()
    lines = shown.splitlines()
    assert len(lines) > 10
    assert [line for line in lines if len(line) > 60 and max(map(len, line.split())) < 30] == []
