"""Parses the fenced code blocks of a Markdown answer: language, text and file name."""

import re
from dataclasses import dataclass, replace

from pixtral_cli.errors import PixtralError

ANY_LANGUAGE = "any"
MAX_NAME_LINE = 200  # characters of a line in which a file name is looked for

_OPENING = re.compile(r"(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<fence>`{3,}(?!.*`)|~{3,})(?P<info>.*)")
_CLOSING = re.compile(r"([ \t]*)(`{3,}|~{3,})\s*$")
_FILE_NAME = re.compile(r"[\w.\-/\\]*\w\.[A-Za-z]\w{0,9}")
_NAME_IN_INFO = re.compile(rf"(?:^|[\s:{{,=\"'])(?P<name>{_FILE_NAME.pattern})")
_NAME_ABOVE = re.compile(
    rf"[`*\"']+(?P<name>{_FILE_NAME.pattern})[`*\"']|^[\s#>\d.)-]*(?:file(?:name)?:\s*)?(?P<alone>{_FILE_NAME.pattern}):?\s*$",
    re.I,
)
_NAME_IN_COMMENT = re.compile(
    rf"\s*(?:#|//|--|;|<!--|/\*)\s*(?:file(?:name)?:\s*)?(?P<name>{_FILE_NAME.pattern})\s*(?:-->|\*/)?\s*$", re.I
)

_ALIASES = [
    {"html", "htm", "xhtml", "html5"},
    {"javascript", "js", "mjs", "node"},
    {"typescript", "ts"},
    {"python", "py", "python3"},
    {"bash", "sh", "shell", "zsh", "console"},
    {"yaml", "yml"},
    {"markdown", "md"},
    {"cpp", "c++", "cxx", "cc"},
    {"csharp", "c#", "cs"},
    {"rust", "rs"},
    {"ruby", "rb"},
    {"json", "jsonc"},
    {"latex", "tex"},
]


@dataclass(frozen=True, slots=True)
class CodeBlock:
    """One block: its language in lower case ("" if none is given), its text, and the file name given in the answer, or "".

    The name is untrusted model output: see `code_files.path_components`. `closed` is False if the answer ends within it.
    """

    language: str
    text: str
    name: str = ""
    closed: bool = True

    def is_in(self, language: str) -> bool:
        """Whether the block's language is `language` or an alias of it, in any case."""
        lowered = language.lower()
        return lowered == self.language or any({lowered, self.language} <= names for names in _ALIASES)


def blocks(answer: str) -> list[CodeBlock]:
    """Every fenced block in order: ``` or ~~~, closed by a fence at least as long or by the end of the answer."""
    result: list[CodeBlock] = []
    lines = answer.removesuffix("\n").split("\n")
    number = 0
    while number < len(lines):
        if opening := _OPENING.match(lines[number]):
            block, end = _read_block(lines, number, opening)
            result.append(block)
            number = end
        number += 1
    return result


def _read_block(lines: list[str], start: int, opening: re.Match[str]) -> tuple[CodeBlock, int]:
    """The block whose opening fence is line `start`, and the index of its closing fence (or the number of lines)."""
    indent, fence = len(opening["indent"]), opening["fence"]
    body: list[str] = []
    for number in range(start + 1, len(lines)):
        if _closes(lines[number], fence, indent):
            return _block(body, opening["info"], lines[:start]), number
        body.append(_dedented(lines[number], indent))
    return replace(_block(body, opening["info"], lines[:start]), closed=False), len(lines)


def _closes(line: str, fence: str, indent: int) -> bool:
    closing = _CLOSING.match(line)
    return bool(closing) and closing[2].startswith(fence) and len(closing[1]) <= indent + 3  # type: ignore[index]


def _dedented(line: str, indent: int) -> str:
    blank = len(line) - len(line.lstrip(" \t"))
    return line[min(indent, blank) :]


def _block(body: list[str], info: str, before: list[str]) -> CodeBlock:
    text = "".join(f"{line}\n" for line in body)
    return CodeBlock(language(info), text, _file_name(info, before, body))


def language(info: str) -> str:
    """The language in the info string of a fence: `html`, `html:index.html`, `{.html}` and `index.html` are all "html"."""
    word = re.split(r"[\s:,{}=]", info.strip().lstrip("{. "), maxsplit=1)[0].lower()
    return word.rpartition(".")[2] if _FILE_NAME.fullmatch(word) else word


def _file_name(info: str, before: list[str], body: list[str]) -> str:
    """The file name in the fence's info string, in the last line before it, or in a comment on the first line; else ""."""
    if match := _NAME_IN_INFO.search(info[:MAX_NAME_LINE]):
        return match["name"]
    above = next((line for line in reversed(before) if line.strip()), "")
    if match := _NAME_ABOVE.search(above[-MAX_NAME_LINE:]):
        return match["name"] or match["alone"]
    match = _NAME_IN_COMMENT.match(body[0][:MAX_NAME_LINE]) if body else None
    return match["name"] if match else ""


def pick(answer: str, lang: str) -> CodeBlock:
    """The first block in that language, else the first without a language; for `any` the first of all. Blank ones are skipped.

    Raises PixtralError, which lists the languages of the answer, when there is no such block.
    """
    filled = [block for block in blocks(answer) if block.text.strip()]
    matching = [block for block in filled if lang.lower() == ANY_LANGUAGE or block.is_in(lang)]
    unnamed = [block for block in filled if not block.language]
    if chosen := matching or unnamed:
        return chosen[0]
    if not filled:
        raise PixtralError("The answer holds no code block", "Ask for code in a fenced block")
    languages = ", ".join(dict.fromkeys(block.language for block in filled))
    raise PixtralError(f"The answer holds no code block in {lang}, only {languages}", "Take whichever: -x any")
