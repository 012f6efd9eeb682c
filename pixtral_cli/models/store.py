"""The models on this machine, and the state of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pixtral_cli.models import layout, names, verify

State = Literal["built in", "complete", "incomplete", "damaged"]


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model in a folder. `size`: bytes, those of partial files included; `detail`: what is missing or damaged."""

    name: str
    folder: Path
    size: int
    state: State
    revision: str | None = None
    detail: str = ""


def installed_models() -> Iterator[InstalledModel]:
    """Every model on this machine: the demo, those in the hub's cache and in the vendor's folder. Reads only headers."""
    yield describe(names.DEMO, names.demo_folder())
    for home in _folders(names.hub_cache(), "models--*"):
        yield from _cached(home)
    for folder in _folders(names.vendor_home(), "*"):
        if layout.files(folder):
            yield describe(str(folder), folder)


def _cached(home: Path) -> Iterator[InstalledModel]:
    """The models in the snapshots of one repository."""
    partial = _bytes(home.glob("blobs/*.incomplete"))
    for folder in _folders(home / "snapshots", "*"):
        if not layout.files(folder):
            continue
        complete = not layout.missing(folder)
        yield describe(names.snapshot_name(folder, digits=8), folder, 0 if complete else partial)


def describe(name: str, folder: Path, partial: int = 0) -> InstalledModel:
    """The model in a folder and its state. `partial`: bytes of unfinished downloads that are added to its size."""
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
