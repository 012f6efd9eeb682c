"""Renders Markdown to the lines of a terminal, block by block.

A block is shown as typed if its rendering would lack a character that is not markup, or would show nothing. Text must be
sanitised.
"""

import io
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.text import Text
from rich.theme import Theme

from pixtral_cli.terminal.output.markdown.blocks import Block
from pixtral_cli.terminal.output.markdown.code import ThemedConsole, fence_lines
from pixtral_cli.terminal.output.markdown.elements import Document
from pixtral_cli.terminal.output.markdown.parser import has_content, parse
from pixtral_cli.terminal.preferences.theme import CODE_BLOCKS, answer_styles

if TYPE_CHECKING:
    pass

MARKS = frozenset("*~`#>|-:+[]!\\<")  # characters that rendering may remove
STYLES = Theme(
    {
        "markdown.h1": "bold underline",
        "markdown.h2": "bold underline",
        "markdown.h3": "bold",
        "markdown.h4": "bold italic",
        "markdown.code": "cyan",
        "markdown.block_quote": "italic",
        "markdown.item.bullet": "cyan",
        "markdown.link": "none",
    }
)
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class BlockRenderer:
    """Renders blocks to lines of at most `width` columns, with the styles of `theme`."""

    def __init__(self, width: int, theme: Mapping[str, str]) -> None:
        self._console = ThemedConsole(
            file=io.StringIO(),
            width=max(width, 1),
            force_terminal=True,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
            theme=Theme({**STYLES.styles, **answer_styles(theme)}),
        )
        self._console.code_style = theme.get(CODE_BLOCKS, self._console.code_style)

    def lines(self, block: Block, skip: int = 0) -> list[str]:
        """The block's lines; of a fence without those of its first `skip` source lines."""
        if block.fence:
            texts = fence_lines(block, self._console.code_style)[skip:]
            return [line for text in texts if text is not None for line in self._render(text)]
        tokens = parse(block.source)
        if has_content(tokens):
            lines = _strip_blank_lines(self._render(Document(tokens)))
            if _keeps_characters(block.source, lines):
                return lines
        style = "dim" if tokens and tokens[0].type == "hr" else ""
        return _strip_blank_lines(self._render(Text(block.source.strip("\n"), style)))

    def _render(self, renderable: "Text | Document") -> list[str]:
        with self._console.capture() as captured:
            self._console.print(renderable, overflow="fold")
        return [line.rstrip() for line in captured.get().removesuffix("\n").split("\n")]


@lru_cache(1)
def block_renderer(width: int, theme: tuple[tuple[str, str], ...] = ()) -> BlockRenderer:
    """The renderer for a width; the last one is cached."""
    return BlockRenderer(width, dict(theme))


def _strip_blank_lines(lines: list[str]) -> list[str]:
    text = [place for place, line in enumerate(lines) if _STYLE.sub("", line).strip()]
    return lines[text[0] : text[-1] + 1] if text else []


def _keeps_characters(source: str, lines: list[str]) -> bool:
    """Whether the lines have every character of the source that is not blank or markup, at least as often."""
    shown = Counter(_STYLE.sub("", "".join(lines)))
    written = Counter(character for character in source if not character.isspace() and character not in MARKS)
    return written <= shown
