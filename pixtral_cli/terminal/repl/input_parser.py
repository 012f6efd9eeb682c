"""Parses a typed line: a slash command, or a question with pictures among its words.

Calls `exists` for candidate paths and opens nothing.
"""

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from pixtral_cli.images.formats import PICTURE_EXTENSIONS, has_picture_extension
from pixtral_cli.images.video import VIDEO_EXTENSIONS

Exists: TypeAlias = Callable[[str], bool]


TRIPLE_QUOTE = '"""'
MAX_NAME_WORDS = 12  # a name with unescaped spaces has at most this many words
MAX_PASTED_PATHS = 100
MAX_NAME = 1024  # characters of a name as it is typed
MAX_SEARCHED = 4_000  # characters of a question in which words are checked for being files

_COMMAND = re.compile(r"/([a-zA-Z]+|\?)(?:\s+(.*))?$", re.DOTALL)
_URL = re.compile(r"(?:https?|file)://[^\s<>\"`]+|data:image/[^\s<>\"`]+", re.IGNORECASE)
_URL_STARTS = "hHfFdD"
PICTURE_EXTENSION = re.compile(
    rf"\.(?:{'|'.join(sorted(PICTURE_EXTENSIONS))}|(?:{'|'.join(VIDEO_EXTENSIONS)})#t=)", re.IGNORECASE
)
_QUOTED = re.compile(r"""'[^'\n]*'|"(?:\\.|[^"\\\n])*\"""")
_SHELL = re.compile(r"""(?:'[^'\n]*'|"(?:\\.|[^"\\\n])*"|\\.|[^\s'"\\])+""")
_WORD_OR_QUOTED = re.compile(r"(?<!\S)\S+")
_WORD = re.compile(r"(?:\\[^\n]|[^\s\\])+")
_CODE = re.compile(r"```.*?(?:```|$)|(?<!\\)`[^`\n]+`", re.DOTALL)
_AFTER = "?!.,;:)]}>\"'…。？！，"  # punctuation that may follow a name without belonging to it
_BEFORE = "([{（「"


