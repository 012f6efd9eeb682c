"""Whether an answer is right: word for word, and for web pages also by structure and by words. Asks nothing."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from demo.questions.talk import CANNOT, UNSEEN
from demo.samples import Turn

HONEST = (CANNOT, UNSEEN)
PLACES = frozenset(("where", "beside", "relation", "extreme", "follow"))
READ = frozenset(("bar labels", "chart title", "legend name", "legend colour"))
_TAG = re.compile(r"<[^>]*>")
_QUOTED = re.compile(r'placeholder="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Mark:
    """`structure`: the page has the right elements in order. `words`: the share of its words that are right.

    `follows`: an edit changed the page that was given before as asked, whatever its words.
    """

    right: bool
    structure: bool | None = None
    words: float | None = None
    follows: bool | None = None


def mark(turn: Turn, answer: str) -> Mark:
    answer = answer.strip()
    if turn.kind in ("outside", "cannot tell"):
        return Mark(answer in HONEST)
    if turn.kind in ("page html", "page edit"):
        return Mark(answer == turn.answer, skeleton(answer) == skeleton(turn.answer), words_right(turn.answer, answer))
    return Mark(answer == turn.answer)


def skeleton(page: str) -> list[str]:
    """A page's tags without any words of its own."""
    return [_QUOTED.sub('placeholder=""', tag) for tag in _TAG.findall(page)]


def page_words(page: str) -> list[str]:
    """The words that stand in a page, element by element."""
    lines = [line for line in page.splitlines() if line.startswith("<")]
    return [(_QUOTED.search(line) or [None, _TAG.sub("", line)])[1] or "" for line in lines]


def words_right(wanted: str, given: str) -> float:
    there, here = page_words(wanted), page_words(given)
    pairs = [(word, here[i] if i < len(here) else "") for i, word in enumerate(there) if word and word != "Text"]
    return sum(word == found for word, found in pairs) / len(pairs) if pairs else 1.0


def follows(wanted: tuple[str, str], given: tuple[str, str]) -> bool:
    """Whether a page as it was given before was changed as wanted, its misread words left as they were."""
    before, after = (page.splitlines() for page in wanted)
    own = given[0].strip().splitlines()
    if len(own) != len(before):
        return False
    changed: list[str] = []
    for what, i, j, k, n in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if what == "equal":
            changed += own[i:j]
        elif what == "replace" and j - i == n - k:
            changed += [_like(*lines) for lines in zip(before[i:j], after[k:n], own[i:j], strict=True)]
        else:
            changed += after[k:n]
    return changed == given[1].strip().splitlines()


def _like(before: str, after: str, own: str) -> str:
    """The line changed as `before` was: its style alone, or all of it."""
    if page_words(before) != page_words(after):
        return after
    at = next(i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    return own[:at] + after[at : at + len(after) - len(before)] + own[at:]


def section(family: str, kind: str) -> str:
    """The row of the table that a question counts in."""
    if kind.endswith(("by label", "by name")) or kind in READ:
        return f"{family}: labels, names and titles"
    if kind == "bar table":
        return f"{family}: tables as JSON"
    if kind in PLACES:
        return f"{family}: position and relations"
    if kind in ("outside", "cannot tell"):
        return f"{family}: cannot be told"
    if kind == "page edit":
        return f"{family}: edits"
    if kind == "page html":
        return f"{family}: HTML"
    return family
