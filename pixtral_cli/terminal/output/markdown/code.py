"""Highlights code for the terminal in a Pygments style."""

import re
from typing import TYPE_CHECKING

from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from pixtral_cli.chat.codeblocks import language

if TYPE_CHECKING:
    pass
from pixtral_cli.terminal.output.markdown.blocks import Block

_SCRIPT = re.compile(r"<(/?)(script|style)\b", re.IGNORECASE)


class ThemedConsole(Console):
    """A console with the name of the Pygments style for code."""

    code_style = "ansi_dark"


def fence_lines(block: Block, style: str) -> list[Text | None]:
    """One entry a source line of a fence: the info string (or None) for the opening line, then the highlighted code.

    The closing line has no entry. An empty fence is shown as it was typed.
    """
    code = block.code
    if not code.strip():
        return [Text(line) for line in block.source.rstrip("\n").split("\n")]
    opening = block.source.partition("\n")[0]
    words = opening.strip().lstrip("`~").strip()
    return [Text(words, "dim") if words else None, *highlight(code, language(words), style)]


def highlight(code: str, language_name: str, style: str) -> list[Text]:
    """The highlighted lines of code; the last one need not end in a line break."""
    code = code.expandtabs(4)
    whole = code + _closing_tags(code, language_name)
    text = Syntax("", language_name or "text", theme=style, background_color="default").highlight(whole)
    return list(text.split("\n", allow_blank=True))[: code.count("\n") + (code[-1:] not in ("", "\n"))]


def _closing_tags(code: str, language_name: str) -> str:
    """The end tag of a script or style element that is open in an HTML page; without it Pygments does not highlight it."""
    last = list(_SCRIPT.finditer(code))[-1:] if language_name in ("html", "htm", "xhtml", "vue", "svelte") else []
    return f"\n</{last[0][2]}>" if last and not last[0][1] else ""
