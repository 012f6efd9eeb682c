"""The metrics of the Pixtral report: scores from 0 to 1 for an answer and its references.

The first group reproduces the published code (mistralai/mistral-evals, eval/metrics.py) in edge cases too;
tests/evals/published.jsonl.gz holds thousands of its scores.
"""

import re
import string
from collections.abc import Iterable, Sequence

TOLERANCE = 0.05  # relaxed correctness: the relative error allowed for a number
VQA_VOTES = 3  # VQA match: votes (of ten) for a full score
MIN_DENOMINATOR = 1e-10  # for relative errors of references near 0

_ANSWER_LABEL = re.compile(r"([aA]nswer)\**:\**")
_MARKUP = re.compile(r"[*_\[\]()]")


def vqa_match(answer: str, references: Sequence[str]) -> float:
    """A third for each reference that equals the answer, at most 1 (VQA accuracy, Antol et al.

    2015, as the report uses it).
    """
    given = strip_quotes(answer)
    return min(1.0, sum(strip_quotes(reference) == given for reference in references) / VQA_VOTES)


def anls(answer: str, references: Sequence[str]) -> float:
    """1 - normalised edit distance to the nearest reference, without ANLS's usual threshold, as published."""
    given = _normalize(answer)
    return max((_similarity(given, _normalize(reference)) for reference in references), default=0.0)


def relaxed(answer: str, references: Sequence[str]) -> float:
    """1 when the answer equals a reference: numbers within 5 %, a letter by its first character, text ignoring case."""
    given = _value_text(answer)
    return max((_relaxed_match(given, _value_text(reference)) for reference in references), default=0.0)


def explicit_relaxed(answer: str, references: Sequence[str]) -> float:
    """Relaxed correctness of the text after the last "Answer:"; 0 without one."""
    final = final_answer(answer)
    return relaxed(final, references) if final else 0.0


def anywhere_relaxed(answer: str, references: Sequence[str]) -> float:
    """As `explicit_relaxed`; without "Answer:", 1 when a reference appears anywhere in the answer.

    Too generous by design.
    """
    if final := final_answer(answer):
        return relaxed(final, references)
    return float(any(_appears_in(reference, answer, references) for reference in references))


def final_answer(text: str) -> str:
    """The first non-empty line after the last "answer:", without Markdown; "" when there is none."""
    text = _ANSWER_LABEL.sub(r"\1:", text)
    at = text.lower().rfind("answer:")
    if at < 0:
        return ""
    lines = (line.strip() for line in text[at + len("answer:") :].split("\n"))
    return _MARKUP.sub("", next(filter(None, lines), ""))


def strip_quotes(text: str) -> str:
    """The text without one pair of enclosing quotes."""
    return text[1:-1] if any(text.startswith(mark) and text.endswith(mark) for mark in "\"'") else text


def _strip_end(text: str) -> str:
    """The text without trailing punctuation and white space, up to a percent sign, which stays."""
    end = len(text)
    while end and text[end - 1] != "%" and (text[end - 1] in string.punctuation or text[end - 1].isspace()):
        end -= 1
    return text[:end]


def _normalize(text: str) -> str:
    """The text in lower case, with single spaces, without trailing punctuation."""
    return _strip_end(" ".join(text.lower().split()))


def _similarity(one: str, other: str) -> float:
    longest = max(len(one), len(other))
    return 1 - edit_distance(one, other) / longest if longest else 1.0


def edit_distance(one: str, other: str) -> int:
    """The Levenshtein distance: the least number of insertions, deletions and substitutions."""
    row = list(range(len(one) + 1))
    for i, char in enumerate(other, 1):
        diagonal, row[0] = row[0], i
        for j, other_char in enumerate(one, 1):
            diagonal, row[j] = row[j], diagonal if other_char == char else 1 + min(diagonal, row[j], row[j - 1])
    return row[-1]


def _value_text(text: str) -> str:
    """A number without thousands separators, dollar sign and final punctuation; other text without enclosing quotes."""
    if any(char.isdigit() for char in text):
        return _strip_end(text).replace(",", "").replace("$", "")
    return strip_quotes(text)


def _relaxed_match(answer: str, expected: str) -> float:
    number, reference = _number(answer), _number(expected)
    if number is not None and reference is not None:
        percents = answer.strip().endswith("%"), expected.strip().endswith("%")
        return float(any(_within_tolerance(*pair) for pair in _percent_readings(number, reference, percents)))
    if len(expected) == 1 and expected.isalpha() and answer:
        return float(answer[0].lower() == expected.lower())
    return float(answer.lower() == expected.lower())


def _number(text: str) -> float | None:
    try:
        return float(text.strip().rstrip("%"))
    except ValueError:
        return None


def _percent_readings(number: float, reference: float, percents: tuple[bool, bool]) -> Iterable[tuple[float, float]]:
    """The pairs to compare: the numbers as written, and each with its percent sign read as a division by 100."""
    yield number, reference
    if percents[0]:
        yield number / 100, reference
    if percents[1]:
        yield number, reference / 100


def _within_tolerance(number: float, reference: float) -> bool:
    return abs(number - reference) / max(abs(reference), MIN_DENOMINATOR) <= TOLERANCE


