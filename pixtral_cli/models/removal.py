"""Removes a downloaded model: lists the files in the hub's cache first, then removes exactly those. Follows no links."""

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli import config
from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.models import layout, names, quantized_files
from pixtral_cli.models.hub import Hub
from pixtral_cli.models.names import Reference


@dataclass(frozen=True, slots=True)
class Removal:
    """The files to remove, each with the bytes that this frees (0 for a link); `run` removes them."""

    files: tuple[tuple[Path, int], ...]
    run: Callable[[], None]

    @property
    def size(self) -> int:
        return sum(size for _, size in self.files)


def plan_removal(reference: Reference) -> Removal:
    """The plan to remove a model, or one revision of it, and its quantized weights from the caches.

    For a folder outside the hub's cache only its quantized weights are removed. Raises UsageError for the demo and for
    a folder without quantized weights, ModelError when there is no such model or a folder of the cache is a link.
    """
    if reference.folder == names.demo_folder():
        raise UsageError("The demo is part of pixtral and cannot be removed", "See the others: pixtral models")
    folder = reference.folder
    if folder and names.repo_of(folder) and folder.parent.parent.parent == names.hub_cache():
        home, snapshots = folder.parent.parent, [folder]
    elif folder or not (names.hub_cache() / names.repo_folder(reference.repo or "")).is_dir():
        return _quantized_only(folder or names.find(reference).folder)
    else:
        home = names.hub_cache() / names.repo_folder(reference.repo or "")
        snapshots = [folder for folder in names.snapshots(home, reference.revision) if folder.is_dir()]
        if reference.revision and not snapshots:
            raise ModelError(f"{reference.name} is not on this machine", names.LIST_HINT)
    for inside in (home, home / "snapshots", home / "blobs", *snapshots):
        if inside.is_symlink():
            raise ModelError(f"{inside} is a link", "Nothing is removed through links: remove what it names by hand")
    cache = config.paths().cache
    quantized = [file for snapshot in snapshots for file in quantized_files.existing_files(cache, snapshot)]
    files = list(dict.fromkeys([*_cached_files(home, snapshots), *quantized]))

    def run() -> None:
        with Hub.of().lock(names.repo_of(home / "snapshots" / "any") or ""):
            _unlink(files)
            _remove_empty_folders(home)

    return Removal(tuple((file, _size(file)) for file in files), run)


def _quantized_only(folder: Path) -> Removal:
    """The plan to remove the quantized weights of a checkpoint outside the hub's cache. Raises ModelError, UsageError."""
    if not layout.files(folder):
        raise ModelError(f"{folder}: there is no model in this folder", names.LIST_HINT)
    quantized = quantized_files.existing_files(config.paths().cache, folder)
    if not quantized:
        raise UsageError(
            f"pixtral did not put the model into {folder}", "If it is not needed, remove that folder yourself"
        )
    return Removal(tuple((file, _size(file)) for file in quantized), lambda: _unlink(quantized))


def _cached_files(home: Path, snapshots: list[Path]) -> Iterator[Path]:
    """The files of these snapshots and the blobs that no other uses; all of `home` where no other snapshot remains."""
    files = [snapshot / file.name for snapshot in snapshots for file in layout.files(snapshot)]
    remaining = [file for file in _files_in(home / "snapshots") if file not in {*files}]
    if not remaining:
        yield from _files_in(home)
        return
    used = {file.readlink().name for file in remaining if file.is_symlink()}
    blobs = {home / "blobs" / file.readlink().name for file in files if file.is_symlink()}
    yield from files
    yield from sorted(blob for blob in blobs if blob.name not in used and blob.is_file() and not blob.is_symlink())
    yield from sorted((home / "blobs").glob("*.incomplete"))
    remaining_commits = {file.relative_to(home / "snapshots").parts[0] for file in remaining}
    yield from (
        ref
        for ref in _files_in(home / "refs")
        if names.read_ref(home, str(ref.relative_to(home / "refs"))) not in remaining_commits
    )


def _files_in(folder: Path) -> Iterator[Path]:
    """Every file and link below a folder; links to folders are not entered."""
    if folder.is_symlink():
        yield folder
        return
    for place, inner, files in os.walk(folder):
        yield from sorted(Path(place, name) for name in files)
        yield from sorted(Path(place, name) for name in inner if Path(place, name).is_symlink())


def _size(file: Path) -> int:
    status = file.lstat()
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def _unlink(files: list[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _remove_empty_folders(home: Path) -> None:
    """Remove the empty folders below this one, and the folder itself when it is empty. Links to folders stay."""
    for place, _, _ in os.walk(home, topdown=False):
        if not os.path.islink(place) and not os.listdir(place):  # noqa: PTH114, PTH208
            Path(place).rmdir()
