"""Completes commands and their arguments, paths of pictures, and image numbers."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from pixtral_cli.images.formats import has_picture_extension
from pixtral_cli.terminal.desktop.screenshot import AREAS
from pixtral_cli.terminal.repl import file_search
from pixtral_cli.terminal.repl.commands.settings import SETTINGS
from pixtral_cli.terminal.repl.commands.table import BY_NAME, KEYS_TOPIC, TABLE, Kind
from pixtral_cli.terminal.repl.input_parser import MAX_NAME, shell_quoted, shell_unquoted

MAX_ENTRIES = 200  # suggestions from one folder
NamesWithSummaries: TypeAlias = Callable[[], Sequence[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A completion: `text` replaces the last `length` characters before the cursor; `about` is its description."""

    text: str
    length: int
    about: str = ""


@dataclass(frozen=True, slots=True)
class CompletionSources:
    """Functions that return the names to complete, each with a description."""

    images: NamesWithSummaries = field(default=tuple)
    models: NamesWithSummaries = field(default=tuple)
    sessions: NamesWithSummaries = field(default=tuple)
    templates: NamesWithSummaries = field(default=tuple)


def suggest(before: str, names: CompletionSources) -> Iterator[Suggestion]:
    """The completions of the text before the cursor."""
    command = re.match(r"/(\S*)(\s+)?", before)
    if command and "/" not in command[1] and not command[2]:
        yield from _matching([(f"/{row.name}", row.summary) for row in TABLE], before)
        return
    word = _last_word(before)
    row = BY_NAME.get(command[1]) if command else None
    if row and row.kind != "picture":
        yield from _matching(_arguments(row.kind, before, names), word)
    elif word.startswith("#"):
        yield from _matching([(f"#{number}", about) for number, about in names.images()], word)
    elif word.startswith("@"):
        yield from _complete_anywhere(word[1:])
    elif word or row:
        yield from complete_path(word)


def completes_while_typing(before: str) -> bool:
    """Whether to show completions without Tab: for a command, and for a word that begins with @ or #."""
    return bool(re.fullmatch(r"/[a-z?]*", before) or re.match(r"[@#]", _last_word(before)))


def _last_word(before: str) -> str:
    """The word before the cursor: the text after the last space without a backslash, at most MAX_NAME characters."""
    tail = before[-MAX_NAME:]
    at = len(tail)
    while at and (not tail[at - 1].isspace() or tail[at - 2 : at - 1] == "\\"):
        at -= 1
    return tail[at:]


def _complete_anywhere(word: str) -> Iterator[Suggestion]:
    """Files of any kind whose path begins with the word, then files in subfolders that match it."""
    with_prefix = list(complete_path(word, texts=True))
    yield from with_prefix
    folder, name = os.path.split(shell_unquoted(word))
    offered = {suggestion.text for suggestion in with_prefix}
    for path in file_search.search(Path(folder).expanduser() if folder else Path(), name):
        text = shell_quoted(f"{folder.rstrip('/')}/{path}" if folder else path)
        if text not in offered:
            yield Suggestion(text, len(word))


def complete_path(word: str, *, texts: bool = False) -> Iterator[Suggestion]:
    """The folders and pictures (with `texts`, all files) whose path begins with the word, in any case."""
    folder, name = os.path.split(shell_unquoted(word))
    try:
        entries = sorted(os.scandir(Path(folder).expanduser() if folder else "."), key=lambda entry: entry.name.lower())
    except (OSError, ValueError, RuntimeError):
        return
    matching = (e for e in entries if e.name.lower().startswith(name.lower()) and (name or not e.name.startswith(".")))
    offered = ((e.name, e.is_dir()) for e in matching if texts or e.is_dir() or has_picture_extension(e.name))
    for entry, is_folder in islice(offered, MAX_ENTRIES):
        yield Suggestion(
            shell_quoted(folder and f"{folder.rstrip('/')}/") + shell_quoted(entry) + "/" * is_folder,
            len(word),
            "folder" * is_folder,
        )


def _arguments(kind: Kind, before: str, names: CompletionSources) -> Sequence[tuple[str, str]]:
    if kind == "setting":
        words = before.split()
        if len(words) > 2 or (len(words) == 2 and before.endswith(" ")):
            row = SETTINGS.get(words[1])
            return [(value, "") for value in row.takes.split(" | ")] if row and "|" in row.takes else []
        return [(name, row.summary) for name, row in SETTINGS.items()]
    if kind == "command":
        return [*((row.name, row.summary) for row in TABLE), (KEYS_TOPIC, "What the keys do")]
    if kind == "area":
        return [(area, "") for area in AREAS]
    sources: dict[Kind, NamesWithSummaries] = {
        "image": names.images,
        "model": names.models,
        "session": names.sessions,
        "template": names.templates,
    }
    return sources[kind]() if kind in sources else []


def _matching(pairs: Sequence[tuple[str, str]], word: str) -> Iterator[Suggestion]:
    for text, about in pairs:
        if text.lower().startswith(word.lower()):
            yield Suggestion(text, len(word), about)
