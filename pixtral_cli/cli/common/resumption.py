"""Which conversation a command continues, and which of its settings are restored. Flags replace restored settings."""

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pixtral_cli.cli.common.flags import ConversationFlags, EngineFlags, SamplingFlags
from pixtral_cli.config import Config
from pixtral_cli.errors import UsageError
from pixtral_cli.sessions.answer_settings import AnswerSettings
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from pixtral_cli.sessions.library import Sessions
    from pixtral_cli.sessions.summary import Summary


MAX_OFFERED = 9  # conversations to choose from
CONCURRENT_SECONDS = 3_600.0  # two conversations whose last messages are closer than this were in use at the same time


@dataclass(frozen=True, slots=True)
class Resumed:
    """A conversation that is continued.

    `settings`: those of its last answer; `given`: names of the settings that flags replace.
    """

    session: "Summary"
    settings: AnswerSettings
    given: Collection[str] = field(default=())

    def with_engine(self, settings: Config, flags: EngineFlags) -> Config:
        """The settings with the engine and server of the last answer, unless flags name others."""
        if not self.settings.engine or flags.engine or flags.base_url:
            return settings
        return replace(settings, engine=self.settings.engine, base_url=self.settings.server or None)

    def model(self, settings: Config) -> str | None:
        """The model of the last answer; None where another server than the last one answers."""
        current, last = engine_and_server(settings), (self.settings.engine, self.settings.server)
        other_server = last[0] and current != last and "api" in (current[0], last[0])
        return None if other_server else self.session.model or None


def find_resumed(
    flags: ConversationFlags, sessions: "Sessions", note: Callable[[str], None] = lambda line: None
) -> "Resumed | None":
    """The conversation that the flags name; None for a new one.

    `note`: called when another conversation was in use too. Raises UsageError.
    """
    if flags.session == "":
        raise UsageError("--session needs an id, and it is empty", "See: pixtral sessions; the newest: --continue")
    if flags.resume and flags.session:
        raise UsageError("--continue is the newest session, --session another", "Use one of them")
    if flags.chosen is None:
        return None
    summary = sessions.find(flags.session) if flags.session else _newest(sessions, note)
    return Resumed(summary, AnswerSettings.from_json(sessions.settings(summary.id)))


def _newest(sessions: "Sessions", note: Callable[[str], None]) -> "Summary":
    """The newest conversation. Where another was in use at the same time, the user chooses one, if there is a terminal."""
    newest, *others = [sessions.newest(), *sessions.list(MAX_OFFERED)[1:]]
    concurrent = [
        other
        for other in others
        if other.updated > newest.created and newest.updated - other.updated < CONCURRENT_SECONDS
    ]
    if not concurrent:
        return newest
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        note(
            f"Going on with {newest.id} ({visible(newest.title)}); {concurrent[0].id} was in use too: --session {concurrent[0].id}"
        )
        return newest
    offered = [newest, *concurrent]
    from pixtral_cli.terminal.output.notes import format_table, one_line_rows
    from pixtral_cli.terminal.output.output import window_size
    from pixtral_cli.terminal.output.word_wrap import wrap_words

    rows = [(str(number), each.id, visible(each.title)) for number, each in enumerate(offered, 1)]
    columns = window_size(sys.stderr).columns
    for line in format_table(one_line_rows(rows, columns), columns):
        print(line, file=sys.stderr)
    question = wrap_words(f"Which one goes on? 1 to {len(offered)}, Enter: 1", columns)
    print(question, end=" ", file=sys.stderr, flush=True)
    said = sys.stdin.readline().strip() or "1"
    if not said.isdecimal() or not 1 <= int(said) <= len(offered):
        raise UsageError(f"{said[:20]!r} is none of them", "Name one: --session ID")
    return offered[int(said) - 1]


def given_sampling(flags: SamplingFlags) -> set[str]:
    """The names of the sampling parameters that flags set."""
    return {name for name in flags.flags() if getattr(flags, name) is not None}


def engine_and_server(settings: Config) -> tuple[str, str]:
    """The engine of these settings, and the URL of its server ("" for an engine on this machine)."""
    remote = bool(settings.base_url) or settings.engine == "api"
    return ("api", settings.base_url or "") if remote else (settings.engine or "local", "")


def parse_schema(text: str | None) -> dict[str, Any] | None:
    """The JSON schema of --schema or a template; None for None, `off` and `none`. Raises UsageError."""
    if text is None or text.strip().lower() in ("off", "none"):
        return None
    from pixtral_cli.structured.schema import parse

    return parse(text)
