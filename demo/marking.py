"""Whether an answer is right: word for word, and for web pages also by structure and by words. Asks nothing."""

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

from demo.questions.talk import CANNOT, UNSEEN
from demo.samples import Turn

HONEST = (CANNOT, UNSEEN)
PLACES = frozenset(("where", "beside", "relation", "extreme", "follow"))
READ = frozenset(("bar labels", "chart title", "legend name", "legend names", "legend colour"))
WHEN = frozenset(("line wrong by name", "line step by name", "run wrong by name"))
TOLD = frozenset(("line read", "bar read"))
_COLOUR = re.compile(r"\bthe (\w+) line\b", re.IGNORECASE)
_STEP = re.compile(r"\bstep ([\d.,]*\d[kM]?)")
_TAG = re.compile(r"<[^>]*>")
_QUOTED = re.compile(r'placeholder="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Mark:
    """`structure`: the page has the right elements in order. `words`: the share of its words that are right.

    `follows`: an edit changed the page that was given before as asked, whatever its words. `true`: a description of a chart
    states nothing that is not so, and nothing twice.
    """

    right: bool
    structure: bool | None = None
    words: float | None = None
    follows: bool | None = None
    true: bool | None = None


def mark(turn: Turn, answer: str) -> Mark:
    answer = answer.strip()
    if turn.kind in ("outside", "cannot tell"):
        return Mark(answer in HONEST)
    if turn.kind in ("page html", "page edit"):
        return Mark(answer == turn.answer, skeleton(answer) == skeleton(turn.answer), words_right(turn.answer, answer))
    if turn.kind in WHEN:
        return Mark(agrees(turn.answer, answer))
    if turn.kind in TOLD:
        return Mark(answer == turn.answer, true=truthful(turn.answer, answer))
    return Mark(answer == turn.answer)


def agrees(wanted: str, given: str) -> bool:
    """Whether an answer about a named run gives the same step, or says as well that nothing goes wrong, and no other colour."""
    (step, colour), (found, named) = when(wanted), when(given)
    return step is not None and step == found and named in (None, colour)


def when(answer: str) -> tuple[str | None, str | None]:
    """The step that is told, or `nothing`; and the colour of the line, if one is named."""
    colour, step = _COLOUR.search(answer), _STEP.search(answer)
    named = colour[1].lower() if colour else None
    if re.search(r"\bnothing goes wrong\b", answer, re.IGNORECASE):
        return "nothing", named
    return step and step[1], named


def truthful(wanted: str, given: str) -> bool:
    """Whether every statement of a chart's description is one of the full description, and none is made twice."""
    whole, said = statements(wanted), statements(given)
    return bool(said) and len(set(said)) == len(said) and set(said) <= set(whole)


def statements(description: str) -> list[str]:
    """`A line chart: the red line goes up and the blue line goes down.` in parts: what it is, and each line or bar."""
    what, _, rest = description.strip().rstrip(".").partition(": ")
    parts = re.split(r",\s+|\s+and (?=the )", rest) if rest else []
    return [what, *(part for part in parts if part)]


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
    if family == "worked examples":
        return family
    if kind == "run wrong by name":
        return f"{family}: when a named run goes wrong"
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
