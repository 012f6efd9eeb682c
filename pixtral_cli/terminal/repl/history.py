"""The history of typed lines, in a file with one JSON value a line. Errors of the file are ignored."""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_LENGTH = 20_000  # characters; longer lines are not recorded
MAX_LINES = 2_000  # lines that are read from the file


@dataclass(frozen=True, slots=True)
class InputLine:
    """A line that was entered. `pasted` are its multi-line blocks that were pasted; `draft` is put into the next prompt."""

    text: str
    pasted: tuple[str, ...] = ()
    draft: str = ""


class InputHistory:
    """The recorded lines, the newest last. `keep`: new lines are written to the file."""

    def __init__(self, file: Path | None = None, *, keep: bool = True) -> None:
        self._file = file
        self._keep = keep
        self.lines = self._read()

    def add(self, line: InputLine) -> None:
        """Record a line, unless it is blank, too long or the same as the last."""
        if not line.text.strip() or len(line.text) > MAX_LENGTH or self.lines[-1:] == [line]:
            return
        self.lines.append(line)
        if self._file and self._keep:
            value = {"text": line.text, "pasted": line.pasted} if line.pasted else line.text
            with contextlib.suppress(OSError):
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                handle = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                with os.fdopen(handle, "wb") as file:
                    file.write(b"\n" + json.dumps(value).encode())  # after an incomplete line, a new one

    def _read(self) -> list[InputLine]:
        try:
            raw = self._file.read_bytes().splitlines()[-MAX_LINES:] if self._file else []
        except OSError:
            return []
        return [line for piece in raw for line in _parsed(piece)]


def _parsed(piece: bytes) -> list[InputLine]:
    try:
        value: Any = json.loads(piece)
        return [InputLine(value["text"], tuple(value["pasted"])) if isinstance(value, dict) else InputLine(str(value))]
    except (ValueError, TypeError, KeyError):
        return []
