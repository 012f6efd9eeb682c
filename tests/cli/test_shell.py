"""The shell's side of daily use: help in groups, hints that are possible, lists as JSON, arguments as people type them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from pixtral_cli import config
from pixtral_cli.cli.app import app
from pixtral_cli.cli.common import arguments
from pixtral_cli.errors import PixtralError
from pixtral_cli.extras import install_command
from tests.cli.calling import pixtral

EXAMPLE = Path(__file__).parents[2] / "examples" / "shapes.png"
COMMANDS = ["ask", "chat", "models", "sessions", "config"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIXTRAL_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def dry(*words: str) -> dict[str, object]:
    done = pixtral("ask", *words, "--dry-run", "--no-stdin", "-q", "-m", "demo", "--json")
    assert done.status == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_the_help_of_ask_is_in_groups_and_no_metavar_is_a_type() -> None:
    said = pixtral("ask", "--help").stdout
    heads = ["Input:", "Output:", "Conversation:", "Sampling:", "Model and engine:", "vLLM:", "Options:"]
    places = [said.index(f"\n{head}\n") for head in heads]
    assert places == sorted(places)
    for type_name in ("<str>", "<float", "<int", "<path>"):
        assert type_name not in said


def every_command(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command with the words that call it, groups too."""
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from every_command(below, (*path, name))


def test_the_help_of_every_command_has_honest_metavars_and_whole_sentences() -> None:
    found = list(every_command(typer.main.get_command(app)))
    assert len(found) > 40
    for path, command in found:
        said = command.get_help(typer.Context(command, info_name=" ".join(("pixtral", *path)), terminal_width=80))
        assert not re.search(r"<(str|int|float|path|text|range)\b", said), path
        body = said.partition("\n")[2]
        assert not re.search(r"\.\.\.$", body, re.MULTILINE), (path, said)


@pytest.mark.parametrize("command", ["batch", "eval run", "chat"])
def test_what_shapes_an_answer_stands_under_its_heading(command: str) -> None:
    said = pixtral(*command.split(), "--help").stdout
    places = {head: said.find(f"\n{head}:\n") for head in ("Input", "Output", "Sampling", "Model and engine", "vLLM")}
    assert list(places.values()) == sorted(places.values())
    for option, head in {"--temperature": "Sampling", "--device": "Model and engine", "--nodes": "vLLM"}.items():
        at = said.index(f"  {option} ")
        assert max((place, name) for name, place in places.items() if 0 <= place < at)[1] == head


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["ask", "x", "--temprature", "1"], "Did you mean --temperature?"),
        (["ask", "x", "--formt", "json"], "Did you mean --format?"),
        (["sessions", "ls"], "Here it is: pixtral sessions list"),
        (["models", "ls"], "Here it is: pixtral models list"),
        (["models", "pull", "x"], "Here it is: pixtral pull MODEL"),
        (["templates", "delete", "x"], "Here it is: pixtral templates rm NAME"),
        (["models", "verfy"], "Did you mean pixtral models verify?"),
        (["askk"], "Did you mean pixtral ask?"),
        (["config", "list"], "Here it is: pixtral config"),
        (["ask", "--image", "a.png", "b.png", "what"], "Repeat --image for each picture: --image b.png"),
        (["ask", "--image", str(EXAMPLE), "b.png"], "Repeat --image for each picture"),
        (["ask", "what", "is", "this"], 'Quote the question: pixtral ask "What is this?"'),
        (["ask", "x", "--stop", "- end", "--zzz"], "No such option: --zzz"),
        (["ask", "x", "--zzz"], "See: pixtral ask --help"),
        (["templates", "rm", "x"], "None is saved yet"),
        (["aks", "what"], "Did you mean pixtral ask?"),
        (["ask", "x", "-i", "a.png"], "Did you mean --image?"),
        (["ask", "x", "--temperature", "hot"], "'hot' is not a number."),
        (["ask", "x", "--max-tokens", "few"], "'few' is not a whole number."),
        (["ask", "x", "--save"], "--save needs a value. See: pixtral ask --help"),
    ],
)
def test_a_mistake_gets_a_hint_that_is_possible_for_what_was_typed(words: list[str], hint: str) -> None:
    done = pixtral(*words)
    assert done.status == 2
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "read"),
    [
        (["ask", "q", "-x"], ["ask", "q", "-x", "any"]),
        (["ask", "-x", "What is this?"], ["ask", "-x", "any", "What is this?"]),
        (["ask", "-x", "html", "q"], ["ask", "-x", "html", "q"]),
        (["ask", "-x", "c++", "q"], ["ask", "-x", "c++", "q"]),
        (["ask", "-x", "-o", "f"], ["ask", "-x", "any", "-o", "f"]),
        (["ask", "q", "--json"], ["ask", "q", "--format", "json"]),
        (["ask", "q", "--", "--json"], ["ask", "q", "--", "--json"]),
        (["What is this?", "-a", "x.png"], ["ask", "What is this?", "-a", "x.png"]),
        (["Why?"], ["ask", "Why?"]),
        (["modls"], ["modls"]),
        (["--version"], ["--version"]),
        ([], []),
    ],
)
def test_arguments_are_read_as_they_are_meant(words: list[str], read: list[str]) -> None:
    assert arguments.normalize(words, COMMANDS) == read


