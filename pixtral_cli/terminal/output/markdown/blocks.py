"""Splits Markdown into blocks that are rendered separately, and closes the open marks of an unfinished block."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pixtral_cli.terminal.output.markdown.parser import parser

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class Block:
    """A part of an answer that is rendered separately: a paragraph, a list item, a fence.

    `start` is its offset in the text. `gap`: a blank line precedes it. `fence`: the opening fence, "" for other blocks.
    """

    start: int
    source: str
    gap: bool
    fence: str = ""

    @property
    def open(self) -> bool:
        """Whether it is a fence without a closing fence."""
        _, newline, last = self.source.rstrip().rpartition("\n")
        closing = re.fullmatch(r" {0,3}(`+|~+)", last) if newline else None
        return bool(self.fence) and not (closing and closing[1].startswith(self.fence))

    @property
    def code(self) -> str:
        """The text between the opening and the closing fence."""
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
    """The first line of each block, and its opening fence or "". Each item of a list is a block."""
    for token in parser().parse(text):
        is_list = token.type in ("bullet_list_open", "ordered_list_open")
        is_item = token.type == "list_item_open" and token.level == 1
        if token.map and ((token.level == 0 and not is_list) or is_item):
            yield token.map[0], token.markup if token.type == "fence" else ""


def close_open_marks(text: str) -> str:
    """Unfinished text with its open marks closed, so that `**bo` is rendered bold; a mark at the end is left out."""
    head, newline, last = text.rpartition("\n")
    if re.fullmatch(r"\s*(?:`+|~+|[*_]{1,2}|#{1,6})\s*", last):
        return head + newline
    if not _closing_marks(text) or split(text)[-1].fence:
        return text
    trimmed = text.rstrip("*` \n")
    return trimmed + _closing_marks(trimmed)


def _closing_marks(text: str) -> str:
    """The marks that close the code span and the bold text that are open in the last paragraph."""
    paragraph = text.rpartition("\n\n")[2]
    code = "`" * bool(paragraph.count("`") % 2 and re.search(r"(?<!\w)`[^`]*$", paragraph))
    opened = re.split(r"(?:^|(?<=[\s(\[\"'*]))\*\*", paragraph)[-1]
    return code + "**" * (paragraph.count("**") % 2 and "**" not in opened)
