"""Makes the text of a conversation harmless in a file that others show: on a terminal, in a viewer of Markdown, in JSON."""

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

from pixtral_cli.util.sanitize import clean

# An escaped character and a code span stay as they are. A span is told within a line and a table's cell: viewers differ.
_KEPT = r"(?P<kept>\\.|(?<!`)(`+)(?!`)[^\n|]+?(?<!`)\2(?!`))"
# An image; a tag, comment or declaration, but no address in angle brackets.
_ACTIVE = re.compile(rf"{_KEPT}|!(?=\[)|<(?!(?:https?://|mailto:)[^\s<>]*>)(?=[A-Za-z/!?])", re.DOTALL)
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def markdown(text: str) -> str:
    """Markdown without what fetches or runs when it is shown: images become links, HTML is shown as text; code stays.

    What acts on a terminal becomes visible. A code block that is left open is closed, so that what follows is none of it.
    """
    text = clean(text)
    lines = text.splitlines(keepends=True)
    pieces, done = [], 0
    for token in MarkdownIt("commonmark").parse(text):
        if token.type in ("fence", "code_block") and token.map:
            start, end = token.map
            pieces += [_inert("".join(lines[done:start])), *lines[start:end]]
            if token.type == "fence" and token.level == 0 and not _is_closed(token, lines[start:end]):
                pieces.append(f"{'' if pieces[-1].endswith(chr(10)) else chr(10)}{token.markup}\n")
            done = end
    return "".join([*pieces, _inert("".join(lines[done:]))])


def _is_closed(token: Token, lines: list[str]) -> bool:
    last = lines[-1].strip()
    return len(lines) > 1 and last.startswith(token.markup) and not last.strip(token.markup[0])


def _inert(text: str) -> str:
    return _ACTIVE.sub(lambda match: match[0] if match["kept"] else f"\\{match[0]}", text)


def json_text(text: str) -> str:
    """JSON whose strings hold no character that acts on a terminal; it reads as the same value."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
