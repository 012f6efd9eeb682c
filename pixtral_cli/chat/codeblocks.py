"""Finds the fenced code blocks of an answer."""

import re
from dataclasses import dataclass, replace

from pixtral_cli.errors import PixtralError

ANY = "any"
MAX_NAME_LINE = 200  # characters of a line in which a file name is looked for

_OPENING = re.compile(r"(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)(?P<fence>`{3,}(?!.*`)|~{3,})(?P<info>.*)")
_CLOSING = re.compile(r"([ \t]*)(`{3,}|~{3,})\s*$")
_NAME = re.compile(r"[\w.\-/\\]*\w\.[A-Za-z]\w{0,9}")
_IN_INFO = re.compile(rf"(?:^|[\s:{{,=\"'])(?P<name>{_NAME.pattern})")
_ABOVE = re.compile(
    rf"[`*\"']+(?P<name>{_NAME.pattern})[`*\"']|^[\s#>\d.)-]*(?:file(?:name)?:\s*)?(?P<alone>{_NAME.pattern}):?\s*$",
    re.I,
)
_COMMENT = re.compile(
    rf"\s*(?:#|//|--|;|<!--|/\*)\s*(?:file(?:name)?:\s*)?(?P<name>{_NAME.pattern})\s*(?:-->|\*/)?\s*$", re.I
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
    """One block: its language in lower case ("" if none is given), its text, and the file name from the answer, if any.

    The name is the model's word and not safe to write to. `closed` is False where the answer ended within the block.
    """

    language: str
    text: str
    name: str = ""
    closed: bool = True

    def speaks(self, language: str) -> bool:
        lowered = language.lower()
        return lowered == self.language or any({lowered, self.language} <= names for names in _ALIASES)


def blocks(answer: str) -> list[CodeBlock]:
    """Every fenced block in order: ``` or ~~~, closed by a fence at least as long or by the end of the answer."""
    result: list[CodeBlock] = []
    lines = answer.removesuffix("\n").split("\n")
    number = 0
    while number < len(lines):
        if opening := _OPENING.match(lines[number]):
            block, end = _read(lines, number, opening)
            result.append(block)
            number = end
        number += 1
    return result


def _read(lines: list[str], start: int, opening: re.Match[str]) -> tuple[CodeBlock, int]:
    """The block that opens at line `start`, and the line of its closing fence."""
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
    return CodeBlock(language(info), text, _name(info, before, body))


def language(info: str) -> str:
    """The language that the words after an opening fence name: `html`, `html:index.html`, `{.html}`, `index.html`."""
    word = re.split(r"[\s:,{}=]", info.strip().lstrip("{. "), maxsplit=1)[0].lower()
    return word.rpartition(".")[2] if _NAME.fullmatch(word) else word


def _name(info: str, before: list[str], body: list[str]) -> str:
    """The file name in the fence's own words, in the line before it, or in a comment that is the first line."""
    if match := _IN_INFO.search(info[:MAX_NAME_LINE]):
        return match["name"]
    above = next((line for line in reversed(before) if line.strip()), "")
    if match := _ABOVE.search(above[-MAX_NAME_LINE:]):
        return match["name"] or match["alone"]
    match = _COMMENT.match(body[0][:MAX_NAME_LINE]) if body else None
    return match["name"] if match else ""


def pick(answer: str, lang: str) -> CodeBlock:
    """The first block in that language, or else the first that names none; `any` takes the first of all. Empty ones are none.

    Raises PixtralError when there is no such block, saying which languages there are.
    """
    filled = [block for block in blocks(answer) if block.text.strip()]
    fitting = [block for block in filled if lang.lower() == ANY or block.speaks(lang)]
    unnamed = [block for block in filled if not block.language]
    if chosen := fitting or unnamed:
        return chosen[0]
    if not filled:
        raise PixtralError("The answer holds no code block", "Ask for code in a fenced block")
    languages = ", ".join(dict.fromkeys(block.language for block in filled))
    raise PixtralError(f"The answer holds no code block in {lang}, only {languages}", "Take whichever: -x any")
