"""Checks whether an answer follows an instruction: the 25 kinds of IFEval (Zhou et al. 2023, arXiv 2311.07911)."""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pixtral_cli.evals.scoring.languages import detect_language

Arguments: TypeAlias = Mapping[str, Any]
Check: TypeAlias = Callable[[str, Arguments], bool]
YES_NO_MAYBE = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_SENTENCE_END = re.compile(r"[.!?…。！？।]+[\"'”’)\]]*(?=\s|$)|[。！？]")
_ABBREVIATIONS = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr|vs|etc|e\.g|i\.e|[A-Z])\.(?=\s)")
_FENCE = re.compile(r"^```(?:json)?|```$", re.IGNORECASE)


def _compare_count(count: int, relation: str, limit: int) -> bool:
    return count < limit if relation == "less than" else count >= limit


def _words(text: str) -> int:
    return len(re.findall(r"\w+", text))


def _sentences(text: str) -> int:
    """The number of sentences. The last may lack its full stop; abbreviations end none."""
    text = _ABBREVIATIONS.sub(lambda match: match[0][:-1], text.strip())
    pieces = [piece for line in text.splitlines() for piece in _SENTENCE_END.split(line)]
    return sum(1 for piece in pieces if re.search(r"\w", piece))


def _frequency(text: str, arguments: Arguments) -> bool:
    count = len(re.findall(re.escape(arguments["keyword"]), text, re.IGNORECASE))
    return _compare_count(count, arguments["relation"], arguments["frequency"])


def _letters(text: str, arguments: Arguments) -> bool:
    count = Counter(text.lower())[arguments["letter"].lower()]
    return _compare_count(count, arguments["let_relation"], arguments["let_frequency"])


def _keywords(text: str, arguments: Arguments) -> bool:
    return all(re.search(re.escape(word), text, re.IGNORECASE) for word in arguments["keywords"])


def _forbidden(text: str, arguments: Arguments) -> bool:
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in arguments["forbidden_words"])


def _paragraphs(text: str, arguments: Arguments) -> bool:
    """Paragraphs are separated by ***; only the first and the last may be blank."""
    pieces = [bool(piece.strip()) for piece in re.split(r"\s?\*\*\*\s?", text)]
    return all(pieces[1:-1]) and sum(pieces) == int(arguments["num_paragraphs"])


def _first_word(text: str, arguments: Arguments) -> bool:
    """The first word of the nth paragraph and their number; n counts blank ones, as the published code does."""
    pieces = text.split("\n\n")
    count, nth = sum(1 for piece in pieces if piece.strip()), arguments["nth_paragraph"]
    paragraph = pieces[nth - 1].strip() if nth <= count else ""
    if not paragraph:
        return False
    word = re.split(r"[.,?!'\"]", paragraph.split()[0].lstrip("'").lstrip('"'))[0].lower()
    return count == int(arguments["num_paragraphs"]) and word == str(arguments["first_word"]).lower()


def _postscript(text: str, arguments: Arguments) -> bool:
    marker = arguments["postscript_marker"]
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return re.search(patterns.get(marker, re.escape(marker.lower())), text.lower()) is not None


def _bullets(text: str, arguments: Arguments) -> bool:
    return len(re.findall(r"^\s*(?:\*[^*]|-).*$", text, re.MULTILINE)) == int(arguments["num_bullets"])


def _highlights(text: str, arguments: Arguments) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part.strip("*").strip()]
    return len(single) + len(double) >= int(arguments["num_highlights"])


def _sections(text: str, arguments: Arguments) -> bool:
    marker = re.escape(arguments["section_spliter"])
    return len(re.split(rf"\s?{marker}\s?\d+\s?", text)) - 1 >= int(arguments["num_sections"])


def _json(text: str, arguments: Arguments) -> bool:
    try:
        json.loads(_FENCE.sub("", text.strip()).strip())
    except (ValueError, RecursionError):
        return False
    return True


def _title(text: str, arguments: Arguments) -> bool:
    return any(title.strip("<>").strip() for title in re.findall(r"<<[^\n]+>>", text))


def _two_responses(text: str, arguments: Arguments) -> bool:
    pieces = [piece.strip() for piece in text.split("******")]
    answers = [piece for piece in pieces if piece]
    return all(pieces[1:-1]) and len(answers) == 2 and answers[0] != answers[1]


def _repeats_prompt(text: str, arguments: Arguments) -> bool:
    return text.strip().lower().startswith(arguments["prompt_to_repeat"].strip().lower())


def _ends_with(text: str, arguments: Arguments) -> bool:
    return text.strip().strip('"').lower().endswith(arguments["end_phrase"].strip().lower())


def _capitals(text: str, arguments: Arguments) -> bool:
    count = sum(1 for word in re.findall(r"[\w'’-]+", text) if word.isupper())
    return _compare_count(count, arguments["capital_relation"], arguments["capital_frequency"])


CHECKS: dict[str, Check] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": lambda text, arguments: detect_language(text) in (arguments["language"], None),
    "length_constraints:number_sentences": lambda text, arguments: _compare_count(
        _sentences(text), arguments["relation"], arguments["num_sentences"]
    ),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": lambda text, arguments: _compare_count(
        _words(text), arguments["relation"], arguments["num_words"]
    ),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": lambda text, arguments: (
        len(re.findall(r"\[.*?\]", text)) >= arguments["num_placeholders"]
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, arguments: any(choice in text for choice in YES_NO_MAYBE),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": _repeats_prompt,
    "startend:end_checker": _ends_with,
    "startend:quotation": lambda text, arguments: len(text.strip()) > 1 and text.strip()[0] == text.strip()[-1] == '"',
    "change_case:capital_word_frequency": _capitals,
    "change_case:english_capital": lambda text, arguments: text.isupper() and detect_language(text) in ("en", None),
    "change_case:english_lowercase": lambda text, arguments: text.islower() and detect_language(text) in ("en", None),
    "punctuation:no_comma": lambda text, arguments: "," not in text,
}


def follows(answer: str, kind: str, arguments: Arguments) -> bool:
    """Whether an answer follows an instruction strictly; an empty answer follows none.

    Raises KeyError for an unknown kind.
    """
    return bool(answer.strip()) and CHECKS[kind](answer, arguments)


def follows_loosely(answer: str, kind: str, arguments: Arguments) -> bool:
    """Whether the answer follows it, or does without its first line, its last line or asterisks (the loose metric)."""
    lines = answer.split("\n")
    variants = [answer, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    return any(follows(text, kind, arguments) for variant in variants for text in (variant, variant.replace("*", "")))
