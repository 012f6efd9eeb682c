"""What a measurement was taken on: processor, cores, memory, versions."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "mistral_inference", "mistral_common", "transformers", "pillow", "typer")


def describe() -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def line(description: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in description["packages"].items())
    return (
        f"{description['processor']}, {description['cores']} cores, {description['memory_gib']} GiB, "
        f"{description['system']}; Python {description['python']}, {packages}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for text in cpuinfo.read_text().splitlines():
            if text.startswith("model name"):
                return text.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
