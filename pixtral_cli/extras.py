"""The packages of each extra, and the command that installs them into the Python that runs this."""

import shlex
import sys

EXTRAS = {
    "heic": ("pillow-heif>=1",),
    "pdf": ("pypdfium2>=5",),
    "video": ("av>=14",),
    "evals": ("pyarrow>=17",),
    "vllm": ("vllm>=0.32,<0.34",),
    "serve": ("starlette>=1", "uvicorn>=0.50"),
    "mcp": ("mcp>=2.3,<3", "starlette>=1", "uvicorn>=0.50"),
}


def install_command(extra: str) -> str:
    """What to type to get an extra's packages, and none that pixtral declares and does not need."""
    packages = EXTRAS[extra]
    missing = [package for package in packages if not _installed(package)] if len(packages) > 1 else packages
    return shlex.join([sys.executable, "-m", "pip", "install", *(missing or packages)])


def _installed(package: str) -> bool:
    """Whether a package is installed in one of the versions that `package`, a requirement, allows."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    wanted = Requirement(package)
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False
