"""Markdown to the lines of a terminal, a block at a time.

A block whose rendering would lack a character that is not markup, or in which nothing would be seen, is shown as typed.
Text is expected sanitised.
"""

import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import (
    BlockQuote,
    CodeBlock,
    Heading,
    HorizontalRule,
    ListElement,
    ListItem,
    Markdown,
    MarkdownElement,
    TableElement,
)
from rich.segment import Segment
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from pixtral_cli.chat.codeblocks import language
from pixtral_cli.terminal.output.markdown_parser import has_content, parse, parser
from pixtral_cli.terminal.output.markdown_table import table_lines
from pixtral_cli.terminal.preferences.theme import CODE_BLOCKS, answer_styles

if TYPE_CHECKING:
    from markdown_it.token import Token

MARKS = frozenset("*~`#>|-:+[]!\\<")  # characters that rendering may take away
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

    @property
    def code(self) -> str:
        """The text between the opening and the closing line of a fence."""
        code = self.source.partition("\n")[2]
        return code if self.open else code[: code.rstrip().rfind("\n") + 1]


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
    for token in parser().parse(text):
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
    code = "`" * bool(paragraph.count("`") % 2 and re.search(r"(?<!\w)`[^`]*$", paragraph))
    opened = re.split(r"(?:^|(?<=[\s(\[\"'*]))\*\*", paragraph)[-1]
    return code + "**" * (paragraph.count("**") % 2 and "**" not in opened)


class _ThemedConsole(Console):
    """A console that knows the Pygments style of code."""

    code_style = "ansi_dark"


