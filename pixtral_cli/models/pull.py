"""Downloads a model: checks existing files, fetches the others, resumes after an interruption, compares all hashes.

Files go to huggingface_hub's cache in its layout, so that both can use each other's files.
"""

import errno
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
from pixtral_cli.models.file_download import FileDownload
from pixtral_cli.models.hub import DownloadPlan, Hub, HubUnreachable, RemoteFile, offline_error
from pixtral_cli.models.names import Reference
from pixtral_cli.models.verify import FileCheck, Progress
from pixtral_cli.util import atomic
from pixtral_cli.util.sizes import format_bytes

# Called with the content of a configuration, its format and the model's name.
ConfigCheck: TypeAlias = Callable[[bytes, layout.Format, str], None]
# Files from this size on are fetched by the client; of smaller ones a kill would lose a large part.
CLIENT_MIN_BYTES = 64 << 20
RETRY_DELAYS = (1.0, 2.0, 4.0, 8.0, 8.0)  # seconds before each retry; the count restarts when bytes arrive


@dataclass(frozen=True, slots=True)
class PullResult:
    """The result of a download.

    `size`: bytes of the model, `fetched`: those fetched now, `compared`: every hash was compared.
    """

    folder: Path
    size: int
    fetched: int
    compared: bool = True


def free_space(folder: Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def pull(
    reference: Reference,
    hub: Hub,
    *,
    check: ConfigCheck | None = None,
    client_min_bytes: int = CLIENT_MIN_BYTES,
    free: Callable[[Path], int] = free_space,
    retry_delays: Sequence[float] = RETRY_DELAYS,
) -> Generator[Progress | PullResult, None, None]:
    """Download a repository's model; yields progress and finally the result.

    An interrupted call is resumed by the next one. `check` is called with the model's configuration before anything
    else is fetched, and may raise. Files of at least `client_min_bytes` bytes, none of which exist yet, are fetched by
    huggingface_hub; the others by Range, one by one. Raises ModelError (no such model, no access, no disk space, wrong
    bytes) and NetworkError.
    """
    assert reference.repo is not None
    plan = hub.plan(reference.repo, reference.revision)
    home = hub.home(plan.repo)
    if check:
        check(_read_config(plan, hub), plan.format, reference.name)
    with _translated_disk_errors(hub.cache), hub.lock(plan.repo):
        snapshot.adopt(plan, hub)
        parts = yield from _check_local_files(plan, home)
        missing = sum(part.file.size - part.done for part in parts)
        _check_disk_space(hub.cache, missing, free(hub.cache))
        large = [part.file for part in parts if not part.done and part.file.size >= client_min_bytes]
        if large:
            yield from _fetch_by_client(large, hub, plan, sum(part.file.size for part in parts))
            parts = yield from _check_local_files(plan, home)
        yield from _fetch(parts, hub, plan, reference.name, retry_delays)
        _write_ref(plan, home)
    yield PullResult(home / "snapshots" / plan.commit, plan.size, missing)


def _read_config(plan: DownloadPlan, hub: Hub) -> bytes:
    """The content of the model's configuration, from the cache or the hub."""
    cached = hub.home(plan.repo) / "snapshots" / plan.commit / plan.files[0].name
    return cached.read_bytes() if cached.is_file() else hub.read_config(plan)


def check_local(reference: Reference) -> Generator[Progress | PullResult, None, None]:
    """`pull` without the network: checks every byte of the model on this machine. Raises NetworkError or ModelError."""
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
    yield PullResult(model.folder, sum(file.stat().st_size for file in layout.files(model.folder)), 0, compared)


def damaged_error(folder: Path, finding: FileCheck) -> ModelError:
    """The error for a damaged file: its name and how to repair it."""
    return ModelError(f"{folder / finding.file} {finding.detail}", names.repair_hint(folder))


def _check_local_files(plan: DownloadPlan, home: Path) -> Generator[Progress, None, list[FileDownload]]:
    """Hash the existing bytes of each file: correct files are committed, wrong ones deleted.

    Returns the files to fetch.
    """
    parts = [FileDownload.start(file, home, plan.commit) for file in plan.files]
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
        if part.is_correct:
            part.commit(source)
        elif source != part.partial or part.done >= part.file.size:
            part.discard(source)
    return [part for part in parts if not part.complete]


def _check_disk_space(cache: Path, needed: int, free: int) -> None:
    """Raises ModelError when fewer than `needed` bytes are free."""
    if needed > free:
        raise ModelError(
            f"Not enough disk space in {cache}: need {format_bytes(needed)}, have {format_bytes(free)}",
            "Free some, or set HF_HOME to a folder on a larger disk",
        )


def _fetch_by_client(files: list[RemoteFile], hub: Hub, plan: DownloadPlan, missing: int) -> Iterator[Progress]:
    """Let huggingface_hub fetch these files. Those it does not finish, for whatever reason, are fetched afterwards."""
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
    parts: list[FileDownload], hub: Hub, plan: DownloadPlan, name: str, retry_delays: Sequence[float]
) -> Iterator[Progress]:
    """Fetch files by Range, one by one, and check them. Raises NetworkError, ModelError."""
    before = plan.size - sum(part.file.size for part in parts)
    for part in parts:
        done_before = before + sum(other.done for other in parts if other is not part)
        resumed = part.done > 0
        try:
            yield from _fetch_one(part, hub, plan, retry_delays, done_before)
            if resumed and not part.is_correct:  # a part that huggingface_hub left may have holes
                part.discard(part.partial)
                yield from _fetch_one(part, hub, plan, retry_delays, done_before)
        except HubUnreachable as error:
            raise NetworkError(error.message, f"What came is kept; go on with: pixtral pull {name}") from error
        if not part.is_correct:
            raise _discard_mismatch(part, name)
        part.commit(part.partial)


