"""Downloads files into the hub's cache by huggingface_hub's `snapshot_download`, in a process that may be killed.

The client fetches several files at a time and, where the hub has them, by Xet, which skips parts that other files
share. It restarts files that it did not finish; `adopt` renames what it left to `HASH.incomplete`, from which `pull`
resumes.
"""

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import IO, Any

from pixtral_cli.models import names
from pixtral_cli.models.hub import DownloadPlan, Hub, RemoteFile

PIECE = 1 << 20  # bytes that the client collects before it writes, which are lost when it is killed
LOCK_TIMEOUT = 10.0  # seconds; a client whose parent was killed ends earlier
UNFINISHED = "????????.incomplete"  # after the hash, in the client's names of files that it is writing


def fetch(plan: DownloadPlan, files: Iterable[RemoteFile], hub: Hub) -> Generator[int, None, bool]:
    """Let the client fetch these files; yields the bytes written so far and returns whether the client succeeded.

    Closing the generator kills the client. Afterwards, however it ended, `adopt` what it left and check the hashes.
    """
    request = {
        "repo": plan.repo, "commit": plan.commit, "files": [file.name for file in files],
        "endpoint": hub.endpoint, "cache": str(hub.cache),
    }  # fmt: skip
    command = [sys.executable, "-m", "pixtral_cli.models.snapshot"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        start_new_session=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as child:  # fmt: skip
        assert child.stdin and child.stdout
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                yield int(line)
        except (BrokenPipeError, ValueError):  # it has ended or printed something else; what it wrote is checked anyway
            return False
        finally:
            child.kill()
        return child.wait() == 0


def adopt(plan: DownloadPlan, hub: Hub) -> None:
    """Rename for `pull` the longest part of each unfinished file that the client left and no process is writing."""
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    blobs = hub.home(plan.repo) / "blobs"
    for file in plan.files:
        left = sorted(blobs.glob(f"{file.digest}.{UNFINISHED}"), key=lambda path: path.stat().st_size)
        if not left:
            continue
        lock = hub.cache / ".locks" / names.repo_folder(plan.repo) / f"{file.digest}.lock"
        try:
            with WeakFileLock(lock, timeout=LOCK_TIMEOUT):
                _keep_longest(left, blobs / f"{file.digest}.incomplete")
        except TimeoutError:
            continue


def _keep_longest(left: list[Path], partial: Path) -> None:
    """Move the longest of these parts, sorted by size, to `partial` unless that is longer; remove the others."""
    if not partial.exists() or partial.stat().st_size < left[-1].stat().st_size:
        left.pop().replace(partial)
    for path in left:
        path.unlink()


# The client's process


def main() -> None:
    """Fetch the files named in the request on stdin; prints the bytes written so far. Ends when stdin is closed."""
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_exit_when_closed, args=[sys.stdin], daemon=True).start()
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants, snapshot_download

    constants.DOWNLOAD_CHUNK_SIZE = PIECE
    snapshot_download(
        request["repo"], revision=request["commit"], endpoint=request["endpoint"], cache_dir=request["cache"],
        allow_patterns=request["files"], tqdm_class=_reporting_bar(), library_name="pixtral",
    )  # fmt: skip


def _exit_when_closed(stdin: IO[str]) -> None:
    """End this process when stdin is closed: its parent has ended."""
    stdin.read()
    os._exit(1)


def _reporting_bar() -> type[Any]:
    """A class of progress bars that draw nothing and print the bytes written of all files together."""
    from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

    lock, nowhere = threading.Lock(), io.StringIO()
    written = 0

    class Bar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self.counts = options.get("unit") == "B" and not str(options.get("name", "")).endswith(".transfer")
            super().__init__(*args, **{**options, "file": nowhere})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> bool | None:
            nonlocal written
            if self.counts:
                with lock:
                    written += int(n or 0)
                    try:
                        print(written, flush=True)
                    except (
                        OSError
                    ):  # the parent was killed; an exception would let the client remove what it has written
                        os._exit(1)
            return bool(super().update(n))

    return Bar


if __name__ == "__main__":
    main()
