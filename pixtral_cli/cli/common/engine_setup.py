"""Chooses the model, its engine and its sampling by the settings, for every command that asks a model."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pixtral_cli import config
from pixtral_cli.chat.engine import Engine, LoadableEngine, ReplicatedEngine, Sampling
from pixtral_cli.config import Config
from pixtral_cli.engines.options import EngineOptions
from pixtral_cli.errors import NetworkError, UsageError
from pixtral_cli.limits import SAMPLING_SETTINGS
from pixtral_cli.models import catalogue, names
from pixtral_cli.util import durations
from pixtral_cli.util.working_directory import leave_removed_folder

if TYPE_CHECKING:
    from pixtral_cli.engines.vllm.command import VllmOptions
    from pixtral_cli.terminal.output.output import Output

API = "api"
VLLM = "vllm"
VLLM_ANSWERS = 32  # at a time, which keep one vLLM busy
DEMO_TOKENS = 500  # of one answer, unless set otherwise: longer than any that it was taught
MAX_ANSWERS = 256  # that one process asks for at a time


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The chosen engine: its model's name, a function that opens it (and loads no weights), and a note to show first."""

    name: str
    open: Callable[[], Engine]
    note: str = ""


def print_note(line: str) -> None:
    """A note where there is no output yet to say it on."""
    print(line, file=sys.stderr)


def note_printer(*, quiet: bool) -> Callable[[str], None]:
    """A function that prints notes, or ignores them."""
    return (lambda line: None) if quiet else print_note


def choose_engine(
    name: str | None,
    settings: Config,
    note: Callable[[str], None] = print_note,
    told: Callable[[int, str], None] = lambda percent, doing: None,
) -> tuple[EngineChoice, Config]:
    """Who answers, and the settings with that model's own underneath: a model here, or one behind a URL.

    `told` hears how far a process that is started to keep the model has come while the engine is opened.
    """
    if settings.base_url or settings.engine == API:
        return _remote_choice(name or settings.model, settings), settings
    model, own = choose_model(name, settings)
    return EngineChoice(model.name, lambda: open_model(model, own, note, told), model.note), own


def choose_model(name: str | None, settings: Config) -> tuple[names.Model, Config]:
    """The model on this machine that runs, and the settings with that model's own underneath."""
    from pixtral_cli.engines.factory import unknown_params

    unknown = unknown_params(settings.engine or "local")
    chosen = names.resolve(name, configured=settings.model, aliases=settings.aliases or {}, unknown=unknown)
    return chosen, settings.for_model(chosen.name)


def open_model(
    model: names.Model,
    settings: Config,
    note: Callable[[str], None] = print_note,
    told: Callable[[int, str], None] = lambda percent, doing: None,
) -> Engine:
    """The engine for a model on this machine: a process that keeps it, if there is one or one is wanted, else our own."""
    from pixtral_cli.engines import resident
    from pixtral_cli.engines.factory import ENGINES, open_engine
    from pixtral_cli.engines.resident_engine import ResidentEngine

    options = engine_options(settings)

    if leave_removed_folder():
        note(f"The current folder was removed; names of files begin at {os.sep}")

    def opened_here() -> Engine:
        return open_engine(options, model.folder, name=model.name, note=note)

    if options.kind not in ENGINES:
        return opened_here()
    idle = durations.parse(settings.keep_alive, "--keep-alive") if settings.keep_alive else None
    kept = resident.find_or_start_if_possible(
        resident.model_spec(model, options, keep_alive=idle or None, running=vllm_answers(settings) or 4),
        config.paths().state,
        told,
    )
    return ResidentEngine(kept, opened_here, note, idle) if kept else opened_here()


def check_keep_alive(settings: Config) -> None:
    """Raises UsageError when a process is to keep the model and what it needs is not installed, or for no duration."""
    if settings.keep_alive and durations.parse(settings.keep_alive, "--keep-alive"):
        require_server_extra("--keep-alive")


