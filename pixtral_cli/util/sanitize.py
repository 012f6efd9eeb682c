r"""Sanitises untrusted text for a terminal, at once or chunk by chunk.

The rules apply to single characters; escape sequences are not parsed, so nothing can hide in an unterminated one and no
text is lost with it:

- ESC and the other C0 controls become their pictures (ESC is shown as ␛, BEL as ␇), DEL too; newline and tab stay;
- C1 controls and the bidirectional embeddings, overrides and isolates are shown as escapes (\x9b, \u202e);
- CR LF becomes LF, and so do a lone CR (which would overwrite the line), NEL, LS and PS;
- lone surrogates become U+FFFD, which keeps raw bytes (0x9b as surrogate escape) off the terminal;
- invisible format characters are removed: zero-width space, word joiner, BOM, tag characters and others. Those that
  shape visible text stay: ZWJ and ZWNJ, variation selectors, the marks LRM, RLM and ALM.
"""

import re

_HIDDEN = "\u180e\u200b\u2060-\u2065\u206a-\u206f\ufeff\ufff0-\ufffb\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"
_BIDI = "\u202a-\u202e\u2066-\u2069"
_MARKS = "\u061c\u200e\u200f"
_CONTROLS = "\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f"
_LINES = "\r\x85\u2028\u2029"
_UNSAFE = re.compile(f"\r\n|[{_CONTROLS}{_LINES}{_HIDDEN}{_BIDI}\ud800-\udfff]")
_SPACES = "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"

# For `deception_warnings`: a pattern, what it matches, and the danger.
_DECEPTIONS = (
    (re.compile(f"[{_BIDI}{_MARKS}]"), "bidirectional control", "the code may run otherwise than it reads"),
    (re.compile("[\U000e0000-\U000e007f]"), "invisible tag character", "hidden text"),
    (re.compile(f"[{_HIDDEN}\U000e0100-\U000e01ef]|(?<=[!-~])[\u200c\u200d]|[\u200c\u200d](?=[!-~])"), "invisible character", "names may differ that look alike"),
    (re.compile(f"[{_CONTROLS}\x85]"), "control character", "it can act on a terminal that shows the file"),
    (re.compile("\r(?!\n)|[\u2028\u2029]"), "unusual line end", "lines may begin where none is seen"),
)  # fmt: skip


def clean(text: str) -> str:
    """The sanitised text: see the module's docstring. Idempotent."""
    return _UNSAFE.sub(_replacement, text)


class Cleaner:
    """`clean` for text that arrives in chunks: the results of `feed` and a final `close` add up to `clean` of the text."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Sanitise a chunk; a final CR is held back, since LF may follow."""
        text = self._held + text
        self._held = "\r" if text.endswith("\r") else ""
        return clean(text[: len(text) - len(self._held)])

    def close(self) -> str:
        """The text that was held back."""
        rest, self._held = self._held, ""
        return clean(rest)


def visible(name: str, limit: int | None = None) -> str:
    r"""An untrusted name or line of text on one line, with unprintable characters as escapes.

    An undecodable byte of a file name is shown as \xff. Text over `limit` characters is shortened in the middle.
    """
    shown = "".join(char if char.isprintable() or char in _SPACES else _escape(char) for char in name)
    if limit is None or len(shown) <= limit:
        return shown
    head = (limit - 1) // 2
    return f"{shown[:head]}…{shown[len(shown) - (limit - 1 - head) :]}"


def deception_warnings(text: str) -> list[str]:
    """One line for each kind of character in a text, such as bidirectional controls, that can deceive its reader."""
    warnings = []
    for pattern, what, why in _DECEPTIONS:
        places = [match.start() for match in pattern.finditer(text, 1 if text.startswith("\ufeff") else 0)]
        if places:
            plural = "" if len(places) == 1 else "s"
            line = text.count("\n", 0, places[0]) + 1
            warnings.append(f"{len(places)} {what}{plural}, first in line {line}: {why}")
    return warnings


def _replacement(match: re.Match[str]) -> str:
    char = match[0]
    if char[0] in _LINES:
        return "\n"
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return _escape(char) if code <= 0x9F or re.match(f"[{_BIDI}]", char) else ""


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()
