"""Markdown to the lines of a terminal, a block at a time. Knows no stream: what is finished is for `live` to ask and to keep.

Raw HTML, entities and references are not Markdown here but text: nothing an answer says may vanish or turn into
something else. Text is expected sanitised; what the parser decodes (escapes in links) is sanitised once more.
"""

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from markdown_it import MarkdownIt
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, ListElement, Markdown, MarkdownElement
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from pixtral_cli.chat.codeblocks import language
from pixtral_cli.util.sanitize import clean

if TYPE_CHECKING:
    from markdown_it.token import Token

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
        "markdown.table.border": "dim",
        "markdown.table.header": "bold",
    }
)
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_SCRIPT = re.compile(r"<(/?)(script|style)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of an answer that is shown on its own: a paragraph, a list's item, a fence. `start` is its offset."""

    start: int
    source: str
    gap: bool
    fence: str = ""

    @property
    def open(self) -> bool:
        """A fence that has not been closed yet."""
        _, newline, last = self.source.rstrip().rpartition("\n")
        closing = re.fullmatch(r" {0,3}(`+|~+)", last) if newline else None
        return bool(self.fence) and not (closing and closing[1].startswith(self.fence))


@lru_cache(1)
def _parser() -> MarkdownIt:
    untrusted = ["html_block", "html_inline", "entity", "autolink", "reference", "image"]
    return MarkdownIt().enable(["strikethrough", "table"]).disable(untrusted)


def split(text: str) -> list[Block]:
    """The blocks of `text`. Only the last may still change when whole lines are added."""
    lines = [f"{line}\n" for line in text.split("\n")]  # as the parser counts them
    offsets = [0, *itertools.accumulate(len(line) for line in lines)]
    starts = list(_block_starts(text))
    ends = [start for start, _ in starts[1:]] + [len(lines)]
    return [
        Block(
            offsets[start],
            text[offsets[start] : offsets[end]],
            gap=start > 0 and not lines[start - 1].strip(),
            fence=fence,
        )
        for (start, fence), end in zip(starts, ends, strict=False)
    ]


def _block_starts(text: str) -> Iterator[tuple[int, str]]:
    """The line each block starts at, and its fence if it is one. A list is as many blocks as it has items."""
    for token in _parser().parse(text):
        listed = token.type in ("bullet_list_open", "ordered_list_open")
        item = token.type == "list_item_open" and token.level == 1
        if token.map and ((token.level == 0 and not listed) or item):
            yield token.map[0], token.markup if token.type == "fence" else ""


def close_open_marks(text: str) -> str:
    """Unfinished text as it will probably go on: `**bo` shows bold at once, and a mark just begun shows nothing."""
    head, newline, last = text.rpartition("\n")
    if re.fullmatch(r"\s*(?:`+|~+|[*_]{1,2}|#{1,6})\s*", last):
        return head + newline
    if not _closing_marks(text) or split(text)[-1].fence:
        return text
    trimmed = text.rstrip("*` \n")
    return trimmed + _closing_marks(trimmed)


def _closing_marks(text: str) -> str:
    """The marks that close the code span or the bold which the last paragraph has open."""
    paragraph = text.rpartition("\n\n")[2]
    code = "`" * (paragraph.count("`") % 2)
    opened = re.split(r"(?:^|(?<=[\s(\[\"'*]))\*\*", paragraph)[-1]
    return code + "**" * (paragraph.count("**") % 2 and "**" not in opened)


class BlockRenderer:
    """Sets blocks in lines of at most `width` columns, styled for this terminal."""

    def __init__(self, width: int) -> None:
        self._console = Console(
            file=io.StringIO(),
            width=max(width, 1),
            force_terminal=True,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
            theme=STYLES,
        )

    def lines(self, block: Block, skip: int = 0) -> list[str]:
        """The block's lines; of a fence only what follows its first `skip` lines of source."""
        if block.fence:
            return [line for text in _fence_lines(block)[skip:] if text is not None for line in self._set(text)]
        lines = self._set(_Document(block.source))
        text = [place for place, line in enumerate(lines) if _STYLE.sub("", line).strip()]
        return lines[text[0] : text[-1] + 1] if text else []

    def _set(self, renderable: "Text | _Document") -> list[str]:
        with self._console.capture() as captured:
            self._console.print(renderable, overflow="fold")
        return [line.rstrip() for line in captured.get().removesuffix("\n").split("\n")]


@lru_cache(1)
def block_renderer(width: int) -> BlockRenderer:
    """The typesetter for that width; a window seldom changes it."""
    return BlockRenderer(width)


def _fence_lines(block: Block) -> list[Text | None]:
    """A fence line by line of its source: the language, if named, stands for the opening line, nothing for the closing."""
    opening, _, code = block.source.partition("\n")
    if not block.open:
        code = code[: code.rstrip().rfind("\n") + 1]
    named = language(opening.strip(" `~"))
    return [Text(named, "dim") if named else None, *_highlight(code, named)]


def _highlight(code: str, named: str) -> list[Text]:
    """Lines of code; the last need not have ended."""
    code = code.expandtabs(4)
    whole = code + _closing_tags(code, named)
    text = Syntax("", named or "text", theme="ansi_dark", background_color="default").highlight(whole)
    return list(text.split("\n", allow_blank=True))[: code.count("\n") + (code[-1:] not in ("", "\n"))]


def _closing_tags(code: str, named: str) -> str:
    """What closes the script or style that a page has open: the highlighter knows its language only when it is closed."""
    last = list(_SCRIPT.finditer(code))[-1:] if named in ("html", "htm", "xhtml", "vue", "svelte") else []
    return f"\n</{last[0][2]}>" if last and not last[0][1] else ""


class _Code(CodeBlock):
    """Code as it is: no frame, no padding, nothing that gets in the way of copying it."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.lexer_name != "text":
            yield Text(language(self.lexer_name), "dim")
        yield from _highlight(str(self.text).rstrip("\n"), language(self.lexer_name))


class _Heading(Heading):
    LEVEL_ALIGN: ClassVar = {}


class _List(ListElement):
    """Items below one another; each may come as a list of its own and stands where it would in the whole."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        bullets = self.list_type == "bullet_list_open"
        for number, item in enumerate(self.items, self.list_start or 0):
            marker = " • " if bullets else f"{number:2}. "
            style = console.get_style("markdown.item.bullet")
            for line in console.render_lines(item.elements, options.update(width=options.max_width - len(marker))):
                yield Segment(marker, style)
                yield from line
                yield Segment.line()
                marker = " " * len(marker)


class _Document(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "bullet_list_open": _List,
        "ordered_list_open": _List,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, source: str) -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = list(_sanitized(_parser().parse(source)))


def _sanitized(tokens: "list[Token]") -> "Iterator[Token]":
    """Sanitised once more, for the parser decodes; a line's end is kept, since models mean it."""
    for token in tokens:
        token.content, token.info = clean(token.content), clean(token.info)
        token.attrs = {name: clean(value) if isinstance(value, str) else value for name, value in token.attrs.items()}
        if token.type == "softbreak":
            token.type = "hardbreak"
        if token.children:
            token.children = list(_sanitized(token.children))
        yield token
