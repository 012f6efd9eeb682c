"""Rich's Markdown elements, changed so that no character of the answer is lost."""

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
from rich.text import Text

from pixtral_cli.chat.codeblocks import language
from pixtral_cli.terminal.output.markdown.table import table_lines

if TYPE_CHECKING:
    from markdown_it.token import Token
from pixtral_cli.terminal.output.markdown.code import ThemedConsole, highlight


class _Code(CodeBlock):
    """Code without frame and padding, so that it can be copied."""

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
        style = console.code_style if isinstance(console, ThemedConsole) else ThemedConsole.code_style
        yield from highlight(code, language(self._info), style)


class _Heading(Heading):
    """A heading. One without letters, such as `# 5`, keeps its `#`, which may be part of the text."""

    LEVEL_ALIGN: ClassVar = {}

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not any(character.isalpha() for character in self.text.plain):
            self.text = Text.assemble(f"{'#' * int(self.tag[1:])} ", self.text)
        yield from super().__rich_console__(console, options)


class _Quote(BlockQuote):
    """A block quote, its lines preceded by `>`."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        narrower = options.update(width=max(options.max_width - 2, 1))
        lines = console.render_lines(self.elements, narrower, style=self.style, pad=False)
        for line in lines or [[]]:
            yield Segment("> ", self.style)
            yield from line
            yield Segment.line()


class _Rule(HorizontalRule):
    """A horizontal rule as it was typed, since it may be part of a transcription."""

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
        """The item's number as it was written, or a bullet. `+` and a mark before a number stay: they may be signs."""
        if self._number:
            return f"{self._number:>2}{self._mark} "
        signed = self._mark == "+" or content[:1].isdigit() or content[:1] in ("$", "€", "£", ".", "")
        return f" {self._mark if signed else '•'} "


class _List(ListElement):
    """A list. Its items are aligned by their own markers, since each item may be rendered as a list of one."""

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
    """A table in columns, or as records if the columns would be too narrow; see `table_lines`."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        header = [cell.content for cell in self.header.row.cells] if self.header and self.header.row else []
        rows = [[cell.content for cell in row.cells] for row in self.body.rows] if self.body else []
        yield from table_lines(header, rows, options.max_width, console)


class Document(Markdown):
    """Parsed Markdown that is rendered with these elements."""

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
