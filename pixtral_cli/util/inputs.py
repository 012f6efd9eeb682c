"""Refuses an output file that is one of the input files, also under another path."""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pixtral_cli.errors import UsageError
from pixtral_cli.util.sanitize import visible

_PAGES = re.compile(r"(\.pdf)#[\d,-]+$", re.IGNORECASE)


def refuse_overwriting_inputs(output: Path, inputs: Iterable[str | Path | int]) -> None:
    """Raises UsageError when the output is one of the inputs, also through another spelling, a symbolic or a hard link.

    Inputs are paths (with `~`, file:// or a PDF's pages) or open file descriptors; inputs that do not exist are ignored.
    """
    for input_ in inputs:
        source = input_ if isinstance(input_, int) else _path(str(input_))
        if source is not None and _is_same_file(output, source):
            name = "what comes on stdin" if isinstance(input_, int) else "an input"
            raise UsageError(
                f"{visible(str(output), 60)} is {name}, and would be written over", "Name another file: -o FILE"
            )


def _path(name: str) -> Path | None:
    if name.lower().startswith("file:"):
        name = unquote(urlsplit(name).path)
    try:
        return Path(_PAGES.sub(r"\1", name)).expanduser() if name else None
    except RuntimeError:  # ~name of an unknown user
        return None


def _is_same_file(output: Path, source: Path | int) -> bool:
    try:
        status = os.stat(source)  # noqa: PTH116  a descriptor too
        if os.path.samestat(status, output.stat()):
            return stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)  # a terminal may be both ends
    except (OSError, ValueError):  # one of them does not exist, or is no path at all
        pass
    return isinstance(source, Path) and _resolved(source) == _resolved(output)


def _resolved(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)
