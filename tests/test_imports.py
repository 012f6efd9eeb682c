"""Imports go down only, heavy libraries stay in their folders, and --help loads none of them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pixtral_cli"

# From the ground up. A module may import from its own room and from rooms on lower floors; rooms of one floor do not
# know each other. `""` is the package itself, which holds the version.
HOUSE = [
    {"", "errors"},
    {"versions", "compat", "limits", "extras", "util"},
    {"config"},
    {"images", "models"},
    {"chat"},
    {"structured"},
    {"api"},
    {"sessions"},
    {"engines"},
    {"terminal", "batch", "evals", "server", "doctor"},
    {"cli"},
    {"command_line", "python_api"},
    {"__main__"},
]
LOCAL_ENGINE = [
    {"config", "runtime"},
    {"kernels", "tokens"},
    {"model"},
    {"weights"},
    {"generation"},
    {"engine"},
]
TERMINAL = [
    {"preferences"},
    {"output", "desktop"},
    {"graphics"},
    {"ask", "repl", "views"},
]
FLOORS = {"": HOUSE, "engines/local": LOCAL_ENGINE, "terminal": TERMINAL}

MOST_MODULES = 14

HOMES = {"torch": "engines/local/", "mistral_inference": "engines/local/", "mistral_common": "engines/"}

HEAVY = {"torch", "PIL", "httpx", "httpx2", "prompt_toolkit", "huggingface_hub", "mistral_common", "mistral_inference",
         "numpy", "cv2", "rich", "pydantic", "sqlite3", "asyncio"}  # fmt: skip
UNUSED_BY_HELP = {"dataclasses", "json", "secrets", "hashlib"}
LOADED_BY_HELP = (
    "pixtral_cli.cli",
    "pixtral_cli.command_line",
    "pixtral_cli.compat",
    "pixtral_cli.errors",
    "pixtral_cli.limits",
)


def imports(file: Path) -> Iterator[str]:
    """Every module a file imports, also inside functions, as an absolute name."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
            if node.module == "pixtral_cli":
                yield from (f"pixtral_cli.{alias.name}" for alias in node.names if alias.name != "__version__")


SOURCES = [pytest.param(file, id=str(file.relative_to(PACKAGE))) for file in sorted(PACKAGE.rglob("*.py"))]


def room(parts: tuple[str, ...]) -> str:
    """The first part of a path below a folder that has floors: a folder or a module; "" for its `__init__`."""
    return parts[0].removesuffix(".py") if parts and parts[0] != "__init__.py" else ""


@pytest.mark.parametrize("folder", FLOORS)
@pytest.mark.parametrize("file", SOURCES)
def test_imports_go_down_only(file: Path, folder: str) -> None:
    inside = (PACKAGE / folder).relative_to(PACKAGE).parts
    place = file.relative_to(PACKAGE).parts
    if place[: len(inside)] != inside:
        return
    floor = {room: number for number, rooms in enumerate(FLOORS[folder]) for room in rooms}
    here = room(place[len(inside) :])
    if not here and folder:
        return  # the folder's own docstring
    for name in imports(file):
        package, *rest = name.split(".")
        if package != "pixtral_cli" or not rest or tuple(rest[: len(inside)]) != inside or len(rest) == len(inside):
            continue
        there = room(tuple(rest[len(inside) :]))
        if place == ("__init__.py",) and there == "python_api":
            continue  # the package's own names, imported when they are asked for
        assert there in floor, f"{there} stands on no floor of {folder or 'the house'}"
        assert there == here or floor[there] < floor[here], f"{here} imports {there}"


def test_no_folder_has_too_many_modules() -> None:
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    crowded = {
        str(folder.relative_to(PACKAGE)): count
        for folder in folders
        if folder.name != "tasks"
        and (count := sum(file.name != "__init__.py" for file in folder.glob("*.py"))) > MOST_MODULES
    }
    assert not crowded


@pytest.mark.parametrize("file", SOURCES)
def test_heavy_libraries_stay_in_their_rooms(file: Path) -> None:
    place = file.relative_to(PACKAGE).as_posix()
    for name in imports(file):
        home = HOMES.get(name.split(".")[0])
        assert home is None or place.startswith(home), f"{place} imports {name}"


def test_what_stands_before_ctrl_c_is_handled_loads_nothing_but_the_package() -> None:
    code = "import sys; before = set(sys.modules); import pixtral_cli.__main__; print(*set(sys.modules) - before)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(result.stdout.split()) == {"pixtral_cli", "pixtral_cli.__main__"}


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(flag: str) -> None:
    code = (
        "import sys\nfrom pixtral_cli.command_line import run\n"
        f"status = run([{flag!r}])\n"
        "print(*sys.modules, file=sys.stderr)\nsys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in result.stderr.split()}
    assert "typer" in loaded
    assert not loaded & (HEAVY | UNUSED_BY_HELP)
    ours = [name for name in result.stderr.split() if name.startswith("pixtral_cli.")]
    assert not [name for name in ours if not name.startswith(LOADED_BY_HELP)]
    assert "pixtral" in result.stdout
