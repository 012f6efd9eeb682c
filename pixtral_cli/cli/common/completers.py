"""Shell completion for the names of models, sessions and templates; empty where they cannot be read.

Some shells evaluate what is offered (zsh does both names and descriptions), so only names without special characters
are offered, and descriptions are reduced to words.
"""

import contextlib
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from pixtral_cli.errors import PixtralError

Candidate: TypeAlias = tuple[str, str]  # a name and its description

MAX_SESSIONS = 50  # sessions that are offered
SHELL_SAFE = r"[\w.@/+-]+"
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
