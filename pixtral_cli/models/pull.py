"""Gets a model whole: checks what is here, fetches the rest, goes on after a cut or a kill, compares every byte's hash.

Files go to the hub's standard cache, as its client lays it out, so that both use each other's files.
"""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from pixtral_cli.errors import ModelError, NetworkError
from pixtral_cli.models import layout, names, snapshot, verify
from pixtral_cli.models.hub import DownloadPlan, Hub, HubUnreachable, RemoteFile, offline_error
from pixtral_cli.models.names import Reference
from pixtral_cli.models.verify import FileCheck, Progress
from pixtral_cli.util import atomic
from pixtral_cli.util.sizes import format_bytes

# Is handed the content of a configuration, its format and the model's name.
ConfigCheck: TypeAlias = Callable[[bytes, layout.Format, str], None]
CLIENT_FROM = 64 << 20  # bytes of a file: fetched side by side, smaller ones would lose a large part of each to a kill
RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 8.0)  # seconds before each new try; bytes that arrive start the count again


@dataclass(frozen=True, slots=True)
class Pulled:
    """A model is whole: where it is, its bytes, how many of them were fetched now, and whether every hash was compared."""

    folder: Path
    size: int
    fetched: int
    compared: bool = True


def free_space(folder: Path) -> int:
    """Bytes free on the disk that a folder, not yet made perhaps, is or will be on."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def pull(
    reference: Reference,
    hub: Hub,
    *,
    check: ConfigCheck | None = None,
    client_from: int = CLIENT_FROM,
    free: Callable[[Path], int] = free_space,
    pauses: Sequence[float] = RETRY_DELAYS,
) -> Generator[Progress | Pulled, None, None]:
    """Fetch a repository's model; yields progress and at last where it is. Whatever stops it, a new call goes on from there.

    `check` is called with the model's configuration before anything else is fetched, and may raise. Files of `client_from`
    bytes and more of which nothing is here yet are fetched by the hub's client, all others by Range, one after another.
    Raises ModelError (no such model, no access, no space, wrong bytes) and NetworkError.
    """
    assert reference.repo is not None
    plan = hub.plan(reference.repo, reference.revision)
    home = hub.home(plan.repo)
    if check:
        check(_read_config(plan, hub), plan.format, reference.name)
    with _translated_disk_errors(hub.cache), hub.lock(plan.repo):
        snapshot.adopt(plan, hub)
        parts = yield from _check_local_files(plan, home)
        need = sum(part.file.size - part.done for part in parts)
        _check_disk_space(hub.cache, need, free(hub.cache))
        large = [part.file for part in parts if not part.done and part.file.size >= client_from]
        if large:
            yield from _fetch_by_client(large, hub, plan, sum(part.file.size for part in parts))
            parts = yield from _check_local_files(plan, home)
        yield from _fetch(parts, hub, plan, reference.name, pauses)
        _write_ref(plan, home)
    yield Pulled(home / "snapshots" / plan.commit, plan.size, need)


def _read_config(plan: DownloadPlan, hub: Hub) -> bytes:
    """The model's configuration, which may be here already."""
    here = hub.home(plan.repo) / "snapshots" / plan.commit / plan.files[0].name
    return here.read_bytes() if here.is_file() else hub.read_config(plan)


def check_local(reference: Reference) -> Generator[Progress | Pulled, None, None]:
    """`pull` without the network: checks that the model is here and sound, else raises."""
    try:
        model = names.find(reference)
    except ModelError as error:
        raise offline_error(reference.name) from error
    compared = True
    for step in verify.full_check(model.folder):
        if isinstance(step, Progress):
            yield step
        elif step.state in ("damaged", "missing"):
            raise damaged_error(model.folder, step)
        else:
            compared &= step.state == "ok"
    yield Pulled(model.folder, sum(file.stat().st_size for file in layout.files(model.folder)), 0, compared)


def damaged_error(folder: Path, finding: FileCheck) -> ModelError:
    """The error for a damaged file: its name and how to repair it."""
    return ModelError(f"{folder / finding.file} {finding.detail}", names.repair_hint(folder))


@dataclass(slots=True)
class _FileDownload:
    """A file on its way into the cache: how many of its bytes are here, and the hash of those."""

    file: RemoteFile
    blob: Path
    pointer: Path
    done: int
    digester: "hashlib._Hash"
    whole: bool = False

    @classmethod
    def of(cls, file: RemoteFile, home: Path, commit: str) -> "_FileDownload":
        pointer = home / "snapshots" / commit / file.name
        return cls(file, home / "blobs" / file.digest, pointer, 0, verify.hasher(file.digest, file.size))

    @property
    def partial(self) -> Path:
        return self.blob.with_name(f"{self.blob.name}.incomplete")

    @property
    def source(self) -> Path | None:
        """The path that holds this file's bytes already; the pointer itself where there are no symbolic links."""
        return next((path for path in (self.blob, self.pointer, self.partial) if path.is_file()), None)

    @property
    def right(self) -> bool:
        return self.done == self.file.size and self.digester.hexdigest() == self.file.digest

    def restart(self) -> None:
        self.done, self.digester = 0, verify.hasher(self.file.digest, self.file.size)

    def add(self, piece: bytes) -> None:
        self.digester.update(piece)
        self.done += len(piece)

    def keep(self, source: Path) -> None:
        """These bytes are right: they get their final name, and the snapshot a link to them."""
        if source == self.partial:
            self.partial.replace(self.blob)
        if source != self.pointer:
            self.pointer.parent.mkdir(parents=True, exist_ok=True)
            self.pointer.unlink(missing_ok=True)
            try:
                self.pointer.symlink_to(Path("..", "..", "blobs", self.blob.name))
            except OSError:  # a file system without symbolic links
                self.blob.replace(self.pointer)
        self.whole = True

    def discard(self, source: Path) -> None:
        source.unlink()
        self.restart()