@pytest.mark.parametrize(
    "question", ["-5 degrees: cold?", "- What is it?", "--what is this?", "-v prints what?", "-.5 = ?", "-What?  This."]
)
def test_a_question_may_begin_with_a_dash(question: str) -> None:
    assert dry(question, "--seed", "3")["text"] == question


def test_a_setting_may_be_a_number_below_zero() -> None:
    assert pixtral("config", "set", "seed", "-1").status == 0
    assert pixtral("config", "get", "seed").stdout == "-1\n"


def test_the_program_alone_takes_a_question() -> None:
    done = pixtral("What is this?", "-a", str(EXAMPLE), "--dry-run", "--json", "-m", "demo", "-q")
    assert json.loads(done.stdout)["text"] == "What is this?"


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["ps"], "processes"), (["models"], "models"), (["sessions"], "sessions"), (["templates"], "templates"),
        (["templates", "list"], "templates"), (["config"], "settings"), (["eval", "list"], "runs"),
        (["eval", "tasks"], "tasks"),
    ],
)  # fmt: skip
def test_every_list_is_one_json_object(words: list[str], key: str) -> None:
    done = pixtral(*words, "--json")
    assert done.status == 0, done.stderr
    assert isinstance(json.loads(done.stdout)[key], list)


def test_a_dry_run_shows_the_question_the_system_prompt_and_images_by_their_places(home: Path) -> None:
    (home / "a.png").write_bytes(EXAMPLE.read_bytes())
    words = [
        "ask",
        "Compare {2} with {1}",
        "-s",
        "Be brief.",
        "--image",
        "a.png",
        "--image",
        str(EXAMPLE.with_name("runs.png")),
    ]
    done = pixtral(*words, "--dry-run", "--watch", "-m", "demo", "--no-stdin", "-q")
    assert done.status == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1:3] for line in lines if line.startswith("image")] == [["{2}", "runs.png"], ["{1}", "a.png"]]
    assert "         Be brief." in lines
    assert any(line.startswith("         Compare") for line in lines)


def test_a_path_in_the_question_is_reported_to_be_text(home: Path) -> None:
    (home / "pics").mkdir()
    (home / "pics" / "s.png").write_bytes(EXAMPLE.read_bytes())
    done = pixtral("ask", "What is in pics/s.png?", "--dry-run", "-m", "demo", "--no-stdin")
    assert "pics/s.png is sent as text. To send the picture: --image" in done.stderr


