"""Shell completion for the names of models, sessions, tags, templates and settings; empty where they cannot be read.

Some shells evaluate what is offered (zsh does both names and descriptions), so only names without special characters
are offered, and descriptions are reduced to words.
"""

import contextlib
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

import typer

from pixtral_cli.errors import PixtralError

Candidate: TypeAlias = tuple[str, str]  # a name and its description

MAX_SESSIONS = 50  # sessions that are offered
SHELL_SAFE = r"[\w.@/+=-]+"
NON_WORDS = r"[^\w.,?-]+"


def words(*values: str) -> Callable[[], list[str]]:
    """A completer that offers these words."""
    return lambda: list(values)


def models() -> list[Candidate]:
    """The models on this machine."""
    from pixtral_cli.models import store

    return _shell_safe((model.name, model.state) for model in store.installed_models())


def resident_models() -> list[Candidate]:
    """The models that resident processes hold."""
    from pixtral_cli import config
    from pixtral_cli.engines import resident

    if not resident.supports_workers():
        return []
    workers = resident.running_workers(resident.socket_folder(config.paths().state))
    return _shell_safe((status["name"], "") for _, status in workers)


def models_to_pull() -> list[Candidate]:
    """The models of the catalogue."""
    from pixtral_cli.models.catalogue import CATALOGUE

    return _shell_safe((entry.name, entry.about) for entry in CATALOGUE)


def models_to_show() -> list[Candidate]:
    """The models on this machine, and the others of the catalogue."""
    return list(dict([*models_to_pull(), *models()]).items())


def settings() -> list[Candidate]:
    """The keys of the settings with their defaults, those of the tables too."""
    from pixtral_cli.config.overview import DEFAULTS
    from pixtral_cli.config.settings import SETTING_TYPES, TEXT_TABLES

    tables = ((f"{table}.{name}", "") for table, names in TEXT_TABLES.items() for name in names)
    return _shell_safe((*((name, DEFAULTS.get(name, "")) for name in SETTING_TYPES), *tables))


def setting_values(context: typer.Context) -> list[Candidate]:
    """The values that the setting before the cursor may have, as far as they are words."""
    from pixtral_cli.config.formats import CHOICES
    from pixtral_cli.config.keys import parse_key
    from pixtral_cli.config.settings import SETTING_TYPES

    with contextlib.suppress(PixtralError):
        key = parse_key(context.params.get("key") or "")
        if key.table == "aliases" or (not key.table and key.name == "model"):
            return models_to_show()
        if key.table in ("", "models"):
            flags = ("true", "false") if SETTING_TYPES.get(key.name) is bool else ()
            return [(word, "") for word in (*CHOICES.get(key.name, ()), *flags)]
    return []


def tags() -> list[Candidate]:
    """The tags of the saved conversations."""
    from pixtral_cli import config
    from pixtral_cli.sessions.library import Sessions

    saved = Sessions(config.paths().data)
    return _shell_safe(dict.fromkeys((tag, "") for summary in saved.list() for tag in summary.tags))


def template_places(context: typer.Context) -> list[Candidate]:
    """`NAME=` for the placeholders of the template that -t names."""
    from pixtral_cli.chat.templates import open_templates

    with contextlib.suppress(PixtralError):
        template = open_templates().load(context.params.get("template") or "")
        return _shell_safe(
            (f"{name}=", template.defaults.get(name, "")) for name in (*template.placeholders, *template.defaults)
        )
    return []


def sessions() -> list[Candidate]:
    """The saved conversations, the newest first."""
    from pixtral_cli import config
    from pixtral_cli.sessions.library import Sessions

    saved = Sessions(config.paths().data)
    return _shell_safe((summary.id, summary.title) for summary in saved.list(MAX_SESSIONS))


def templates() -> list[Candidate]:
    """The user's templates."""
    from pixtral_cli.chat.templates import open_templates

    return _shell_safe((name, "") for name in open_templates().names())


def is_shell_safe(name: str) -> bool:
    """Whether a name has no character that is special to a shell."""
    return re.fullmatch(SHELL_SAFE, name) is not None


def _shell_safe(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The candidates with names safe in a shell, descriptions reduced to words; empty when they cannot be read."""
    offers: list[Candidate] = []
    with contextlib.suppress(PixtralError, OSError):
        offers.extend(
            (name, re.sub(NON_WORDS, " ", about).strip()) for name, about in candidates if is_shell_safe(name)
        )
    return offers