def require_server_extra(what: str) -> None:
    """Raises UsageError when the packages of the server are not installed."""
    from importlib.util import find_spec

    if not find_spec("starlette") or not find_spec("uvicorn"):
        from pixtral_cli.extras import install_command

        raise UsageError(f"{what} needs two more packages", f"Get them: {install_command('serve')}")


def engine_options(settings: Config) -> EngineOptions:
    """The options of an engine on this machine, by the settings."""
    return EngineOptions(
        settings.engine or "local", settings.device or "auto", settings.dtype or "auto", settings.quantize or "auto",
        config.paths().cache, vllm_launch(settings),
    )  # fmt: skip


def vllm_launch(settings: Config) -> "VllmOptions | None":
    """The options of vLLM, if it is the engine."""
    if settings.engine != VLLM:
        return None
    from pixtral_cli.engines.vllm.command import VllmOptions, parse_arguments

    where = config.paths()
    return VllmOptions(
        str(where.state), str(where.cache), settings.vllm or "", settings.tensor_parallel_size or 0,
        settings.pipeline_parallel_size or 0, settings.ray or "", parse_arguments(settings.vllm_args or ""),
        settings.nodes or 1, settings.replicas or 0, settings.coordinator or "",
        durations.parse(settings.join_timeout or "10m", "--join-timeout"),
    )  # fmt: skip


def parallel_answers(engine: Engine, settings: Config, usual: int) -> int:
    """How many answers to ask a loaded engine for at a time: `usual`, but of vLLM what keeps every replica busy."""
    if isinstance(engine, ReplicatedEngine):
        return min(engine.parallel_answers, MAX_ANSWERS)
    return vllm_answers(settings) or usual


def vllm_answers(settings: Config) -> int:
    """How many answers at a time keep vLLM busy, as far as the settings tell; 0 when another engine is to answer."""
    if settings.engine != VLLM or settings.base_url:
        return 0
    return min(VLLM_ANSWERS * max(settings.replicas or 1, settings.nodes or 1), MAX_ANSWERS)


def open_with_spinner(chosen: EngineChoice, out: "Output") -> Engine:
    """The opened engine, with a spinner meanwhile: a process that is to keep the model loads it first."""
    from pixtral_cli.terminal.output.spinner import Spinner

    with Spinner(out):
        return chosen.open()


def load_with_spinner(engine: Engine, out: "Output") -> None:
    """Load now what the engine has to load, with a spinner on stderr that says how far it is."""
    from pixtral_cli.terminal.output.spinner import Spinner

    if isinstance(engine, LoadableEngine):
        with Spinner(replace(out, doing=lambda: engine.doing or f"loading the weights {engine.loaded:.0%}")):
            engine.load()


def _remote_choice(name: str | None, settings: Config) -> EngineChoice:
    """A model behind a URL; without a name, the server's first that sees."""
    from pixtral_cli.engines.remote.engine import connect

    if settings.engine not in (None, API):
        raise UsageError(
            f"--base-url is another machine's model, --engine {settings.engine} this one's", "Use one of them"
        )
    if settings.offline:
        raise NetworkError("The network is off (--offline), and the model is elsewhere", "Leave --offline out")
    engine = connect(settings.base_url, name, config.paths().config_file.with_name("keys.json"))
    return EngineChoice(
        engine.model, lambda: engine, "" if name else f"Using {engine.model}, the first the server offers"
    )


def sampling(settings: Config, model: str, stop: Sequence[str] | None = None) -> Sampling:
    """The settings' sampling; what they leave open is what the model's vendor recommends.

    The demo is greedy, and a bound ends an answer in which so small a model repeats itself.
    """
    known = catalogue.find(model)
    usual = Sampling(temperature=0.0, max_tokens=DEMO_TOKENS) if model == names.DEMO else Sampling()
    if known:
        usual = Sampling(temperature=known.temperature)
    given = {name: value for name in SAMPLING_SETTINGS if (value := getattr(settings, name)) is not None}
    return replace(usual, stop=tuple(stop or ()), **given)