@dataclass(frozen=True, slots=True)
class Source:
    """A path (with `~` and `#pages` as typed) or URL in the line that is to be attached. `raw` is its spelling."""

    name: str
    raw: str

    @property
    def short(self) -> str:
        """The name without its folders, as it stays in the question."""
        if re.match(r"data:", self.name, re.IGNORECASE):
            return "the image"
        return re.split(r"[/\\]", self.name.partition("?")[0].rstrip("/\\"))[-1] or self.name


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text in which nothing is interpreted: code in backticks and pasted blocks."""

    raw: str


Part: TypeAlias = str | Verbatim | Source


@dataclass(frozen=True, slots=True)
class Question:
    """The words and sources of a line in the order they were typed; `notes` are messages for the user."""

    parts: tuple[Part, ...]
    notes: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(part for part in self.parts if isinstance(part, Source))

    @property
    def text(self) -> str:
        """The text of the question: image numbers as `#2`, other text that looks like one as `\\#2`.

        A source inside a sentence stays as its short name; any other is left out, since its picture precedes the text.
        """
        inside = set(_sources_in_sentence(self.parts))
        pieces = []
        for index, part in enumerate(self.parts):
            if isinstance(part, Source):
                pieces.append(escape_image_numbers(part.short) if index in inside else "")
            else:
                pieces.append(escape_image_numbers(part.raw) if isinstance(part, Verbatim) else part)
        return "".join(pieces).strip()


def parse(line: str, exists: Exists, pasted: Sequence[str] = (), known: Collection[str] = ()) -> Command | Question:
    """Understand a typed line; a block of several lines that was `pasted` into it attaches nothing, or is nothing but paths.

    A name in `known`, the names of the conversation's images, that is no existing path stays text.
    """
    if line.startswith(TRIPLE_QUOTE):
        inner = line.removeprefix(TRIPLE_QUOTE).rstrip().removesuffix(TRIPLE_QUOTE).strip("\n")
        return parse_question(inner, exists, pasted, known)
    return parse_command(line, pasted) or parse_question(line, exists, pasted, known)


def parse_command(line: str, pasted: Sequence[str] = ()) -> Command | None:
    """The slash command that a line begins with; None if there is none, or if it was pasted."""
    if line.strip() == "/":  # somebody looks for the commands; a folder without pictures is nothing to attach
        return Command("help")
    command = _COMMAND.match(line)
    if command and not any(block not in line or line.startswith(block) for block in pasted):
        return Command(command[1].lower(), (command[2] or "").strip())
    return None


def parse_question(text: str, exists: Exists, pasted: Sequence[str] = (), known: Collection[str] = ()) -> Question:
    """The parts of a question. If a pasted block was edited afterwards, nothing in the text is attached."""
    if any(block not in text for block in pasted):
        pasted = (text,)
    whole = None if pasted else _whole_line_path(text, exists)
    if whole:
        return Question((whole,))
    parts: list[Part] = []
    notes: list[str] = []
    for piece, plain in _split_verbatim(text, pasted):
        apart = piece in pasted and re.search(rf"(?<!\S){re.escape(piece)}(?!\S)", text)
        if apart and (paths := _pasted_paths(piece, exists)):
            parts += paths
            continue
        found_parts: list[Part] = (
            [Verbatim(piece)]
            if plain
            else [_as_words_if_known(part, exists, known) for part in _scan_words(piece, exists)]
        )
        notes += _pasted_name_notes(piece, exists) if piece in pasted else _link_notes(found_parts)
        parts += found_parts
    return Question(tuple(parts), tuple(notes))


def has_open_block(text: str) -> bool:
    """Whether a `\"\"\"` block is open, in which Enter inserts a line break."""
    return text.startswith(TRIPLE_QUOTE) and (
        len(text) < 2 * len(TRIPLE_QUOTE) or not text.rstrip().endswith(TRIPLE_QUOTE)
    )


def shell_unquoted(raw: str) -> str:
    """A name without its shell quotes and backslashes."""
    if os.name == "nt":
        return raw.strip("'\"")
    pieces = re.findall(r"""'([^']*)'|"((?:\\.|[^"\\])*)"|\\(.)|([^'"\\]+)|(.)""", raw, re.DOTALL)
    return "".join(a or re.sub(r'\\(["\\$`])', r"\1", b) or c or d or e for a, b, c, d, e in pieces)


def shell_quoted(name: str) -> str:
    """A name as it can be typed into the line, with backslashes before spaces and shell characters."""
    return name if os.name == "nt" else re.sub(r"([\s'\"\\`()\[\]{}&;|<>*?!$])", r"\\\1", name)


def escape_image_numbers(text: str) -> str:
    """The text with each `#N` escaped, so that none places an image."""
    return re.sub(r"\\?#\d{1,4}(?!\w)", r"\\\g<0>", text)


def words_that_exist(question: Question, exists: Exists) -> Iterator[Source]:
    """The existing paths among the words of a question that are not attached, since they have no picture's extension."""
    for part in question.parts:
        if isinstance(part, str):
            end = 0
            for match in _WORD_OR_QUOTED.finditer(part[:MAX_SEARCHED]):
                at = match.start() + len(match[0]) - len(match[0].lstrip(_BEFORE))
                if at < end or match[0][0] == "@":
                    continue
                found = next((reading for reading in _readings(part, at) if exists(reading.name)), None)
                if found:
                    end = at + len(found.raw)
                    yield found


def patterns_in(question: Question) -> Iterator[str]:
    """Patterns among the words of a question that can mean nothing but pictures, and attach none without an @."""
    for part in question.parts:
        if isinstance(part, str):
            for match in _WORD_OR_QUOTED.finditer(part[:MAX_SEARCHED]):
                at = match.start() + len(match[0]) - len(match[0].lstrip(_BEFORE))
                if part[at] != "@" and (found := _pattern_at(part, at)):
                    yield found.raw