def _appears_in(reference: str, answer: str, references: Sequence[str]) -> bool:
    """Whether a reference appears in an answer; unless it is a number, any of `references` in a phrase, as published."""
    try:
        number = float(reference)
        whole = int(number) == number
    except (ValueError, OverflowError):  # text, nan or inf
        patterns = ("is {}", "was {}", " {}.", "are {}", "\n\n{}")
        return any(pattern.format(other).lower() in answer for other in references for pattern in patterns)
    value = int(number) if whole else number
    return format(value, ",") in answer or str(value) in answer


# Metrics that the report does not have, for text tasks.


def exact(answer: str, references: Sequence[str]) -> float:
    """1 when the answer equals a reference, ignoring case, enclosing quotes, spaces and trailing punctuation."""
    given = _normalize(strip_quotes(answer.strip()))
    return float(any(given == _normalize(strip_quotes(reference.strip())) for reference in references))


def explicit_exact(answer: str, references: Sequence[str]) -> float:
    """`exact` of the text after the last "Answer:"; 0 without one."""
    final = final_answer(answer)
    return exact(final, references) if final else 0.0


_CHOICE = re.compile(r"\W*([A-Za-z])(?![A-Za-z0-9])")


def multiple_choice(answer: str, references: Sequence[str]) -> float:
    """1 when the letter after the last "Answer:" is a reference; "(B)", "b." and "B: blue" count as B."""
    match = _CHOICE.match(final_answer(answer))
    return float(match is not None and match[1].upper() in {reference.strip().upper() for reference in references})


_LATEX = (
    (re.compile(r"\\(?:left|right|displaystyle|!|,|;|:| )"), ""),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\frac(\d)(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\(?:text|mathrm|mbox|textbf)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\^\{?\\circ\}?|\\degree"), ""),
    (re.compile(r"\\%|%|\\\$|\$"), ""),
    (re.compile(r"\\\(|\\\)|\\\[|\\\]"), ""),
    (re.compile(r"(?<=\d),(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\s+"), ""),
)
_FRACTION = re.compile(r"(-?)\\frac\{(\d+)\}\{(\d+)\}|(-?)(\d+)/(\d+)")
_BOXED = r"\boxed{"


def mathematics(answer: str, references: Sequence[str]) -> float:
    """1 when the last boxed expression, else the text after the last "Answer:", equals a reference, as LaTeX or number."""
    given = _normalize_latex(last_boxed(answer) or _after_answer(answer))
    expected = [_normalize_latex(reference) for reference in references]
    return float(bool(given) and any(given == reference or _same_number(given, reference) for reference in expected))


def last_boxed(text: str) -> str:
    """The content of the last \\boxed{…}; "" when there is none or its brace is not closed."""
    start = text.rfind(_BOXED)
    if start < 0:
        return ""
    start += len(_BOXED)
    depth = 1
    for index in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[start:index]
    return ""


def _after_answer(text: str) -> str:
    """The first non-empty line after the last "Answer:", with brackets, unlike `final_answer`."""
    text = _ANSWER_LABEL.sub(r"\1:", text)
    at = text.lower().rfind("answer:")
    lines = text[at + len("answer:") :].split("\n") if at >= 0 else []
    return next(filter(None, (line.strip().strip("*") for line in lines)), "")


def _normalize_latex(text: str) -> str:
    for pattern, replacement in _LATEX:
        text = pattern.sub(replacement, text)
    return text.rstrip(".")


def _same_number(one: str, other: str) -> bool:
    numbers = _parse_quantity(one), _parse_quantity(other)
    return numbers[0] is not None and numbers[0] == numbers[1]


def _parse_quantity(text: str) -> float | None:
    """The value of a number or fraction; None for other text."""
    if match := _FRACTION.fullmatch(text):
        sign, numerator, denominator = (match[1], match[2], match[3]) if match[2] else (match[4], match[5], match[6])
        return (-1 if sign else 1) * int(numerator) / int(denominator) if int(denominator) else None
    try:
        return float(text)
    except ValueError:
        return None


_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORD = re.compile(r"-?\d+(?:[.,]\d+)*|\w+|[^\w\s]")


def states(answer: str, reference: str, others: Sequence[str] = ()) -> float:
    """1 when the answer has the reference as whole words and none of `others`; a number must be the only one in it.

    Where the answer has an "Answer:", only the text after it counts. Number words equal digits, plurals singulars.
    """
    given, expected = _words(final_answer(answer) or answer), _words(reference)
    if (
        not expected
        or not _contains_words(given, expected)
        or any(_contains_words(given, _words(other)) for other in others)
    ):
        return 0.0
    if len(expected) == 1 and _number(expected[0]) is not None:
        return float({word for word in given if _number(word) is not None} == set(expected))
    return 1.0


def _words(text: str) -> list[str]:
    """The words of a text in lower case, number words as digits, without a plural's s."""
    words = [word.replace(",", "") if word[-1].isdigit() else word for word in _WORD.findall(text.lower())]
    words = [str(_NUMBERS.index(word)) if word in _NUMBERS else word for word in words]
    return [word.removesuffix("s") if len(word) > 3 else word for word in words]


def _contains_words(answer: Sequence[str], expected: Sequence[str]) -> bool:
    return any(
        list(answer[start : start + len(expected)]) == list(expected)
        for start in range(len(answer) - len(expected) + 1)
    )
