"""What is on this machine: lists models and removes them. Removal in the hub's cache is its client's own."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixtral_cli import config
from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.models import layout, names, quantized_files, verify
from pixtral_cli.models.hub import Hub
from pixtral_cli.models.names import Reference

if TYPE_CHECKING:
    from huggingface_hub import CachedRevisionInfo, HFCacheInfo

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


@dataclass(frozen=True, slots=True)
class Removal:
    """What would go: the places, the bytes it frees, and the deed."""

    places: tuple[Path, ...]
    size: int
    run: Callable[[], None]


def installed_models() -> Iterator[InstalledModel]:
    """Every model on this machine: the demo, the hub's cache, the vendor's folder. Reads headers alone."""
    yield _installed(names.DEMO, names.demo_folder())
    for home in _folders(names.hub_cache(), "models--*"):
        yield from _cached(home)
    for folder in _folders(names.vendor_home(), "*"):
        if layout.files(folder):
            yield _installed(str(folder), folder)


def plan_removal(reference: Reference) -> Removal:
    """How to remove a model: a whole repository, one revision of it, or the model's files in a folder.

    What was made of its weights goes too. Raises UsageError for the demo, ModelError when there is nothing to remove.
    """
    found = _model_removal(reference)
    cache = config.paths().cache
    made = {file for folder in _homes(reference) for file in quantized_files.existing_files(cache, folder)}

    def run() -> None:
        found.run()
        for file in made:
            file.unlink(missing_ok=True)

    return Removal(found.places, found.size + _bytes(made), run)


def _homes(reference: Reference) -> list[Path]:
    if reference.repo is None:
        return [reference.folder] if reference.folder else []
    home = names.hub_cache() / names.repo_folder(reference.repo)
    return names.snapshots(home, reference.revision) if home.is_dir() else [names.find(reference).folder]


def _model_removal(reference: Reference) -> Removal:
    if reference.folder == names.demo_folder():
        raise UsageError("The demo is part of pixtral and cannot be removed", "See the others: pixtral models")
    if reference.repo is None:
        assert reference.folder is not None
        return _folder_removal(reference.folder)
    home = names.hub_cache() / names.repo_folder(reference.repo)
    if reference.revision is None and not home.is_dir():
        return _folder_removal(names.find(reference).folder)
    commits = {folder.name for folder in names.snapshots(home, reference.revision) if folder.is_dir()}
    if reference.revision and not commits:
        raise ModelError(f"{reference.name} is not on this machine", names.LIST_HINT)
    from huggingface_hub import scan_cache_dir

    scan = scan_cache_dir(home.parent)
    found = next((cached for cached in scan.repos if cached.repo_path.name == home.name), None)
    if found is None and reference.revision:
        raise ModelError(f"{home} is in disorder", f"Remove all of it: pixtral models rm {reference.repo}")
    if found is None:  # cut short or meddled with: the hub's client does not know its way there
        return _removal(reference.repo, home, lambda: shutil.rmtree(home), _bytes(home.glob("blobs/*")))
    revisions = [revision for revision in found.revisions if revision.commit_hash in commits]
    return _cache_removal(reference.repo, home, scan, revisions)


def _cached(home: Path) -> Iterator[InstalledModel]:
    """The snapshots of one repository that hold files of a model in mistral format."""
    partial = _bytes(home.glob("blobs/*.incomplete"))
    for folder in _folders(home / "snapshots", "*"):
        if not layout.files(folder):
            continue
        whole = not layout.missing(folder)
        yield _installed(names.snapshot_name(folder, digits=8), folder, 0 if whole else partial)


def _installed(name: str, folder: Path, partial: int = 0) -> InstalledModel:
    files = layout.files(folder)
    size = _bytes(files) + partial
    revision = names.revision_of(folder)
    if found := verify.quick_check(folder):
        state: State = "incomplete" if found.state == "missing" else "damaged"
        return InstalledModel(name, folder, size, state, revision, f"{found.file} {found.detail}")
    return InstalledModel(name, folder, size, "built in" if name == names.DEMO else "complete", revision)


def _folders(home: Path, pattern: str) -> list[Path]:
    return sorted(folder for folder in home.glob(pattern) if folder.is_dir())


def _folder_removal(folder: Path) -> Removal:
    """The model's own files in a folder and what the hub's client noted there; the folder too if nothing else is in it."""
    files = layout.files(folder)
    if not files:
        raise ModelError(f"{folder}: there is no model in this folder", names.LIST_HINT)

    def run() -> None:
        for file in files:
            file.unlink()
        shutil.rmtree(folder / ".cache" / "huggingface", ignore_errors=True)
        for left in (folder / ".cache", folder):
            if left.is_dir() and not any(left.iterdir()):
                left.rmdir()

    return Removal(tuple(files), _bytes(files), run)


def _cache_removal(repo: str, home: Path, scan: "HFCacheInfo", revisions: "list[CachedRevisionInfo]") -> Removal:
    """The model's files in those snapshots, and what no snapshot needs any more. Other programs' files stay."""
    ours = {file for revision in revisions for file in layout.files(revision.snapshot_path)}
    files = [file for revision in revisions for file in revision.files]
    if all(file.file_path in ours for file in files):
        strategy = scan.delete_revisions(*(revision.commit_hash for revision in revisions))
    else:
        strategy = scan.delete_files(*(file for file in files if file.file_path in ours))
    partial = list(home.glob("blobs/*.incomplete"))

    def work() -> None:
        strategy.execute()
        for file in partial:
            file.unlink(missing_ok=True)
        if not any(home.glob("snapshots/*/*")):  # nothing but notes of the hub's client is left
            shutil.rmtree(home, ignore_errors=True)

    return _removal(repo, home, work, strategy.expected_freed_size + _bytes(partial))


def _removal(repo: str, home: Path, work: Callable[[], object], size: int) -> Removal:
    def run() -> None:
        with Hub.of().lock(repo):
            work()

    return Removal((home,), size, run)


def _bytes(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())
