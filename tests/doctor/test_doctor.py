"""`pixtral doctor`: every line says how something is, and what to do when it isn't well."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixtral_cli import doctor
from pixtral_cli.doctor import Check, machine
from pixtral_cli.doctor.machine import tokens_that_fit
from pixtral_cli.doctor.terminal import terminal_checks
from pixtral_cli.engines.local.runtime.devices import Device
from pixtral_cli.models import layout, names
from tests.hub import FakeHub, Forever, gated, model_files, pixtral

REPO = "mistralai/Pixtral-12B-2409"
GIB = 1 << 30


@pytest.fixture
def fake() -> Iterator[FakeHub]:
    with FakeHub({REPO: {"main": model_files(names.demo_folder())}}) as hub:
        yield hub


def checks(*, online: bool = False) -> dict[str, list[Check]]:
    found: dict[str, list[Check]] = {}
    for check in doctor.examine(online=online):
        found.setdefault(check.name, []).append(check)
    return found


def test_a_fresh_machine_is_well_and_shows_how_to_get_the_full_model(fake: FakeHub) -> None:
    found = checks()
    assert {check.state for check in found["packages"]} == {"ok"}
    assert found["device"][-1].says.startswith("cpu: ")
    assert found["runs"][0].says.startswith("demo, in ")
    assert found["runs"][0].advice.startswith("Using the small built-in model; ")
    assert "hf auth login" in found["token"][0].advice
    assert not fake.log


def test_one_json_object_says_whether_all_is_well_as_the_exit_status_does(fake: FakeHub) -> None:
    for status, env in ((0, {}), (1, {"PIXTRAL_MODEL": "org/lost"})):
        done = pixtral(fake, "doctor", "--format", "json", **env)
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["ok"], done.stderr) == (status, status == 0, "")
        assert {frozenset(check) for check in answer["checks"]} == {frozenset(("name", "state", "says", "advice"))}


def test_for_people_each_check_is_a_line_with_its_advice_below(fake: FakeHub) -> None:
    done = pixtral(fake, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert all(line.startswith(("ok ", "warning ", "fails ", " " * 18 + " -> ")) for line in lines)
    assert "\x1b" not in done.stdout


def test_a_damaged_model_fails_and_names_the_remedy(home: Path) -> None:
    vendor = home / "mistral_models" / "Pixtral"
    vendor.mkdir(parents=True)
    for name, data in model_files(names.demo_folder()).items():
        (vendor / name).write_bytes(data[:-9] if name == layout.WEIGHTS_FILE else data)
    bad = next(check for check in checks()["model"] if check.state == "fails")
    assert "consolidated.safetensors is cut short" in bad.says
    assert bad.advice == "Get an intact copy: pixtral pull pixtral-12b"


def test_half_a_download_is_a_warning_that_says_how_to_go_on() -> None:
    folder = names.hub_cache() / names.repo_folder(REPO) / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "params.json").write_text("{}")
    half = next(check for check in checks()["model"] if check.state == "warning")
    assert half.advice == "Fetch it again: pixtral pull pixtral-12b"


def test_a_configured_model_that_is_not_here_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIXTRAL_MODEL", "org/lost")
    runs = checks()["runs"][0]
    assert (runs.state, runs.advice) == ("fails", "Get it: pixtral pull org/lost")


def test_what_cannot_be_written_is_a_warning_that_says_what_fails_then(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [check.state for check in machine.folder_checks()] == ["ok"]
    monkeypatch.setattr("os.access", lambda path, mode: False)  # as in a home that is mounted read-only
    said = [f"{check.says}. {check.advice}" for check in machine.folder_checks() if check.state == "warning"]
    assert len(said) == 3
    assert "data cannot be written: conversations are not saved. PIXTRAL_HOME names another place" in said[0]


def test_a_broken_config_file_fails_by_its_name(home: Path) -> None:
    file = home / "pixtral" / "config.toml"
    file.parent.mkdir()
    file.write_text("model = [")
    broken = checks()["settings"][0]
    assert broken.state == "fails"
    assert str(file) in broken.says


def test_tokens_are_seen_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    names.token_file().parent.mkdir(parents=True)
    names.token_file().write_text("hf_stored")
    stored = checks()
    monkeypatch.setenv("HF_TOKEN", "hf_given")
    given = checks()
    assert (stored["token"][0].says, given["token"][0].says) == (
        "of the hub: logged in",
        "of the hub: in the environment",
    )
    assert "hf_stored" not in str(stored)
    assert "hf_given" not in str(given)


def test_online_asks_the_hub_whether_the_full_model_can_be_had(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", fake.url)
    assert checks(online=True)["hub"][0].state == "ok"
    fake.faults["params.json"] = Forever([gated(403)])
    refused = checks(online=True)["hub"][0]
    assert refused.state == "fails"
    assert "gated" in refused.says
    assert f"{fake.url}/{REPO}" in refused.advice


def test_weights_of_the_full_model_are_counted_right() -> None:
    """12.68 billion parameters; the file on the hub is 25.4 GB."""
    assert machine.PIXTRAL_SHAPE.weights() == 2 * 12_682_739_712


def test_what_fits_counts_the_cache_beside_the_weights() -> None:
    assert tokens_that_fit(8 * GIB) == 0
    assert tokens_that_fit(80 * GIB) == 128_000
    one = machine.PIXTRAL_SHAPE.weights() + (1 << 30) + machine.IMAGE_TOKENS * (160 << 10)
    assert tokens_that_fit(one) == machine.IMAGE_TOKENS
    assert tokens_that_fit(one - 1) == machine.IMAGE_TOKENS - 1


def test_a_large_gpu_is_well_and_a_small_one_is_a_warning() -> None:
    large = machine.memory_check(Device("cuda:0", "NVIDIA H100", 80 * GIB, 79 * GIB, True))
    assert (large.state, large.advice) == ("ok", "")
    assert "30 images" in large.says
    small = machine.memory_check(Device("cuda:0", "a card", 12 * GIB, 12 * GIB, True))
    assert small.state == "warning"
    assert small.says == "pixtral-12b (23.6 GiB in bf16) does not fit on cuda:0: 12.0 GiB free"
    assert "It needs 25.3 GiB free; --quantize 4bit fits." in small.advice
    assert "--quantize 8bit fits" in machine.memory_check(Device("cpu", "CPU", 24 * GIB, 22 * GIB, True)).advice
    assert "quantize" not in machine.memory_check(Device("cpu", "CPU", 8 * GIB, 7 * GIB, True)).advice


def shown(env: dict[str, str], tools: tuple[str, ...] = (), system: str = "linux", drawn: bool = True) -> list[Check]:
    return list(terminal_checks(env, system, lambda tool: tool if tool in tools else None, drawn, "utf-8"))


@pytest.mark.parametrize(
    ("env", "images"),
    [
        ({"TERM": "xterm-kitty"}, "Kitty's graphics"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "Kitty's graphics"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "Kitty's graphics"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "sixel"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color", "WT_SESSION": "1"}, "sixel"),
        ({"TERM": "xterm-256color"}, "half blocks"),
    ],
)
def test_the_terminals_images_are_guessed_from_its_name(env: dict[str, str], images: str) -> None:
    assert shown(env)[0].says.endswith(f"images probably as {images}")


def test_terminals_that_cannot_draw_are_distinguished_from_pipes() -> None:
    assert shown({"TERM": "xterm"}, drawn=False)[0].state == "ok"
    assert shown({"TERM": "dumb"})[0].state == "warning"
    assert "no colours" in shown({"TERM": "xterm", "NO_COLOR": "1"})[0].says
    assert "16 million colours" in shown({"TERM": "xterm", "COLORTERM": "truecolor"})[0].says
    latin = list(terminal_checks({"TERM": "xterm"}, "linux", lambda tool: None, True, "latin-1"))
    assert latin[1].state == "warning"
    assert "UTF-8" in latin[1].advice


def test_a_desktop_without_its_clipboard_tool_is_a_warning() -> None:
    wayland = {"TERM": "xterm", "WAYLAND_DISPLAY": "wayland-0"}
    assert shown(wayland)[-1].advice == "Install wl-clipboard"
    assert shown(wayland, ("wl-paste",))[-1].state == "ok"
    assert shown({"TERM": "xterm", "DISPLAY": ":0"})[-1].advice == "Install xclip"
    assert shown({"TERM": "xterm-256color"}, system="darwin")[-1].says == "the system's own"
    assert shown({"TERM": "xterm"})[-1].state == "ok"


def test_it_says_what_fits_and_how_fast_about() -> None:
    check = machine.fitting_check(12 * GIB, 50e9, ["yarn"])
    assert check.state == "ok"
    assert check.says == "pixtral-12b in 4 bits, about 6.4 tokens/s; memory is read at 50 GB/s"
    assert "ministral-8b in 8 bits, about 5.5 tokens/s" in machine.fitting_check(12 * GIB, 50e9, []).says
    assert machine.fitting_check(GIB, 50e9, []).state == "warning"
