"""The walls of the house: imports go down only, heavy libraries stay in their rooms, and --help loads none of them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pixtral_cli"

FLOORS = [
    {"net", "sanitize", "parallel", "versions", "config", "errors", ""},
    {"chat", "models"},
    {"engines"},
    {"terminal", "server", "evals", "batch", "doctor"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

HOMES = {"torch": "engines/local/", "mistral_inference": "engines/local/", "mistral_common": "engines/"}

HEAVY = {"torch", "PIL", "httpx", "httpx2", "prompt_toolkit", "huggingface_hub", "mistral_common", "mistral_inference",
         "numpy", "cv2", "rich", "pydantic", "sqlite3", "asyncio"}  # fmt: skip


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


def room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py") if parts and parts[0] != "__init__.py" else ""


SOURCES = [pytest.param(file, id=str(file.relative_to(PACKAGE))) for file in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("file", SOURCES)
def test_imports_go_down_only(file: Path) -> None:
    here = room(file.relative_to(PACKAGE).parts)
    for name in imports(file):
        package, *rest = name.split(".")
        if package != "pixtral_cli" or not rest:
            continue
        there = room(tuple(rest))
        assert there == here or FLOOR[there] < FLOOR[here] or FLOOR[here] == 0, f"{here} imports {there}"
        assert FLOOR[there] <= FLOOR[here], f"{here} imports {there}"


@pytest.mark.parametrize("file", SOURCES)
def test_heavy_libraries_stay_in_their_rooms(file: Path) -> None:
    place = file.relative_to(PACKAGE).as_posix()
    for name in imports(file):
        home = HOMES.get(name.split(".")[0])
        assert home is None or place.startswith(home), f"{place} imports {name}"


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_help_and_version_load_nothing_heavy(flag: str) -> None:
    code = (
        "import sys\nfrom pixtral_cli.__main__ import run\n"
        f"status = run([{flag!r}])\n"
        "print(*sys.modules, file=sys.stderr)\nsys.exit(status)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in result.stderr.split()}
    assert "typer" in loaded
    assert not loaded & HEAVY
    assert "pixtral" in result.stdout
