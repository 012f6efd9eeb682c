"""Small pieces of English that several families of questions use."""

import re
from collections.abc import Sequence
from random import Random

from demo.samples import Turn

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
FILES = (
    "cat",
    "shapes",
    "image",
    "picture",
    "photo",
    "chart",
    "plot",
    "screenshot",
    "page",
    "test",
    "IMG_",
    "scan",
    "dog",
)
ORDINALS = ("first", "second", "third")

_PICTURE = re.compile(r"\b(the|this) (image|picture)\b")


def a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def cap(text: str) -> str:
    return text[0].upper() + text[1:]


def count(n: int) -> str:
    return f"{cap(NUMBERS[n])}."


def plural(noun: str) -> str:
    irregular = {
        "person": "people",
        "cross": "crosses",
        "box": "boxes",
        "text box": "text boxes",
        "checkbox": "checkboxes",
    }
    return irregular.get(noun, f"{noun}s")


def listing(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def loosely(rng: Random, question: str) -> str:
    """As people type: sometimes a file's name, or without capital or question mark, sometimes with a please."""
    draw = rng.random()
    if rng.random() < 0.1:
        question = _PICTURE.sub(_file_name(rng), question)
    if draw < 0.08:
        return question[0].lower() + question[1:]
    if draw < 0.14:
        return question.rstrip("?.")
    if draw < 0.18:
        return (question[0].lower() + question[1:]).rstrip("?.")
    if draw < 0.2:
        return f"Please {question[0].lower()}{question[1:]}" if question[-1] == "." else question
    return question


def _file_name(rng: Random) -> str:
    name = rng.choice((*FILES, rng.choice("abcdexyz") * rng.randint(1, 3), f"{rng.choice(FILES)}{rng.randint(1, 99)}"))
    return f"{rng.choice(('', '', '', './', '~/'))}{name}{rng.choice(('.png', '.png', '.jpg', '.jpeg', '.webp'))}"


def turn(rng: Random, questions: Sequence[str], answer: str, kind: str) -> Turn:
    return Turn(loosely(rng, rng.choice(questions)), answer, kind)


def dialogues(rng: Random, turns: Sequence[Turn], most: int) -> list[tuple[Turn, ...]]:
    """Shuffle questions that stand alone into conversations, most of one turn, some of two or three."""
    pool = list(turns)
    rng.shuffle(pool)
    pool = pool[:most]
    talks: list[tuple[Turn, ...]] = []
    while pool:
        length = rng.choices((1, 2, 3), (70, 18, 12))[0]
        talks.append(tuple(pool[:length]))
        pool = pool[length:]
    return talks
