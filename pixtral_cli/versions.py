"""What runs, by version: here, and on the far side where an engine can tell. Imports nothing of what it names."""

import platform
from importlib import metadata
from typing import Any

from pixtral_cli import __version__

PACKAGES = ("torch", "mistral_inference", "mistral_common", "pillow", "numpy", "pyarrow")


def here() -> dict[str, str]:
    """This process; packages that are not installed are left out."""
    found = {"pixtral": __version__, "python": platform.python_version(), "machine": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def there(engine: Any) -> dict[str, str]:
    """What an engine's far side says of itself; nothing for one that has none. Raises NetworkError when it is not in reach."""
    told = getattr(engine, "versions", None)
    return dict(told()) if told else {}
