"""Parses the Markdown of answers so that only characters that are certainly markup are removed.

Differences from CommonMark (https://spec.commonmark.org/0.31.2), because answers contain transcriptions and formulas:
HTML, entities, references, autolinks and underlined headings are text; `_` is a character; a `*`, `~~` or backtick
inside a word is a character; a backslash stays unless it prevents styling; `a[1](x)` is not a link.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from markdown_it import MarkdownIt
from markdown_it.rules_inline.image import image as parse_image
from markdown_it.rules_inline.link import link as parse_link
from markdown_it.rules_inline.state_inline import Delimiter

from pixtral_cli.util.sanitize import clean

if TYPE_CHECKING:
    from markdown_it.rules_inline.state_inline import StateInline
    from markdown_it.token import Token

DISABLED_RULES = ["html_block", "html_inline", "entity", "autolink", "reference", "lheading"]
UNSTYLED_LETTER = "\ue000"  # a private-use character, which is never markup
MAX_ESCAPES = 30  # in a paragraph; if there are more, backslashes are characters

# Characters that may precede an opening mark and follow a closing one, besides blanks and ideographs;
# and those that may follow an opening mark and precede a closing one, besides letters and digits.
_BEFORE_OPENING = "([{\"'“‘«‹„¿¡—–:*~_`|>"
_AFTER_CLOSING = ")]}\"'”’»›.,;:!?…—–*~_`|<"
_OPENING_FIRST = "([{\"'“‘«‹„¿¡$€£#@-+−<&\\`*~_"
_CLOSING_LAST = ")]}\"'”’»›.,;:!?…%°$€£>\\`*~_"
_IDEOGRAPH = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPED_AT_LINE_START = re.compile(
    r"^[ ]{0,3}(?:\d{1,9}(?=\\[.)](?:\s|$))|(?=\\(?:#{1,6}|[-+*>])(?:\s|$)))", re.MULTILINE
)
_HREF = re.compile(r"[/.:#?@]")


@lru_cache(1)
def parser() -> MarkdownIt:
    """The parser, created once."""
    markdown = MarkdownIt().enable(["strikethrough", "table"]).disable(DISABLED_RULES)
    rules = markdown.inline.ruler
    for name, rule in (
        ("emphasis", _emphasis),
        ("escape", _escape),
        ("backticks", _code_span),
        ("link", _link),
        ("image", _image),
    ):
        rules.at(name, rule)
    rules.disable(["strikethrough"])
    for name in ("normalizeLink", "normalizeLinkText"):  # a target is shown as it was written
        setattr(markdown, name, lambda url: url)
    return markdown


@lru_cache(64)
def parse(source: str) -> "tuple[Token, ...]":
    """The tokens of a text, sanitised. The targets of links are text behind them, and line breaks are kept."""
    return tuple(_prepare(parser().parse(source)))


def has_content(tokens: "Sequence[Token]") -> bool:
    """Whether the tokens have any visible text."""
    return any(
        has_content(token.children or ()) if token.type == "inline" else bool(token.content.strip()) for token in tokens
    )


def _prepare(tokens: "Iterable[Token]") -> "Iterator[Token]":
    for token in tokens:
        token.content, token.info = clean(token.content), clean(token.info)
        token.attrs = {name: clean(value) if isinstance(value, str) else value for name, value in token.attrs.items()}
        if token.type == "softbreak":
            token.type = "hardbreak"
        if token.children and token.type != "image":
            token.children = list(_prepare(_show_targets(token.children)))
        yield token


def _show_targets(tokens: "Iterable[Token]") -> "Iterator[Token]":
    """Inline tokens with links and images as text: the link text, then the target in parentheses."""
    from markdown_it.token import Token

    targets: list[Token] = []
    for token in tokens:
        if token.type == "link_open":
            targets.append(token)
        elif token.type == "link_close":
            yield Token("text", "", 0, content=_target(targets.pop(), "href"))
        elif token.type == "image":
            yield Token("text", "", 0, content=f"{token.content}{_target(token, 'src')}")
        else:
            yield token


def _target(token: "Token", name: str) -> str:
    title = f' "{token.attrs["title"]}"' if token.attrs.get("title") else ""
    return f" ({token.attrs.get(name, '')}{title})"


# Inline rules


def _emphasis(state: "StateInline", silent: bool) -> bool:
    """A run of `*` or `~`. Whether it opens or closes depends on its neighbours, more strictly than in CommonMark."""
    marker = state.src[state.pos]
    if silent or marker not in "*~":
        return False
    run = len(state.src[state.pos : state.posMax]) - len(state.src[state.pos : state.posMax].lstrip(marker))
    before, after = _neighbours(state, state.pos, run)
    step = 1 if marker == "*" else 2
    styles = run <= 3 if marker == "*" else run == 2
    for _ in range(0, run, step if styles else run):
        token = state.push("text", "", 0)
        token.content = marker * (step if styles else run)
        if styles:
            length = run if marker == "*" else 0
            opens, closes = _opens(before, after), _closes(before, after)
            state.delimiters.append(
                Delimiter(ord(marker), length, len(state.tokens) - 1, end=-1, open=opens, close=closes)
            )
    state.pos += run
    return True


def _opens(before: str, after: str) -> bool:
    begins = before.isspace() or before in _BEFORE_OPENING or bool(_IDEOGRAPH.match(before))
    return begins and (after.isalnum() or after in _OPENING_FIRST or bool(_IDEOGRAPH.match(after))) and not (
        before in "\"'" and after in "\"'"
    )  # fmt: skip


def _closes(before: str, after: str) -> bool:
    ends = after.isspace() or after in _AFTER_CLOSING or bool(_IDEOGRAPH.match(after))
    return ends and (before.isalnum() or before in _CLOSING_LAST or bool(_IDEOGRAPH.match(before))) and not (
        before in "\"'" and after in "\"'"
    )  # fmt: skip


def _neighbours(state: "StateInline", start: int, length: int) -> tuple[str, str]:
    """The characters before and after a run; a blank at the ends of the text."""
    end = start + length
    return state.src[start - 1] if start else " ", state.src[end] if end < state.posMax else " "


def _code_span(state: "StateInline", silent: bool) -> bool:
    """A code span: text between two equal runs of backticks that are not inside a word. Any other run is text."""
    if state.src[state.pos] != "`":
        return False
    rest = state.src[state.pos : state.posMax]
    run = re.match(r"`+", rest)
    assert run
    fence = run[0]
    match = re.compile(rf"{fence}(?!`)(.+?)(?<!`){fence}(?![`\w])", re.DOTALL).match(rest)
    before, _ = _neighbours(state, state.pos, len(fence))
    if not match or (before.isalnum() and not _IDEOGRAPH.match(before)):
        if not silent:
            state.pending += fence
        state.pos += len(fence)
        return True
    if not silent:
        code = match[1].replace("\n", " ")
        token = state.push("code_inline", "code", 0)
        token.markup = fence
        token.content = code[1:-1] if code[0] == code[-1] == " " and code.strip() else code
    state.pos += match.end()
    return True


def _link(state: "StateInline", silent: bool) -> bool:
    """`[text](target)`, unless it follows a word (as an index does) or the target does not look like a URL or path."""
    if state.src[state.pos] != "[":
        return False
    before, _ = _neighbours(state, state.pos, 1)
    target = re.compile(r"\]\(\s*<?([^)\s>]*)").search(state.src, state.pos, state.posMax)
    if before.isalnum() or before in "_)]" or not target or not _HREF.search(target[1]):
        return False
    return parse_link(state, silent)


def _image(state: "StateInline", silent: bool) -> bool:
    """`![alt](source)`, unless both are empty."""
    if re.compile(r"!\[\s*\]\(\s*\)").match(state.src, state.pos):
        return False
    return parse_image(state, silent)


def _escape(state: "StateInline", silent: bool) -> bool:
    """A backslash, which is a character unless it is needed to keep a mark from styling the text."""
    if state.src[state.pos] != "\\":
        return False
    needed = state.pos in _needed_escapes(state.src)
    length = min(2, state.posMax - state.pos)
    shown = state.src[state.pos : state.pos + length]
    if shown.endswith(("\n", "`", "*", "~", "[", "]", "!")) and not needed:
        shown, length = "\\", 1  # what follows means what it means without the backslash
    if not silent:
        state.pending += shown[1:] if needed else shown
    state.pos += length
    return True


@lru_cache(64)
def _needed_escapes(source: str) -> frozenset[int]:
    """The positions of the backslashes without which the text would be styled differently."""
    places = [match for match in _ESCAPE.finditer(source) if match[1] in "*~`[]"]
    needed = {match.end() for match in _ESCAPED_AT_LINE_START.finditer(source)}
    if not 0 < len(places) <= MAX_ESCAPES:
        return frozenset(needed)
    dropped = {match.start() for match in places}
    bare = "".join(character for place, character in enumerate(source) if place not in dropped)
    styled = _styles(bare)
    for number, match in enumerate(places):
        at = match.start() - number
        without = f"{bare[:at]}{UNSTYLED_LETTER}{bare[at + 1 :]}"
        if [(kind, text.replace(UNSTYLED_LETTER, match[1])) for kind, text in _styles(without)] != styled:
            needed.add(match.start())
    return frozenset(needed)


def _styles(source: str) -> list[tuple[str, str]]:
    """Type and text of the tokens of an inline text, neighbouring texts joined."""
    pieces: list[tuple[str, str]] = []
    for token in parser().parseInline(source)[0].children or []:
        if pieces and pieces[-1][0] == token.type == "text":
            pieces[-1] = ("text", pieces[-1][1] + token.content)
        elif token.content or token.type != "text":
            pieces.append((token.type, token.content))
    return pieces