class BlockRenderer:
    """Sets blocks in lines of at most `width` columns, styled for this terminal by the config's `theme`."""

    def __init__(self, width: int, theme: Mapping[str, str]) -> None:
        self._console = _ThemedConsole(
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
        """The block's lines; of a fence only what follows its first `skip` lines of source."""
        if block.fence:
            return [
                line
                for text in _fence_lines(block, self._console.code_style)[skip:]
                if text is not None
                for line in self._set(text)
            ]
        tokens = parse(block.source)
        if has_content(tokens):
            lines = _without_blank_ends(self._set(_Document(tokens)))
            if _keeps_characters(block.source, lines):
                return lines
        style = "dim" if tokens and tokens[0].type == "hr" else ""
        return _without_blank_ends(self._set(Text(block.source.strip("\n"), style)))

    def _set(self, renderable: "Text | _Document") -> list[str]:
        with self._console.capture() as captured:
            self._console.print(renderable, overflow="fold")
        return [line.rstrip() for line in captured.get().removesuffix("\n").split("\n")]


@lru_cache(1)
def block_renderer(width: int, theme: tuple[tuple[str, str], ...] = ()) -> BlockRenderer:
    """The renderer for that width; a window seldom changes it."""
    return BlockRenderer(width, dict(theme))


def _without_blank_ends(lines: list[str]) -> list[str]:
    text = [place for place, line in enumerate(lines) if _STYLE.sub("", line).strip()]
    return lines[text[0] : text[-1] + 1] if text else []


def _keeps_characters(source: str, lines: list[str]) -> bool:
    """Whether every character of the source that is neither blank nor markup is in the lines, as often."""
    shown = Counter(_STYLE.sub("", "".join(lines)))
    written = Counter(character for character in source if not character.isspace() and character not in MARKS)
    return written <= shown


def _fence_lines(block: Block, style: str) -> list[Text | None]:
    """A fence line by line of its source: its words, if any, replace the opening line, nothing the closing one.

    An empty one is shown as typed.
    """
    code = block.code
    if not code.strip():
        return [Text(line) for line in block.source.rstrip("\n").split("\n")]
    opening = block.source.partition("\n")[0]
    words = opening.strip().lstrip("`~").strip()
    return [Text(words, "dim") if words else None, *_highlight(code, language(words), style)]


def _highlight(code: str, named: str, style: str) -> list[Text]:
    """Lines of code in a Pygments style; the last need not have ended."""
    code = code.expandtabs(4)
    whole = code + _closing_tags(code, named)
    text = Syntax("", named or "text", theme=style, background_color="default").highlight(whole)
    return list(text.split("\n", allow_blank=True))[: code.count("\n") + (code[-1:] not in ("", "\n"))]


def _closing_tags(code: str, named: str) -> str:
    """The end tag of the script or style that a page has open, without which its language is not highlighted."""
    last = list(_SCRIPT.finditer(code))[-1:] if named in ("html", "htm", "xhtml", "vue", "svelte") else []
    return f"\n</{last[0][2]}>" if last and not last[0][1] else ""


class _Code(CodeBlock):
    """Code as it is: no frame, no padding, nothing that gets in the way of copying it."""

    def __init__(self, info: str, fence: str) -> None:
        super().__init__(info, "")
        self._info, self._fence = info, fence

    @classmethod
    def create(cls, markdown: Markdown, token: "Token") -> "_Code":
        return cls(token.info.strip(), token.markup)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        code = str(self.text).rstrip("\n")
        if not code.strip():
            yield Text(f"{self._fence}{self._info}\n{self._fence}")
            return
        if self._info:
            yield Text(self._info, "dim")
        style = console.code_style if isinstance(console, _ThemedConsole) else _ThemedConsole.code_style
        yield from _highlight(code, language(self._info), style)


class _Heading(Heading):
    """A heading; one without words, such as `# 5`, keeps its marks, which may mean a number."""

    LEVEL_ALIGN: ClassVar = {}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not any(character.isalpha() for character in self.text.plain):
            self.text = Text.assemble(f"{'#' * int(self.tag[1:])} ", self.text)
        yield from super().__rich_console__(console, options)


class _Quote(BlockQuote):
    """A quotation behind the mark that it was typed with."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        narrower = options.update(width=max(options.max_width - 2, 1))
        lines = console.render_lines(self.elements, narrower, style=self.style, pad=False)
        for line in lines or [[]]:
            yield Segment("> ", self.style)
            yield from line
            yield Segment.line()


class _Rule(HorizontalRule):
    """A line as it was typed: it may be an answer, or a part of what was transcribed."""

    def __init__(self, marks: str) -> None:
        super().__init__()
        self._marks = marks

    @classmethod
    def create(cls, markdown: Markdown, token: "Token") -> "_Rule":
        return cls(token.markup)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self._marks, "dim")


class _Item(ListItem):
    """A list item with its marker."""

    def __init__(self, number: str, mark: str) -> None:
        super().__init__()
        self._number, self._mark = number, mark

    @classmethod
    def create(cls, markdown: Markdown, token: "Token") -> "_Item":
        return cls(token.info, token.markup)

    def marker(self, content: str) -> str:
        """The number as it was written, or a bullet; a sign before a number stays a sign, and so does a plus."""
        if self._number:
            return f"{self._number:>2}{self._mark} "
        signed = self._mark == "+" or content[:1].isdigit() or content[:1] in ("$", "€", "£", ".", "")
        return f" {self._mark if signed else '•'} "


class _List(ListElement):
    """Items below one another; each may come as a list of its own and is placed as in the whole."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        style = console.get_style("markdown.item.bullet")
        for item in self.items:
            assert isinstance(item, _Item)
            width = options.max_width - cell_len(item.marker("x"))
            lines = console.render_lines(item.elements, options.update(width=max(width, 1))) or [[]]
            marker = item.marker("".join(segment.text for segment in lines[0]).strip())
            for line in lines:
                yield Segment(marker, style)
                yield from line
                yield Segment.line()
                marker = " " * cell_len(marker)


class _Table(TableElement):
    """A table in columns, or record by record where the columns would be too narrow for their words."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        header = [cell.content for cell in self.header.row.cells] if self.header and self.header.row else []
        rows = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body else []
        yield from table_lines(header, rows, options.max_width, console)


class _Document(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "bullet_list_open": _List,
        "ordered_list_open": _List,
        "list_item_open": _Item,
        "blockquote_open": _Quote,
        "table_open": _Table,
        "hr": _Rule,
        "fence": _Code,
        "code_block": _Code,
    }

    def __init__(self, tokens: "tuple[Token, ...]") -> None:
        super().__init__("", hyperlinks=False)
        self.parsed = list(tokens)
