"""The documents tell the truth: links lead somewhere, commands parse, and tables of settings and statuses are complete."""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer._click.exceptions import MissingParameter

from pixtral_cli import config, errors
from pixtral_cli.cli.app import app

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pixtral_cli"
NAMES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "demo/README.md")
DOCUMENTS = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"<!-- bench: .*?<!-- /bench -->", re.DOTALL)
SHELLS = ("console", "sh", "bash")
SEPARATORS = {"|", "||", "&", "&&", ";", "(", ")"}

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))


def text(document: Path) -> str:
    """A document without what `make docs` generates."""
    return GENERATED.sub("", document.read_text(encoding="utf-8"))


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text(document)), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(document: Path) -> Iterator[str]:
    """The lines of a document's shell blocks that call pixtral."""
    for language, block in FENCE.findall(text(document)):
        if language in SHELLS:
            for line in block.replace("\\\n", " ").splitlines():
                if re.search(r"\bpixtral [a-z]", line) and (language != "console" or line.startswith("$ ")):
                    yield line.removeprefix("$ ")


def quotes(document: Path) -> Iterator[str]:
    """The commands in a document's sentences, as far as they are typed: `pixtral COMMAND` stands for any."""
    for line in re.findall(r"`([^`\n]*\bpixtral [^`\n]*)`", FENCE.sub("", text(document))):
        if "COMMAND" not in line:
            yield line


def commands(line: str) -> Iterator[list[str]]:
    """The arguments of each `pixtral` of a line; `…` stands for something left out."""
    line = re.sub(r"(^|\s)#\s.*", "", line).replace("\\|", "|")
    tokens = shlex.shlex(line, posix=True, punctuation_chars=True)
    tokens.whitespace_split, tokens.commenters = True, ""
    words: list[str] = []
    for token in [*tokens, ";"]:
        if token not in SEPARATORS:
            words.append(token)
            continue
        words = words[: next((at for at, word in enumerate(words) if word in (">", ">>", "<")), len(words))]
        while words and (words[0] in ("do", "then") or re.match(r"[A-Z_]+=", words[0])):
            words.pop(0)
        if words and Path(words[0]).name == "pixtral":
            yield words[1:]
        words = []


def typed(lines: Callable[[Path], Iterator[str]]) -> list[Any]:
    return [
        pytest.param(arguments, id=f"{document.name}: {line}"[:100])
        for document in DOCUMENTS
        for line in lines(document)
        for arguments in commands(line)
    ]


def parse(arguments: list[str]) -> None:
    """Parse a command line as the program would, and run nothing. Raises for what it would refuse."""
    command = typer.main.get_command(app)
    context = command.make_context("pixtral", list(arguments))
    while rest := [*context._protected_args, *context.args]:
        name, command, rest = context.command.resolve_command(context, rest)  # type: ignore[attr-defined]
        context = command.make_context(name, rest, parent=context)
        if not hasattr(command, "resolve_command"):
            return


@documents
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text(document)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), f"{document.name} links to {target}"
        assert not anchor or anchor in anchors(file), f"{document.name} links to {target}"


@pytest.mark.parametrize("arguments", typed(blocks))
def test_every_command_to_type_parses(arguments: list[str]) -> None:
    parse(arguments)


@pytest.mark.parametrize("arguments", typed(quotes))
def test_every_command_in_a_sentence_parses_though_its_arguments_may_be_left_out(arguments: list[str]) -> None:
    with suppress(MissingParameter):
        parse(arguments)


def test_commands_are_found_and_wrong_ones_are_not_taken() -> None:
    assert len(typed(blocks)) > 60
    assert len(typed(quotes)) > 60
    assert list(commands("PIXTRAL_API_KEY=… pixtral ask 'a | b' --image - < x.png | jq .answer")) == [
        ["ask", "a | b", "--image", "-"]
    ]
    for wrong in (
        ["models", "pull"],
        ["ask", "--no-such"],
        ["ask", "--format", "yaml"],
        ["chat", "--temperature", "hot"],
    ):
        with pytest.raises(Exception, match=r"No such|not one of|not a valid"):
            parse(wrong)


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text(ROOT / "Makefile"), re.MULTILINE))
    for document in DOCUMENTS:
        named = re.findall(r"(?:^\$ |`)make (?:[A-Z]+=\S+ )*([a-z-]+)", text(document), re.MULTILINE)
        assert {*named} <= targets, document.name


def test_the_readme_is_short_and_leads_to_every_document() -> None:
    readme = text(ROOT / "README.md")
    assert len(readme.splitlines()) <= 200
    for document in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{document.name})" in readme


def test_every_setting_is_explained_and_none_that_is_not_there() -> None:
    table = text(ROOT / "docs" / "reference.md").partition("## Settings")[2].partition("## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(config.SETTING_TYPES)


def test_every_variable_that_is_read_is_explained() -> None:
    read = {
        name
        for file in PACKAGE.rglob("*.py")
        for name in re.findall(
            r'"((?:PIXTRAL|HF|HUGGING\w+|MISTRAL|TRANSFORMERS|XDG)_[A-Z_]+|VISUAL|EDITOR|NO_COLOR)"', text(file)
        )
    }
    named = set(re.findall(r"`([A-Z_]+)`", text(ROOT / "docs" / "reference.md")))
    assert read - named == set()


def test_every_exit_status_is_explained() -> None:
    table = text(ROOT / "docs" / "reference.md").partition("## Exit statuses")[2]
    statuses = {
        kind.status
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.PixtralError)
    }
    assert {0, 130, 143, *statuses} == {
        int(number) for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for number in cell.split(", ")
    }


def test_the_architecture_names_every_room_and_only_files_that_are_there() -> None:
    said = text(ROOT / "docs" / "architecture.md")
    rooms = {
        f"{folder.relative_to(PACKAGE)}/"
        for folder in PACKAGE.rglob("*/")
        if (folder / "__init__.py").exists() and "local" not in folder.relative_to(PACKAGE).parts[1:-1]
    }
    rooms |= {file.name for file in PACKAGE.glob("*.py") if file.name != "__init__.py"}
    inside = {
        f"{folder.name}/" for folder in (PACKAGE / "engines" / "local").glob("*/") if (folder / "__init__.py").exists()
    }
    assert not {room for room in rooms | inside if f"`{room}`" not in said}
    homes = (PACKAGE, PACKAGE / "engines" / "local", ROOT)
    for path in re.findall(r"(?<![\w/.])((?:\w+/)+(?:\w+\.py)?)(?![\w/])", said):
        assert any((home / path).exists() for home in homes), path
