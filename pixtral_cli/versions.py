"""The versions of this process: pixtral, Python, the machine and the libraries that matter. Imports none of them."""

import platform
from importlib import metadata

from pixtral_cli import __version__

PACKAGES = ("torch", "mistral_inference", "mistral_common", "pillow", "numpy", "pyarrow")


def local_versions() -> dict[str, str]:
    """Versions by name; packages that are not installed are left out."""
    versions = {"pixtral": __version__, "python": platform.python_version(), "machine": platform.platform()}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions
