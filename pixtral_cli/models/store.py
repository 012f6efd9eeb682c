"""The models on this machine, and the state of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixtral_cli.models import layout, names, verify

if TYPE_CHECKING:
    pass

State = Literal["built in", "complete", "incomplete", "damaged"]


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model in a folder. `detail` says what is missing or damaged; `size` counts what is here, partial files too."""

    name: str
    folder: Path
    size: int
    state: State
    revision: str | None = None
    detail: str = ""


def installed_models() -> Iterator[InstalledModel]:
    """Every model on this machine: the demo, the hub's cache, the vendor's folder. Reads headers alone."""
    yield describe(names.DEMO, names.demo_folder())
    for home in _folders(names.hub_cache(), "models--*"):
        yield from _cached(home)
    for folder in _folders(names.vendor_home(), "*"):
        if layout.files(folder):
            yield describe(str(folder), folder)


def _cached(home: Path) -> Iterator[InstalledModel]:
    """The snapshots of one repository that hold files of a model of this family."""
    partial = _bytes(home.glob("blobs/*.incomplete"))
    for folder in _folders(home / "snapshots", "*"):
        if not layout.files(folder):
            continue
        whole = not layout.missing(folder)
        yield describe(names.snapshot_name(folder, digits=8), folder, 0 if whole else partial)


def describe(name: str, folder: Path, partial: int = 0) -> InstalledModel:
    """The state of the model in a folder; `partial` are bytes of files that are not whole."""
    files = layout.files(folder)
    size = _bytes(files) + partial
    revision = names.revision_of(folder)
    if problem := verify.quick_check(folder):
        state: State = "incomplete" if problem.state == "missing" else "damaged"
        return InstalledModel(name, folder, size, state, revision, f"{problem.file} {problem.detail}")
    return InstalledModel(name, folder, size, "built in" if name == names.DEMO else "complete", revision)


def _folders(home: Path, pattern: str) -> list[Path]:
    return sorted(folder for folder in home.glob(pattern) if folder.is_dir())


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())
