"""What one check of `pixtral doctor` says, and how all of them are printed."""

import json
import os
import sys
import textwrap
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from pixtral_cli.util.sanitize import visible

INDENT = 19  # columns before what a check says
MIN_WIDTH = 20  # columns below which nothing is wrapped
COLOURS = {"ok": "32", "warning": "33", "fails": "31"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and what to do about it (empty when nothing)."""

    name: str
    state: Literal["ok", "warning", "fails"]
    says: str
    advice: str = ""


def show(checks: Iterable[Check], *, as_json: bool = False) -> int:
    """Print the checks, each as soon as it is made; returns the exit status: 1 when one fails, else 0."""
    if as_json:
        checks = list(checks)
        well = all(check.state != "fails" for check in checks)
        print(json.dumps({"ok": well, "checks": [asdict(check) for check in checks]}))
        return 0 if well else 1
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
