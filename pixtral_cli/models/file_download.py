"""One file of a model on its way into the hub's cache, which names blobs by their hash and links snapshots to them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli.models import verify
from pixtral_cli.models.hub import RemoteFile


@dataclass(slots=True)
class FileDownload:
    """A file that is downloaded into the cache.

    `done`: bytes so far, which `digester` has hashed; `complete`: it has its name.
    """

    file: RemoteFile
    blob: Path
    pointer: Path
    done: int
    digester: "hashlib._Hash"
    complete: bool = False

    @classmethod
    def start(cls, file: RemoteFile, home: Path, revision: str) -> "FileDownload":
        """The download of a file of the repository at `home`, with nothing done."""
        pointer = home / "snapshots" / revision / file.name
        return cls(file, home / "blobs" / file.digest, pointer, 0, verify.hasher(file.digest, file.size))

    @property
    def partial(self) -> Path:
        """The path of the bytes so far."""
        return self.blob.with_name(f"{self.blob.name}.incomplete")

    @property
    def source(self) -> Path | None:
        """The file with the bytes so far, complete or not; `pointer` itself on file systems without symbolic links."""
        return next((path for path in (self.blob, self.pointer, self.partial) if path.is_file()), None)

    @property
    def is_correct(self) -> bool:
        """Whether size and hash are those of the hub's listing."""
        return self.done == self.file.size and self.digester.hexdigest() == self.file.digest

    def restart(self) -> None:
        """Forget the bytes so far."""
        self.done, self.digester = 0, verify.hasher(self.file.digest, self.file.size)

    def add(self, piece: bytes) -> None:
        """Count and hash the next bytes."""
        self.digester.update(piece)
        self.done += len(piece)

    def commit(self, source: Path) -> None:
        """Move the bytes at `source`, which are correct, to their final name and link the snapshot to them."""
        if source == self.partial:
            self.partial.replace(self.blob)
        if source != self.pointer:
            self.pointer.parent.mkdir(parents=True, exist_ok=True)
            self.pointer.unlink(missing_ok=True)
            try:
                self.pointer.symlink_to(Path("..", "..", "blobs", self.blob.name))
            except OSError:  # a file system without symbolic links
                self.blob.replace(self.pointer)
        self.complete = True

    def discard(self, source: Path) -> None:
        """Delete the bytes at `source` and start again."""
        source.unlink()
        self.restart()