def _fetch_one(
    part: FileDownload, hub: Hub, plan: DownloadPlan, retry_delays: Sequence[float], done_before: int
) -> Iterator[Progress]:
    """Fetch a file; yields progress. `done_before`: bytes done of the other files."""
    for note in _download_with_retries(part, hub, plan, retry_delays):
        yield Progress("Downloading", part.file.name, done_before + part.done, plan.size, note)


def _download_with_retries(
    part: FileDownload, hub: Hub, plan: DownloadPlan, retry_delays: Sequence[float]
) -> Iterator[str]:
    """Fetch until all bytes are on disk; yields "" after every piece and a note after a failed connection."""
    part.partial.parent.mkdir(parents=True, exist_ok=True)
    failures = 0
    with part.partial.open("ab") as out:
        while part.done < part.file.size:
            done = part.done
            try:
                for _ in _download_once(part, hub, plan, out):
                    yield ""
            except HubUnreachable as error:
                failures = failures + 1 if part.done <= done else 1
                if failures > len(retry_delays):
                    raise
                out.flush()
                yield f"{error.message}; trying again in {retry_delays[failures - 1]:.0f} s"
                time.sleep(retry_delays[failures - 1])
        out.flush()
        os.fsync(out.fileno())


def _download_once(part: FileDownload, hub: Hub, plan: DownloadPlan, out: BinaryIO) -> Iterator[None]:
    """Make one request for the missing bytes; yields after every piece. Raises HubUnreachable when it ends early."""
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


def _discard_mismatch(part: FileDownload, name: str) -> ModelError:
    """Delete bytes that are not those of the hub's listing; returns the error, which says what they look like."""
    with part.partial.open("rb") as stream:
        what = verify.foreign_content(stream.read(512)) or "has another hash than the hub lists"
    part.discard(part.partial)
    return ModelError(f"{part.file.name} arrived damaged: it {what}", f"Fetch it again: pixtral pull {name}")


def _write_ref(plan: DownloadPlan, home: Path) -> None:
    """Record that the requested branch or tag points to this commit, as huggingface_hub does."""
    revision = plan.revision or "main"
    if plan.commit.startswith(revision):
        return
    reference = home / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    atomic.write(reference, plan.commit)


@contextmanager
def _translated_disk_errors(cache: Path) -> Iterator[None]:
    """Turns OSError into ModelError with what to do."""
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
