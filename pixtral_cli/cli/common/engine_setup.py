"""Chooses the model, its engine and its sampling from the settings, for every command that asks a model."""

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
VLLM_CONCURRENCY = 32  # concurrent answers that keep one vLLM busy
DEMO_TOKENS = 500  # of an answer of the demo, unless set otherwise: longer than any in its training data
MAX_CONCURRENCY = 256  # concurrent answers that one process asks for


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The chosen engine.

    `name`: its model; `open` returns it, without loading weights; `note`: a line to show first, or "".
    """

    name: str
    open: Callable[[], Engine]
    note: str = ""


def print_note(line: str) -> None:
    """Print a note on stderr, for use before an `Output` exists."""
    from pixtral_cli.terminal.output.word_wrap import wrapped_for

    print(wrapped_for(line, sys.stderr), file=sys.stderr)


def note_printer(*, quiet: bool) -> Callable[[str], None]:
    """A function that prints notes on stderr, or ignores them when `quiet`."""
    return (lambda line: None) if quiet else print_note


def choose_engine(
    name: str | None,
    settings: Config,
    note: Callable[[str], None] = print_note,
    on_progress: Callable[[int, str], None] = lambda percent, doing: None,
) -> tuple[EngineChoice, Config]:
    """The engine that the settings name, and the settings completed with those of its model's `[models.NAME]` table.

    `on_progress` is called with the percentage and the current step of a resident process that loads the model while
    the engine is opened. Raises ModelError, NetworkError, UsageError.
    """
    if settings.base_url or settings.engine == API:
        return _remote_choice(name or settings.model, settings), settings
    model, settings = choose_model(name, settings)
    return EngineChoice(model.name, lambda: open_model(model, settings, note, on_progress), model.note), settings


def tools_note(model: str) -> str:
    """A line on what tools lead to with this model; "" where they work."""
    if model != names.DEMO:
        return ""
    return (
        "The demo was not trained to call tools, and may answer nonsense; the others were: -m MODEL (`pixtral models`)"
    )


def choose_model(name: str | None, settings: Config) -> tuple[names.Model, Config]:
    """The model on this machine that runs, and the settings completed with those of its `[models.NAME]` table."""
    from pixtral_cli.engines.factory import unknown_params

    unknown = unknown_params(settings.engine or "local")
    chosen = names.resolve(name, configured=settings.model, aliases=settings.aliases or {}, unknown=unknown)
    return chosen, settings.for_model(chosen.name)


def open_model(
    model: names.Model,
    settings: Config,
    note: Callable[[str], None] = print_note,
    on_progress: Callable[[int, str], None] = lambda percent, doing: None,
) -> Engine:
    """The engine for a model on this machine: resident if one runs or --keep-alive asks for it, else in this process.

    `on_progress`: as for `choose_engine`.
    """
    from pixtral_cli.engines import resident
    from pixtral_cli.engines.factory import ENGINES, open_engine
    from pixtral_cli.engines.resident_engine import ResidentEngine

    options = engine_options(settings)

    if leave_removed_folder():
        note(f"The current folder was removed; relative paths begin at {os.sep}")

    def open_in_process() -> Engine:
        return open_engine(options, model.folder, name=model.name, note=note)

    if options.kind not in ENGINES:
        return open_in_process()
    idle = durations.parse(settings.keep_alive, "--keep-alive") if settings.keep_alive else None
    worker = resident.find_or_start_if_possible(
        resident.model_spec(model, options, keep_alive=idle or None, running=vllm_concurrency(settings) or 4),
        config.paths().state,
        on_progress,
    )
    return ResidentEngine(worker, open_in_process, note, idle) if worker else open_in_process()


def check_keep_alive(settings: Config) -> None:
    """Raises UsageError when --keep-alive is not a duration, or needs packages that are not installed."""
    if settings.keep_alive and durations.parse(settings.keep_alive, "--keep-alive"):
        require_server_extra("--keep-alive")


def require_server_extra(what: str) -> None:
    """Raises UsageError, naming `what` needs them, when the packages of the server are not installed."""
    from importlib.util import find_spec

    if not find_spec("starlette") or not find_spec("uvicorn"):
        from pixtral_cli.extras import install_command

        raise UsageError(f"{what} needs two more packages", f"Get them: {install_command('serve')}")


def engine_options(settings: Config) -> EngineOptions:
    """The options of the settings for an engine on this machine."""
    return EngineOptions(
        settings.engine or "local", settings.device or "auto", settings.dtype or "auto", settings.quantize or "auto",
        config.paths().cache, vllm_launch(settings),
    )  # fmt: skip


def vllm_launch(settings: Config) -> "VllmOptions | None":
    """The options for vLLM; None when another engine is chosen."""
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


def parallel_answers(engine: Engine, settings: Config, default: int) -> int:
    """How many answers to ask a loaded engine for at a time: `default`, or for vLLM what keeps every replica busy."""
    if isinstance(engine, ReplicatedEngine):
        return min(engine.parallel_answers, MAX_CONCURRENCY)
    return vllm_concurrency(settings) or default


def vllm_concurrency(settings: Config) -> int:
    """How many concurrent answers keep vLLM busy, by the settings alone; 0 when another engine answers."""
    if settings.engine != VLLM or settings.base_url:
        return 0
    return min(VLLM_CONCURRENCY * max(settings.replicas or 1, settings.nodes or 1), MAX_CONCURRENCY)


def open_with_spinner(chosen: EngineChoice, out: "Output") -> Engine:
    """The opened engine; a spinner is shown meanwhile, since a resident process loads the model first."""
    from pixtral_cli.terminal.output.spinner import Spinner

    with Spinner(out):
        return chosen.open()


def load_with_spinner(engine: Engine, out: "Output") -> None:
    """Load the engine's weights, if it has any to load, with a spinner on stderr that shows the progress."""
    from pixtral_cli.terminal.output.spinner import Spinner

    if isinstance(engine, LoadableEngine):
        with Spinner(replace(out, doing=lambda: engine.doing or f"loading the weights {engine.loaded:.0%}")):
            engine.load()


def _remote_choice(name: str | None, settings: Config) -> EngineChoice:
    """A model of a server; without a name, the first vision model that the server lists."""
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
    """The sampling of the settings; unset parameters are as the model's vendor recommends.

    The demo's are greedy, with a limit of tokens, since so small a model may repeat itself without end.
    """
    entry = catalogue.find(model)
    defaults = Sampling(temperature=0.0, max_tokens=DEMO_TOKENS) if model == names.DEMO else Sampling()
    if entry:
        defaults = Sampling(temperature=entry.temperature)
    given = {name: value for name in SAMPLING_SETTINGS if (value := getattr(settings, name)) is not None}
    return replace(defaults, stop=tuple(stop or ()), **given)
