"""Parses and formats durations."""

import re

from pixtral_cli.errors import UsageError

UNITS = {
    "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3_600, "hour": 3_600, "d": 86_400, "day": 86_400,
    "w": 604_800, "week": 604_800, "mo": 2_629_746, "month": 2_629_746, "y": 31_556_952, "year": 31_556_952,
}  # fmt: skip
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]*)")


def parse(text: str, name: str) -> float:
    """The seconds of a duration such as `90`, `30s`, `10m`, `1h`, `2 days`. Raises UsageError, which names the option `name`."""
    match = _DURATION.fullmatch(text.strip().lower())
    if not match or _unit(match[2] or "s") not in UNITS:
        raise UsageError(f"{name} must be a duration, not {text[:40]!r}", "Such as 10m, 90s or 1h; 0 for not at all")
    return float(match[1]) * UNITS[_unit(match[2] or "s")]


def parse_age(text: str, name: str) -> float:
    """The seconds of an age such as `12h`, `30d`, `90min`, `6 months`. Raises UsageError, also for an ambiguous unit (`3m`)."""
    match = _DURATION.fullmatch(text.strip().lower())
    if match and match[2] in ("m", ""):
        units = "months or minutes" if match[2] else "hours or days"
        hint = f"Write {match[1]}months or {match[1]}min" if match[2] else f"Write {match[1]}h or {match[1]}d"
        raise UsageError(f"{name} {text.strip()[:40]} could be {units}", hint)
    if not match or _unit(match[2]) not in UNITS:
        raise UsageError(f"{name} must be an age, not {text[:40]!r}", "Such as 12h, 30d, 2w, 6months or 1y")
    return float(match[1]) * UNITS[_unit(match[2])]


def _unit(word: str) -> str:
    return word.removesuffix("s") if len(word) > 1 else word


def format_clock(seconds: float) -> str:
    """A duration as `0:07`, `3:20` or `1:02:03`."""
    minutes, remainder = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{remainder:02}" if hours else f"{minutes}:{remainder:02}"
