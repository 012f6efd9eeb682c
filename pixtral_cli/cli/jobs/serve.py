"""Runs `pixtral serve`: shows progress while the model loads, then the address. Needs the extra `serve`."""

import sys
import webbrowser
from dataclasses import replace

from pixtral_cli import config
from pixtral_cli.cli.common import engine_setup
from pixtral_cli.config import Config
from pixtral_cli.engines import resident
from pixtral_cli.errors import UsageError
from pixtral_cli.server.serve import ServeOptions, run
from pixtral_cli.terminal.output.progress_line import ProgressLine

DEFAULT_CONCURRENCY = 4


def serve_model(name: str | None, options: ServeOptions, settings: Config, *, open_page: bool) -> None:
    """Serve the model of that name until a signal arrives.

    `open_page`: open the page in a browser once the model is loaded. Where `options.running` is 0 the engine determines
    how many answers are computed at a time.
    """
    model, settings = engine_setup.choose_model(name, settings)
    if settings.engine not in (None, "local", engine_setup.VLLM):
        raise UsageError(f"pixtral serve has no engine {settings.engine!r}", "Engines: local, vllm")
    if model.note:
        engine_setup.print_note(model.note)
    if not options.running:
        options = replace(options, running=engine_setup.vllm_concurrency(settings) or DEFAULT_CONCURRENCY)
    progress = ProgressLine(sys.stderr, plain=bool(settings.plain))

    def loading(percent: int, seconds: float, doing: str) -> None:
        so_far = f" {percent} %, {seconds:.0f} s" if seconds >= 1 else ""
        progress.show(f"{doing}, {seconds:.0f} s" if doing else f"Loading {model.name} …{so_far}")

    def ready(url: str) -> None:
        progress.clear()
        engine_setup.print_note(f"{model.name} answers at {url}/v1 and in a browser at {url}")
        if open_page:
            webbrowser.open(url)

    spec = resident.model_spec(model, engine_setup.engine_options(settings), running=options.running)
    folder = resident.socket_folder(config.paths().state)
    try:
        run(options, spec, folder, engine_setup.sampling(settings, model.name), loading=loading, ready=ready)
    finally:
        progress.clear()