def _split_verbatim(text: str, pasted: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """Split into (piece, plain); code in backticks and pasted blocks are plain: nothing in them is interpreted."""
    blocks = [re.escape(block) for block in sorted(pasted, key=len, reverse=True) if block]
    plain = re.compile("|".join([*blocks, f"(?:{_CODE.pattern})"]), re.DOTALL)
    end = 0
    for match in plain.finditer(text):
        if match.start() > end:
            yield text[end : match.start()], False
        yield match[0], True
        end = match.end()
    if end < len(text):
        yield text[end:], False


def _scan_words(text: str, exists: Exists) -> Iterator[Part]:
    """Split into words and the sources that are recognised at the start of a word."""
    begin = at = 0
    extensions = [match.start() for match in PICTURE_EXTENSION.finditer(text)]
    while at < len(text):
        source = None
        if _starts_word(text, at):
            following = bisect_right(extensions, at)
            near = following < len(extensions) and extensions[following] < at + MAX_NAME
            source = _recognise_source(text, at, exists, near)
        if not source:
            link = _URL.match(text, at) if text[at] in _URL_STARTS else None
            at = link.end() if link else at + 1
            continue
        if at > begin:
            yield text[begin:at]
        yield source
        begin = at = at + len(source.raw)
    if begin < len(text):
        yield text[begin:]


def _starts_word(text: str, at: int) -> bool:
    return not text[at].isspace() and (at == 0 or text[at - 1].isspace() or text[at - 1] in _BEFORE)


def _as_words_if_known(part: Part, exists: Exists, known: Collection[str]) -> Part:
    """The part; a source that is the name of a known image, and no existing path, becomes words."""
    if isinstance(part, Source) and part.short in known and not (exists(part.name) or _URL.match(part.name)):
        return part.raw
    return part


def _recognise_source(text: str, at: int, exists: Exists, near: bool) -> Source | None:
    """The source that begins here, if any. `near`: a picture's extension follows within MAX_NAME characters."""
    if text[at] == "@":
        found = _url_at(text, at + 1, every=True) or _path_at(text, at + 1, exists) or _pattern_at(text, at + 1)
        return Source(found.name, "@" + found.raw) if found else None
    if _URL.match(text, at):
        return _url_at(text, at)
    return _path_at(text, at, lambda name: has_picture_extension(name) and exists(name)) if near else None


def _url_at(text: str, at: int, every: bool = False) -> Source | None:
    match = _URL.match(text, at)
    if not match:
        return None
    url = match[0].rstrip(_AFTER)
    path = url.partition("?")[0].partition("#")[0]
    plain_link = url.lower().startswith("http") and not (has_picture_extension(path) and path.count("/") > 2)
    return None if plain_link and not every else Source(url, url)


def _path_at(text: str, at: int, exists: Exists) -> Source | None:
    """The path that begins here: the longest reading that exists, else the shortest that is unambiguously a picture's."""
    readings = list(_readings(text, at))
    path = next((reading for reading in readings if exists(reading.name)), None)
    return path or next((r for r in readings[::-1] if has_picture_extension(r.name) and _is_unambiguous(r.raw)), None)


def _pattern_at(text: str, at: int) -> Source | None:
    """A glob pattern for pictures, such as `pics/*.png` or `pics/*`."""
    word = match[0].rstrip(_AFTER) if (match := _WORD.match(text, at)) else ""
    wild = re.search(r"(?<!\\)[*?\[]", word)
    return Source(word, word) if wild and (has_picture_extension(word) or "/" in word[: wild.start()]) else None


def _is_unambiguous(raw: str) -> bool:
    """Whether a spelling is a single name: quoted, or a word without markup and pattern characters."""
    return raw[0] in "'\"" or (raw[0] not in _BEFORE and not re.search(r"""(?<!\\)[\s"'<>*?|=\[\]]""", raw))


def _readings(text: str, at: int) -> Iterator[Source]:
    """The possible readings of a path that begins here, the longest first."""
    if text[at : at + 1] in ("'", '"'):
        shell, first = (pattern.match(text, at, at + MAX_NAME) for pattern in (_SHELL, _QUOTED))
        if shell and first:
            yield Source(shell_unquoted(shell[0]), shell[0])
            yield Source(shell_unquoted(first[0]), first[0])
        return
    line = text[at : at + MAX_NAME].partition("\n")[0]
    ends = [match.end() for match, _ in zip(_WORD.finditer(line), range(MAX_NAME_WORDS), strict=False)]
    for end in reversed(ends):
        bare = line[:end].rstrip(_AFTER)
        for raw in dict.fromkeys((line[:end], bare, bare.removesuffix("'s"))):
            if end == ends[0] or has_picture_extension(raw):
                yield Source(shell_unquoted(raw) if "\\" in raw else raw, raw)


def _whole_line_path(text: str, exists: Exists) -> Source | None:
    """The path that the whole line is, of any extension; None if it is no existing path."""
    raw = text.strip()
    if "\n" in raw or not re.search(r"[/\\]|^['\"]", raw):
        return None
    return next((Source(name, raw) for name in (raw, shell_unquoted(raw)) if exists(name)), None)


def _pasted_paths(block: str, exists: Exists) -> list[Source]:
    """The paths that a pasted block consists of, one a line; none if any line is something else or is not there."""
    lines = [line.strip() for line in block.split("\n") if line.strip()]
    found: list[Source] = []
    for raw in lines if len(lines) <= MAX_PASTED_PATHS else ():
        readings = [raw, shell_unquoted(raw)] if len(raw) <= MAX_NAME else []
        if raw.lower().startswith("file:///"):
            readings.append(unquote(urlsplit(raw).path))
        name = next((each for each in readings if exists(each)), "")
        if not name or not (has_picture_extension(name) or re.search(r"[/\\]", raw)):
            return []
        found.append(Source(name, raw))
    return found


def _link_notes(parts: Sequence[Part]) -> list[str]:
    """Notes about links that are sent as text, since they do not look like pictures."""
    links = [link.rstrip(_AFTER) for part in parts if isinstance(part, str) for link in _URL.findall(part)]
    return [f"sent as text: {link} (@{link} attaches it)" for link in links]


def _pasted_name_notes(block: str, exists: Exists) -> list[str]:
    """Notes about existing pictures that a pasted block names, which are not attached."""
    words = _scan_words(block, exists)
    names = dict.fromkeys(part.name for part in words if isinstance(part, Source) and exists(part.name))
    return [f"pasted text attaches nothing: {name} (/image attaches it)" for name in names]


def _sources_in_sentence(parts: Sequence[Part]) -> Iterator[int]:
    """The indices of sources that are part of a sentence, which needs their names."""
    words = [index for index, part in enumerate(parts) if _words_of(part)]
    sources = [index for index, part in enumerate(parts) if isinstance(part, Source)]
    last_word = words[-1] if words else -1
    last_inside = max((index for index in sources if index < last_word), default=-1)
    for index in sources:
        passed = bisect_right(words, index)  # so many parts with words precede it
        following = words[passed] if passed < len(words) else len(parts)
        # It leads where no words precede it and no later picture has words on both of its sides.
        leads = not passed and following > last_inside
        trails = index > last_word and (not passed or _words_of(parts[words[passed - 1]])[-1] in ".?!:")
        if not leads and not trails:
            yield index


def _words_of(part: Part) -> str:
    return "" if isinstance(part, Source) else (part if isinstance(part, str) else part.raw).strip()