def _check_local_files(plan: DownloadPlan, home: Path) -> Generator[Progress, None, list[_FileDownload]]:
    """Hash what is here of each file: what is right is kept, what is wrong removed. Returns the parts still to be fetched."""
    parts = [_FileDownload.of(file, home, plan.commit) for file in plan.files]
    sources = [part.source for part in parts]
    done, total = 0, sum(source.stat().st_size for source in sources if source)
    for part, source in zip(parts, sources, strict=True):
        if source is None:
            continue
        with source.open("rb") as stream:
            while piece := stream.read(verify.CHUNK):
                part.add(piece)
                done += len(piece)
                yield Progress("Checking", part.file.name, done, total)
        if part.right:
            part.keep(source)
        elif source != part.partial or part.done >= part.file.size:
            part.discard(source)
    return [part for part in parts if not part.whole]


def _check_disk_space(cache: Path, need: int, have: int) -> None:
    if need > have:
        raise ModelError(
            f"Not enough disk space in {cache}: need {format_bytes(need)}, have {format_bytes(have)}",
            "Free some, or set HF_HOME to a folder on a larger disk",
        )


def _fetch_by_client(files: list[RemoteFile], hub: Hub, plan: DownloadPlan, missing: int) -> Iterator[Progress]:
    """Let the hub's client bring what it can. What it leaves undone, for whatever reason, is fetched afterwards."""
    what = files[0].name if len(files) == 1 else f"{len(files)} files"
    before = plan.size - missing
    steps = snapshot.fetch(plan, files, hub)
    try:
        while True:
            yield Progress("Downloading", what, min(before + next(steps), plan.size), plan.size)
    except StopIteration:
        pass
    finally:
        steps.close()
        snapshot.adopt(plan, hub)


def _fetch(
    parts: list[_FileDownload], hub: Hub, plan: DownloadPlan, name: str, pauses: Sequence[float]
) -> Iterator[Progress]:
    before = plan.size - sum(part.file.size for part in parts)
    for part in parts:
        rest = before + sum(other.done for other in parts if other is not part)
        went_on = part.done > 0
        try:
            yield from _fetch_one(part, hub, plan, pauses, rest)
            if went_on and not part.right:  # what was kept of it may be a client's, with holes
                part.discard(part.partial)
                yield from _fetch_one(part, hub, plan, pauses, rest)
        except HubUnreachable as error:
            raise NetworkError(error.message, f"What came is kept; go on with: pixtral pull {name}") from error
        if not part.right:
            raise _discard_mismatch(part, name)
        part.keep(part.partial)


def _fetch_one(
    part: _FileDownload, hub: Hub, plan: DownloadPlan, pauses: Sequence[float], rest: int
) -> Iterator[Progress]:
    for note in _download_with_retries(part, hub, plan, pauses):
        yield Progress("Downloading", part.file.name, rest + part.done, plan.size, note)


def _download_with_retries(part: _FileDownload, hub: Hub, plan: DownloadPlan, pauses: Sequence[float]) -> Iterator[str]:
    """Fetch until all bytes are on the disk; yields after every piece, with a note when the connection failed."""
    part.partial.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    with part.partial.open("ab") as out:
        while part.done < part.file.size:
            had = part.done
            try:
                for _ in _download_once(part, hub, plan, out):
                    yield ""
            except HubUnreachable as error:
                failures = failures + 1 if part.done <= had else 1
                if failures > len(pauses):
                    raise
                out.flush()
                yield f"{error.message}; trying again in {pauses[failures - 1]:.0f} s"
                time.sleep(pauses[failures - 1])
        out.flush()
        os.fsync(out.fileno())


def _download_once(part: _FileDownload, hub: Hub, plan: DownloadPlan, out: BinaryIO) -> Iterator[None]:
    """One request: the bytes that are missing, as far as they come."""
    with hub.stream(plan, part.file, part.done) as (start, pieces):
        if start != part.done:
            out.truncate(0)
            part.restart()
        for piece in pieces:
            out.write(piece)
            part.add(piece)
            yield
            if part.done > part.file.size:
                return
    if part.done < part.file.size:
        raise HubUnreachable(f"The connection ended in the middle of {part.file.name}")


def _discard_mismatch(part: _FileDownload, name: str) -> ModelError:
    """The bytes that came are not those the hub listed: throw them away and say what they look like."""
    with part.partial.open("rb") as stream:
        what = verify.foreign_content(stream.read(512)) or "has another hash than the hub lists"
    part.discard(part.partial)
    return ModelError(f"{part.file.name} arrived damaged: it {what}", f"Fetch it again: pixtral pull {name}")


def _write_ref(plan: DownloadPlan, home: Path) -> None:
    """Let the branch or tag that was asked for point to this commit, as the hub's client does."""
    revision = plan.revision or "main"
    if plan.commit.startswith(revision):
        return
    reference = home / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(reference, plan.commit)


@contextmanager
def _translated_disk_errors(cache: Path) -> Iterator[None]:
    """The disk's errors in our words."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ModelError(
                f"The disk of {cache} is full", "Free some space and run the same command again: it goes on"
            ) from error
        raise ModelError(
            f"Cannot write to {error.filename or cache}: {error.strerror}", "Set HF_HOME to a folder you may write to"
        ) from error
