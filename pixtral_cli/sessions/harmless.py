"""Escapes the text of a conversation for files that other programs show: on a terminal, as Markdown, as JSON."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pixtral_cli.util.sanitize import clean

# Escaped characters and code spans stay as they are. Spans that cross lines or table cells do not count: viewers differ.
_UNTOUCHED = r"(?P<kept>\\.|(?<!`)(`+)(?!`)[^\n|]+?(?<!`)\2(?!`))"
# Images, HTML tags, comments and declarations; not URLs in angle brackets.
_ACTIVE = re.compile(rf"{_UNTOUCHED}|!(?=\[)|<(?!(?:https?://|mailto:)[^\s<>]*>)(?=[A-Za-z/!?])", re.DOTALL)
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def markdown(text: str) -> str:
    """Markdown that fetches and runs nothing when it is shown: images become links, HTML is shown as text, code stays.

    Control characters become visible. An unclosed code block is closed, so that what follows is not part of it.
    """
    text = clean(text)
    lines = text.splitlines(keepends=True)
    pieces, written = [], 0
    for token in MarkdownIt("commonmark").parse(text):
        if token.type in ("fence", "code_block") and token.map:
            start, end = token.map
            pieces += [_escape_active("".join(lines[written:start])), *lines[start:end]]
            if token.type == "fence" and token.level == 0 and not _is_closed(token, lines[start:end]):
                pieces.append(f"{'' if pieces[-1].endswith(chr(10)) else chr(10)}{token.markup}\n")
            written = end
    return "".join([*pieces, _escape_active("".join(lines[written:]))])


def _is_closed(token: Token, lines: list[str]) -> bool:
    last = lines[-1].strip()
    return len(lines) > 1 and last.startswith(token.markup) and not last.strip(token.markup[0])


def _escape_active(text: str) -> str:
    return _ACTIVE.sub(lambda match: match[0] if match["kept"] else f"\\{match[0]}", text)


def json_text(text: str) -> str:
    """The same JSON with control and bidirectional characters escaped, so that a terminal can show it."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
