"""Downloads files into the hub's cache by its client's `snapshot_download`, in a process that can be stopped at any time.

The client fetches files side by side and, where the hub has them, by Xet, without the parts that other files share. It begins
a file again that it did not finish: what it left of one is adopted as `HASH.incomplete`, from which `pull` goes on.
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

PIECE = 1 << 20  # bytes that the client collects before it writes: a kill costs those, and what the connections hold
LOCK_TIMEOUT = 10.0  # seconds: a client whose parent was killed ends by itself a moment later
UNFINISHED = "????????.incomplete"  # behind a hash: the client's name of a file that it is writing


def fetch(plan: DownloadPlan, files: Iterable[RemoteFile], hub: Hub) -> Generator[int, None, bool]:
    """Let the client fetch these files; yields the bytes written so far, returns whether it says that all are whole.

    Closing the generator stops it at once. Check the hashes and `adopt` what it left, however it ends.
    """
    order = {
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
            child.stdin.write(json.dumps(order) + "\n")
            child.stdin.flush()
            for line in child.stdout:
                yield int(line)
        except (BrokenPipeError, ValueError):  # it has ended, or says something else: what came is checked anyway
            return False
        finally:
            child.kill()
        return child.wait() == 0


def adopt(plan: DownloadPlan, hub: Hub) -> None:
    """Take over what the client left of files that it did not finish, unless somebody is writing them now."""
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
    if not partial.exists() or partial.stat().st_size < left[-1].stat().st_size:
        left.pop().replace(partial)
    for path in left:
        path.unlink()


# The process


def main() -> None:
    """Do what the line on stdin says; one line on stdout for all bytes so far. Ends when whoever started it has gone."""
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_leave_when_alone, args=[sys.stdin], daemon=True).start()
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    from huggingface_hub import constants, snapshot_download

    constants.DOWNLOAD_CHUNK_SIZE = PIECE
    snapshot_download(
        order["repo"], revision=order["commit"], endpoint=order["endpoint"], cache_dir=order["cache"],
        allow_patterns=order["files"], tqdm_class=_reporting_bar(), library_name="pixtral",
    )  # fmt: skip


def _leave_when_alone(stdin: IO[str]) -> None:
    stdin.read()
    os._exit(1)


def _reporting_bar() -> type[Any]:
    """A progress bar that draws nothing and prints the bytes that have been written, of all files together."""
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
                    print(written, flush=True)
            return bool(super().update(n))

    return Bar


if __name__ == "__main__":
    main()
