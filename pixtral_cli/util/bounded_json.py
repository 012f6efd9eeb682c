"""Parses untrusted JSON within limits that are checked first, since parsed values take many times the memory of the text."""

import json
from pathlib import Path
from typing import Any

_BEFORE_VALUE = (b",", b"[", b"{")  # every value but the first follows one of them


def parse(data: bytes, max_values: int) -> Any:
    """The value of a JSON text of at most `max_values` values. Raises ValueError, also for one that is nested too deep."""
    check_count(data, max_values)
    try:
        return json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def check_count(data: bytes, max_values: int) -> None:
    """Raise ValueError for a JSON text of more than `max_values` values, without parsing it."""
    if sum(map(data.count, _BEFORE_VALUE)) > max_values:
        raise ValueError(f"more than {max_values:,} values")


def read_bytes(file: Path, max_bytes: int) -> bytes:
    """The content of a file of at most `max_bytes` bytes. Raises OSError, and ValueError if it is larger."""
    with file.open("rb") as stream:
        data = stream.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"larger than {max_bytes:,} bytes")
    return data


def read(file: Path, max_bytes: int, max_values: int) -> Any:
    """The value in a JSON file. Raises OSError, and ValueError if it exceeds a limit or is not JSON."""
    return parse(read_bytes(file, max_bytes), max_values)
