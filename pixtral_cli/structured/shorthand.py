"""Parses the short form of a JSON schema, such as 'name, price:float, [tags]'.

    name, price:float              an object with these fields; a field is a string unless it says otherwise
    price:float                    a type: str, int, float, bool (JSON schema's names of them are taken too)
    size:small|medium|large        one of these words
    price?:float                   a price, or null where there is none
    price:float: in euros          a description, for the model, after a colon and a space
    name: as it is printed         a description of a string
    [tags], [sizes:int]            fields that are lists of strings, of numbers
    seller{name, city}             a field that is an object
    items[name, price:float]       a field that is a list of objects
    [name, price:float]            brackets around all of it: the answer is a list of such objects

Fields are separated by commas, or by line breaks where there are any (descriptions may hold commas then). Every field is
required, and there are no others.
"""

import re
from collections.abc import Iterator
from typing import Any

TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
TYPE_NAMES = frozenset(TYPES)
TYPES |= {name: name for name in TYPES.values()}
SHORTHAND_HINT = "Such as: name, price:float: in euros, size:small|large, [tags], items[name, count:int]"
MAX_DEPTH = 32

FIELD = re.compile(r"(?P<name>[\w$.-]+)(?P<optional>\?)?\s*(?P<rest>.*)", re.DOTALL)
BRACKETS = {"[": "]", "{": "}"}
CHOICE = re.compile(r"\s*[^\s:|]+(\s*\|\s*[^\s:|]+)+\s*")


class ShorthandError(ValueError):
    """A text that is not in the short form; the message says why."""


def parse(text: str) -> dict[str, Any]:
    """The JSON schema of the short form. Raises ShorthandError."""
    text = text.strip()
    if text[:1] == "[" and _closing_bracket(text, 0) == len(text) - 1:
        return {"type": "array", "items": _object(text[1:-1])}
    return _object(text)


def _object(text: str, depth: int = 0) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for piece in _split(text):
        name, schema = _field(piece, depth)
        if name in properties:
            raise ShorthandError(f"the field {name} is given twice")
        properties[name] = schema
    if not properties:
        raise ShorthandError("there is a list of fields without a field")
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _split(text: str) -> Iterator[str]:
    """The fields of a list: separated by line breaks if there are any outside of brackets, else by commas."""
    outside = list(_top_level(text))
    broken = any(text[place] == "\n" for place in outside)
    ends = [place for place in outside if text[place] == ("\n" if broken else ",")]
    for start, end in zip([0, *(end + 1 for end in ends)], [*ends, len(text)], strict=True):
        piece = text[start:end].strip().rstrip("," if broken else "").strip()
        if piece:
            yield piece
        elif not broken and ends and end < len(text):
            raise ShorthandError(f"there is nothing before the comma at character {end + 1}")


def _top_level(text: str) -> Iterator[int]:
    """The positions of the characters outside of all brackets."""
    place = 0
    while place < len(text):
        if text[place] in BRACKETS:
            place = _closing_bracket(text, place)
        else:
            yield place
        place += 1


def _closing_bracket(text: str, start: int) -> int:
    """The position of the bracket that closes the one at `start`. Raises ShorthandError."""
    expected = []
    for place in range(start, len(text)):
        if text[place] in BRACKETS:
            expected.append(BRACKETS[text[place]])
        elif text[place] in BRACKETS.values() and (not expected or expected.pop() != text[place]):
            break
        if not expected:
            return place
    raise ShorthandError(f"the {text[start]} at character {start + 1} is not closed by a {BRACKETS[text[start]]}")


def _field(piece: str, depth: int) -> tuple[str, Any]:
    """The name and the schema of one field."""
    if depth > MAX_DEPTH:
        raise ShorthandError("it nests too deep")
    if piece[0] == "[":
        end = _closing_bracket(piece, 0)
        name, inner = _field(piece[1:end].strip() or "?", depth + 1)
        return name, _described({"type": "array", "items": inner}, piece[end + 1 :], name)
    match = FIELD.fullmatch(piece)
    if not match:
        raise ShorthandError(f"{_quoted(piece)} does not begin with the name of a field")
    name, rest = match["name"], match["rest"]
    if name in TYPE_NAMES:  # but a field may well be called number
        raise ShorthandError(f"{name} is a type and no name; write NAME:{name}")
    if rest[:1] in BRACKETS and rest:
        end = _closing_bracket(rest, 0)
        inner = _object(rest[1:end], depth + 1)
        group: dict[str, Any] = inner if rest[0] == "{" else {"type": "array", "items": inner}
        return name, _optional(_described(group, rest[end + 1 :], name), match)
    return name, _optional(_typed(rest, name), match)


def _typed(rest: str, name: str) -> dict[str, Any]:
    """The schema of the text after a name: `:type`, ` type`, `: description`, or a type and a description."""
    declared, has_space = rest.removeprefix(":"), rest[1:2].isspace()
    if CHOICE.fullmatch(declared):
        declared = re.sub(r"\s+", "", declared)
    word, after = re.fullmatch(r"\s*([^\s:]*)(.*)", declared, re.DOTALL).groups()  # type: ignore[union-attr]
    if not word:
        return {"type": "string"}
    is_description = has_space and word not in TYPE_NAMES and re.match(r"\s+[^\s:]", after)  # `days: number of days`
    if word in TYPES and not is_description:
        return _described({"type": TYPES[word]}, after, name)
    if "|" in word.strip("|"):
        return _described({"type": "string", "enum": _enum_words(word, name)}, after, name)
    if rest[0] == ":" and has_space:
        return {"type": "string", "description": declared.strip()}
    raise ShorthandError(f"{_quoted(word)} is no type of {name}; there are str, int, float, bool")


def _enum_words(choice: str, name: str) -> list[str]:
    """The words of `small|large`. Raises ShorthandError where a union of types or null was meant."""
    words = list(dict.fromkeys(choice.strip("|").split("|")))
    if {"null", "None", *TYPES} & set(words):
        raise ShorthandError(f"{name} has one type, not {_quoted(choice)}; what may be null is {name}?:float")
    if choice.endswith("?"):
        raise ShorthandError(f"{_quoted(choice)}: what may be null has its mark at the name, {name}?:{choice[:-1]}")
    return words


def _described(schema: dict[str, Any], rest: str, name: str) -> dict[str, Any]:
    description = rest.strip().removeprefix(":").strip()
    if rest.strip() and not re.match(r"\s*:|\s+\S", rest):
        raise ShorthandError(f"{_quoted(rest)} after {name} is not understood")
    return {**schema, "description": description} if description else schema


def _optional(schema: dict[str, Any], match: re.Match[str]) -> dict[str, Any]:
    if not match["optional"]:
        return schema
    if "enum" in schema:
        return {**schema, "type": ["string", "null"], "enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]}


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 30 else f"{text[:29]}…")
