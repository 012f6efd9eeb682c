"""From settings to a model, its engine and its sampling: what every command that asks a model begins with."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pixtral_cli import config
from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.config import Config
from pixtral_cli.errors import NetworkError, UsageError
from pixtral_cli.models import names

API = "api"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Who will answer: a name to show, what opens the engine (and loads no weights), and a line to say first."""

    name: str
    open: Callable[[], Engine]
    note: str = ""


def say(line: str) -> None:
    """A note where there is no output yet to say it on."""
    print(line, file=sys.stderr)


def choose(name: str | None, settings: Config, note: Callable[[str], None] = say) -> tuple[Chosen, Config]:
    """Who answers, and the settings with that model's own underneath: a model here, or one behind a URL."""
    if settings.base_url or settings.engine == API:
        return _elsewhere(name or settings.model, settings), settings
    model, own = choose_model(name, settings)
    return Chosen(model.name, lambda: open_chosen(model, own, note), model.note), own


def choose_model(name: str | None, settings: Config) -> tuple[names.Model, Config]:
    """The model on this machine that runs, and the settings with that model's own underneath."""
    chosen = names.resolve(name, configured=settings.model)
    return chosen, settings.for_model(chosen.name)


def open_chosen(model: names.Model, settings: Config, note: Callable[[str], None] = say) -> Engine:
    """The engine for a model on this machine: a process that keeps it, if there is one or one is wanted, else our own."""
    from pixtral_cli.engines import open_engine, resident

    kind, device, dtype = settings.engine or "local", settings.device or "auto", settings.dtype or "auto"

    def here() -> Engine:
        return open_engine(kind, folder=model.folder, name=model.name, device=device, dtype=dtype)

    idle = resident.duration(settings.keep_alive) if settings.keep_alive else None
    wanted = resident.wanted(model, device=device, dtype=dtype, keep_alive=idle)
    kept = resident.seek(wanted, config.paths().state) if kind == "local" else None
    return resident.Resident(kept, here, note) if kept else here()


def _elsewhere(name: str | None, settings: Config) -> Chosen:
    """A model behind a URL; without a name, the server's first that sees."""
    from pixtral_cli.engines.remote import connect

    if settings.engine not in (None, API):
        raise UsageError(
            f"--base-url is another machine's model, --engine {settings.engine} this one's", "Use one of them"
        )
    if settings.offline:
        raise NetworkError("The network is off (--offline), and the model is elsewhere", "Leave --offline out")
    engine = connect(settings.base_url, name, config.paths().config_file.with_name("keys.json"))
    return Chosen(engine.model, lambda: engine, "" if name else f"Using {engine.model}, the first the server offers")


def sampling(settings: Config, model: str, stop: Sequence[str] | None = None) -> Sampling:
    """The settings' sampling; the demo is greedy unless told otherwise."""
    usual = Sampling(temperature=0.0) if model == names.DEMO else Sampling()
    return Sampling(
        temperature=usual.temperature if settings.temperature is None else settings.temperature,
        top_p=usual.top_p if settings.top_p is None else settings.top_p,
        seed=settings.seed,
        stop=tuple(stop or ()),
        max_tokens=settings.max_tokens,
    )