def test_a_shell_s_process_substitution_is_a_picture() -> None:
    command = (
        f"{sys.executable} -m pixtral_cli ask What --image <(cat {EXAMPLE}) --dry-run --json -m demo -q --no-stdin"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert len(json.loads(done.stdout)["images"]) == 1


def test_text_files_are_sent_with_their_names(home: Path) -> None:
    (home / "notes.md").write_text("Some ```code``` here\n")
    said = str(dry("Summarise", "-f", "notes.md")["text"])
    assert said == "Summarise\n\n````notes.md\nSome ```code``` here\n````"
    (home / "b.bin").write_bytes(b"\0\1")
    for name, why in (("b.bin", "bytes that are not text"), ("none.txt", "cannot be read"), ("a.png", "is a picture")):
        done = pixtral("ask", "q", "-f", name, "--dry-run", "--no-stdin")
        assert (done.status, why in done.stderr) == (2, True)


def test_a_template_is_made_of_flags_used_and_removed() -> None:
    assert pixtral("ask", "Describe $input", "-s", "Be brief.", "--temperature", "0.2", "--save", "brief").status == 0
    assert dry("a circle", "-t", "brief")["text"] == "Describe a circle"
    assert dry("a circle", "-t", "brief")["system"] == "Be brief."
    again = pixtral("ask", "x", "--save", "brief")
    assert (again.status, "There is a template brief already" in again.stderr) == (2, True)
    assert pixtral("templates", "rm", "brief", "--yes").status == 0
    assert json.loads(pixtral("templates", "--json").stdout) == {"templates": []}
    assert pixtral("templates", "rm", "brief", "--yes").status == 2


def test_the_settings_are_listed_with_value_default_and_source(monkeypatch: pytest.MonkeyPatch) -> None:
    pixtral("config", "set", "temperature", "0.5")
    monkeypatch.setenv("PIXTRAL_DEVICE", "cpu")
    rows = {row["name"]: row for row in json.loads(pixtral("config", "--json").stdout)["settings"]}
    assert set(rows) == set(config.SETTING_TYPES)
    assert (rows["temperature"]["value"], rows["device"]["source"]) == (0.5, "PIXTRAL_DEVICE")
    assert (rows["seed"]["value"], rows["seed"]["source"]) == (None, "default")
    said = pixtral("config").stdout
    assert all(name in said for name in config.SETTING_TYPES)


def test_a_model_is_kept_only_where_that_is_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    hide = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name in ('starlette', 'uvicorn') else find(name, *more)\n"
        "from pixtral_cli.command_line import run\n"
        "sys.exit(run(sys.argv[1:]))\n"
    )
    for words in (["ask", "q", "--keep-alive", "5m"], ["chat", "--keep-alive", "5m"]):
        done = subprocess.run(
            [sys.executable, "-c", hide, *words], capture_output=True, text=True, check=False, input=""
        )
        assert done.returncode == 2
        assert done.stderr == f"pixtral: --keep-alive needs two more packages. Get them: {install_command('serve')}\n"


@pytest.mark.parametrize(
    "words", [["--json", "--format", "csv"], ["--format", "text", "--json"], ["--format=records", "--json"]]
)
def test_json_beside_another_format_is_refused_and_named(words: list[str]) -> None:
    done = pixtral("ask", "x", *words, "-m", "demo")
    other = "records" if "--format=records" in words else next(word for word in words if word in ("csv", "text"))
    assert (done.status, done.stdout) == (2, "")
    assert (
        done.stderr == f"pixtral: --json is --format json, and --format {other} is given too. Leave one of them out\n"
    )
    assert pixtral("models", "--json", "--format", "json").status == 0


@pytest.mark.parametrize(
    ("question", "noted"),
    [
        ("Describe {name} in {style}", True),
        ("Compare {1} with {2}", False),
        ("Say $name", False),
        ("Write ${name}", False),
    ],
)
def test_a_place_in_braces_is_noted_when_a_template_is_saved(question: str, noted: bool) -> None:
    done = pixtral("ask", "--save", "mine", question)
    assert done.status == 0
    assert ("{name} is sent as it is; a place that -p fills is written $name" in done.stderr) == noted


@pytest.mark.parametrize("editor", ["nano", "/usr/bin/vim -f"])
def test_editing_without_a_terminal_names_the_file_and_makes_none(
    home: Path, editor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", editor)
    monkeypatch.delenv("VISUAL", raising=False)
    name = editor.split()[0].rpartition("/")[2]
    for words, file in ((["templates", "edit", "mine"], "mine.toml"), (["config", "edit"], "config.toml")):
        done = pixtral(*words)
        assert done.status == 2
        assert f"The editor {name} needs a terminal, and there is none. Write the file: " in done.stderr
        assert done.stderr.rstrip().endswith(file)
        assert not list(home.rglob(file))


def test_no_message_ends_in_two_full_stops() -> None:
    assert (PixtralError("One.", "Two.").message, PixtralError("One.", "Two.").hint) == ("One", "Two")
    assert PixtralError("It goes on...").message == "It goes on..."
    for words in (
        ["ask", "-t", "none", "x"],
        ["templates", "show", "no/name"],
        ["sessions", "show", "zzzzzz"],
        ["ask", "-c", "x"],
    ):
        done = pixtral(*words)
        assert done.status == 2
        assert ".." not in done.stderr


def test_the_readme_and_the_doctor_leave_the_choice_of_a_model_to_pull() -> None:
    readme = (EXAMPLE.parents[1] / "README.md").read_text(encoding="utf-8")
    assert "`pixtral pull` says which is the best for your machine" in readme
    assert "pixtral pull " in pixtral("doctor").stdout
