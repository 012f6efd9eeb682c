"""The result of one check of `pixtral doctor`, and how the results are printed."""

import json
import os
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from pixtral_cli.util.sanitize import visible

INDENT = 19  # columns before the finding of a check
MIN_WIDTH = 20  # columns below which nothing is wrapped
COLOURS = {"ok": "32", "warning": "33", "fails": "31"}


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `name`: what was checked; `says`: what was found; `advice`: what to do about it, or ""."""

    name: str
    state: Literal["ok", "warning", "fails"]
    says: str
    advice: str = ""


def show(checks: Iterable[Check], *, as_json: bool = False) -> int:
    """Print the results, each as soon as there is one, or all as one JSON object.

    Returns the exit status: 1 if any fails.
    """
    if as_json:
        checks = list(checks)
        ok = all(check.state != "fails" for check in checks)
        print(json.dumps({"ok": ok, "checks": [asdict(check) for check in checks]}))
        return 0 if ok else 1
    failed = False
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for check in checks:
        failed |= check.state == "fails"
        state = f"{check.state:<8}"
        state = f"\x1b[{COLOURS[check.state]}m{state}\x1b[0m" if coloured else state
        print(f"{state} {check.name:<9} {_wrapped(visible(check.says))}", flush=True)
        if check.advice:
            print(f"{'':<18} -> {_wrapped(visible(check.advice), INDENT + 3)}", flush=True)
    return 1 if failed else 0


def _wrapped(text: str, indent: int = INDENT) -> str:
    """Text that stands behind so many columns, wrapped at words where stdout is a terminal."""
    room = os.get_terminal_size(sys.stdout.fileno()).columns - indent if sys.stdout.isatty() else 0
    if room < MIN_WIDTH:
        return text
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
    return f"\n{'':<{indent}}".join(lines)
