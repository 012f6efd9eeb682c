"""The paths of a model's quantized weights in the cache folder."""

import hashlib
from pathlib import Path

from pixtral_cli.models import layout

SCHEMES = ("8bit", "4bit")


def quantized_folder(cache: Path) -> Path:
    """The folder of all quantized weights."""
    return cache / "quantized"


def quantized_path(cache: Path, folder: Path, scheme: str) -> Path:
    """The file for the checkpoint in `folder`, named by a digest of its weights' paths (the hub's blobs, by hash)."""
    paths = "\n".join(str(file.resolve()) for file in _weights(folder))
    return quantized_folder(cache) / f"{hashlib.sha256(paths.encode()).hexdigest()[:16]}-{scheme}.safetensors"


def weights_fingerprint(folder: Path) -> str:
    """A digest of name, size and time of the checkpoint's weight files: it changes when one of them is written again."""
    status = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in _weights(folder)]
    return hashlib.sha256(repr(status).encode()).hexdigest()


def existing_files(cache: Path, folder: Path) -> list[Path]:
    """The existing quantized files of the checkpoint in `folder`."""
    if not _weights(folder):
        return []
    return [file for scheme in SCHEMES if (file := quantized_path(cache, folder, scheme)).is_file()]


def _weights(folder: Path) -> list[Path]:
    return [file for file in layout.files(folder) if file.suffix in (".safetensors", ".pth")]
