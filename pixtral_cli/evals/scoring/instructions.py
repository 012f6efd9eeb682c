"""Checks whether an answer follows an instruction: the twenty-five kinds of IF-Eval (Zhou et al. 2023)."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pixtral_cli.evals.scoring.languages import detect_language

Arguments: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[str, Arguments], bool]
YES_NO_MAYBE = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_ENDS = re.compile(r"[.!?…。！？।]+[\"'”’)\]]*(?=\s|$)|[。！？]")
_ABBREVIATIONS = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|[A-Z])\.(?=\s)")
_FENCE = re.compile(r"^```(?:json)?|```$", re.IGNORECASE)


def _compare_count(count: int, relation: str, limit: int) -> bool:
    return count < limit if relation == "less than" else count >= limit


def _words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def _sentences(text: str) -> int:
    """Where sentences end; the last may lack its full stop, and abbreviations end none."""
    text = _ABBREVIATIONS.sub(lambda match: match[0][:-1], text.strip())
    pieces = [piece for line in text.splitlines() for piece in _ENDS.split(line)]
    return sum(1 for piece in pieces if re.search(r"\w", piece))


def _frequency(text: str, given: Arguments) -> bool:
    count = len(re.findall(re.escape(given["keyword"]), text, re.IGNORECASE))
    return _compare_count(count, given["relation"], given["frequency"])


def _letters(text: str, given: Arguments) -> bool:
    count = Counter(text.lower())[given["letter"].lower()]
    return _compare_count(count, given["let_relation"], given["let_frequency"])


def _keywords(text: str, given: Arguments) -> bool:
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in given["keywords"])


def _forbidden(text: str, given: Arguments) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in given["forbidden_words"])


def _paragraphs(text: str, given: Arguments) -> bool:
    """Between lines of ***; only the first and last piece may be blank."""
    pieces = [bool(piece.strip()) for piece in re.split(r"\s?\*\*\*\s?", text)]
    return all(pieces[1:-1]) and sum(pieces) == int(given["num_paragraphs"])


def _first_word(text: str, given: Arguments) -> bool:
    """Of the nth paragraph of so many, counted with its blank ones, as published."""
    pieces = text.split("\n\n")
    count, nth = sum(1 for piece in pieces if piece.strip()), given["nth_paragraph"]
    paragraph = pieces[nth - 1].strip() if nth <= count else ""
    if not paragraph:
        return False
    word = re.split(r"[.,?!'\"]", paragraph.split()[0].lstrip("'").lstrip('"'))[0].lower()
    return count == int(given["num_paragraphs"]) and word == str(given["first_word"]).lower()


def _postscript(text: str, given: Arguments) -> bool:
    marker = given["postscript_marker"]
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(patterns.get(marker, re.escape(marker.lower())), text.lower()) is not None


def _bullets(text: str, given: Arguments) -> bool:
    return len(re.findall(r"^\s*(?:\*[^*]|-).*$", text, re.MULTILINE)) == int(given["num_bullets"])


def _highlights(text: str, given: Arguments) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part.strip("*").strip()]
    return len(single) + len(double) >= int(given["num_highlights"])


def _sections(text: str, given: Arguments) -> bool:
    marker = re.escape(given["section_spliter"])
    return len(re.split(rf"\s?{marker}\s?\d+\s?", text)) - 1 >= int(given["num_sections"])


def _json(text: str, given: Arguments) -> bool:
    try:
        json.loads(_FENCE.sub("", text.strip()).strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, given: Arguments) -> bool:
    return any(title.strip("<>").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, given: Arguments) -> bool:
    pieces = [piece.strip() for piece in text.split("******")]
    answers = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(answers) == 2 and answers[0] != answers[1]


def _repeats(text: str, given: Arguments) -> bool:
    return text.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())


def _ends(text: str, given: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(given["end_phrase"].strip().lower())


def _capitals(text: str, given: Arguments) -> bool:
    count = sum(1 for word in re.findall(r"[\w'’-]+", text) if word.isupper())
    return _compare_count(count, given["capital_relation"], given["capital_frequency"])


CHECKS: dict[str, Check] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": lambda text, given: detect_language(text) in (given["language"], None),
    "length_constraints:number_sentences": lambda text, given: _compare_count(
        _sentences(text), given["relation"], given["num_sentences"]
    ),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda text, given: _compare_count(
        _words(text), given["relation"], given["num_words"]
    ),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[.*?\]", text)) >= given["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, given: any(one in text for one in YES_NO_MAYBE),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats,
    "startend:end_checker": _ends,
    "startend:quotation": lambda text, given: len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"',
    "change_case:capital_word_frequency": _capitals,
    "change_case:english_capital": lambda text, given: text.isupper() and detect_language(text) in ("en", None),
    "change_case:english_lowercase": lambda text, given: text.islower() and detect_language(text) in ("en", None),
    "punctuation:no_comma": lambda text, given: "," not in text,
}


def follows(answer: str, kind: str, given: Arguments) -> bool:
    """Whether an answer follows an instruction to the letter; an empty one follows none."""
    return bool(answer.strip()) and CHECKS[kind](answer, given)


def follows_loosely(answer: str, kind: str, given: Arguments) -> bool:
    """Whether it does without its first or last line, or without asterisks."""
    lines = answer.split("\n")
    cuts = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return any(follows(text, kind, given) for cut in cuts for text in (cut, cut.replace("*", "")))
