"""Lines of code, highlighted in the Pygments style of a console."""

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
    """A console that knows the Pygments style of code."""

    code_style = "ansi_dark"


def fence_lines(block: Block, style: str) -> list[Text | None]:
    """A fence line by line of its source: its words, if any, replace the opening line, nothing the closing one.

    An empty one is shown as typed.
    """
    code = block.code
    if not code.strip():
        return [Text(line) for line in block.source.rstrip("\n").split("\n")]
    opening = block.source.partition("\n")[0]
    words = opening.strip().lstrip("`~").strip()
    return [Text(words, "dim") if words else None, *highlight(code, language(words), style)]


def highlight(code: str, named: str, style: str) -> list[Text]:
    """Lines of code in a Pygments style; the last need not have ended."""
    code = code.expandtabs(4)
    whole = code + _closing_tags(code, named)
    text = Syntax("", named or "text", theme=style, background_color="default").highlight(whole)
    return list(text.split("\n", allow_blank=True))[: code.count("\n") + (code[-1:] not in ("", "\n"))]


def _closing_tags(code: str, named: str) -> str:
    """The end tag of the script or style that a page has open, without which its language is not highlighted."""
    last = list(_SCRIPT.finditer(code))[-1:] if named in ("html", "htm", "xhtml", "vue", "svelte") else []
    return f"\n</{last[0][2]}>" if last and not last[0][1] else ""
