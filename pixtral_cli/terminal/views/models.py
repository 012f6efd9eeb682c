"""The output of `pull` and `models`: progress on stderr, lists and results of checks on stdout."""

from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, TypeVar

from pixtral_cli import config
from pixtral_cli.engines.factory import config_check, unknown_params
from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.models import names, pull, store, verify
from pixtral_cli.models.catalogue import CATALOGUE, Entry, recommended
from pixtral_cli.models.hub import Hub, offline
from pixtral_cli.models.removal import plan_removal
from pixtral_cli.models.verify import Progress
from pixtral_cli.terminal.output.notes import print_table
from pixtral_cli.terminal.output.output import Output, confirm, dumps
from pixtral_cli.terminal.output.progress_bar import progress_bar
from pixtral_cli.terminal.views.model_details import FORMAT_NAMES
from pixtral_cli.util.durations import format_clock
from pixtral_cli.util.memory import EASY_SHARE, installed
from pixtral_cli.util.parallel import ProgressRate
from pixtral_cli.util.sanitize import visible
from pixtral_cli.util.sizes import format_bytes

Found = TypeVar("Found")


def pull_model(name: str | None, out: Output, *, stay_offline: bool = False) -> None:
    """Download a model, or resume the download, and verify its hashes. Without a name raises UsageError with the best one."""
    if name is None:
        best = recommended(installed().model_limit(EASY_SHARE), unknown_params("local"))
        get = (
            f"the best that fits this machine: pixtral pull {best.name} ({format_bytes(best.download)})" if best else ""
        )
        raise UsageError(f"Name a model; {get or 'no large one fits this machine'}", names.LIST_HINT)
    reference = names.parse(name, config.load().aliases or {})
    if reference.folder == names.demo_folder():
        return out.note("The demo is part of pixtral: there is nothing to download")
    if reference.repo is None:
        raise UsageError(f"{name} is a folder: there is nothing to download", f"Check it: pixtral models verify {name}")
    check = config_check(config.load().engine or "local")
    steps = pull.check_local(reference) if stay_offline or offline() else pull.pull(reference, Hub.of(), check=check)
    try:
        [done] = _run_with_progress(steps, out)
    except KeyboardInterrupt:
        out.note(f"Stopped. What came is kept; go on with: pixtral pull {name}")
        raise
    fetched = f"{format_bytes(done.fetched)} fetched" if done.fetched else "nothing to fetch"
    hashes = "every hash is right" if done.compared else "no hashes to compare with"
    return out.note(f"{name} is whole: {format_bytes(done.size)}, {fetched}, {hashes}. It is in {done.folder}")


def list_models(out: Output, *, as_json: bool = False) -> None:
    """List the models on this machine, the default one with a star, and those that can be pulled."""
    models = list(store.installed_models())
    default = _default_folder()
    available = [entry for entry in CATALOGUE if entry.name not in {model.name.partition("@")[0] for model in models}]
    budget, unknown = installed().model_limit(EASY_SHARE), {*unknown_params("local")}
    if as_json:
        keys = ("name", "size", "state", "revision", "detail")
        listed = [
            {key: getattr(model, key) for key in keys}
            | {"folder": str(model.folder), "default": model.folder == default}
            for model in models
        ]
        to_pull = [_entry_json(entry, budget, unknown) for entry in available]
        return out.write(
            dumps(
                {"models": listed, "available": to_pull, "aliases": dict(config.load().aliases or {})},
                out.stdout.encoding,
            )
            + "\n"
        )
    rows: list[tuple[str, ...]] = [("  NAME", "SIZE", "STATE", "PLACE")]
    for model in models:
        state = f"{model.state}: {model.detail}" if model.detail else model.state
        star = "*" if model.folder == default else " "
        rows.append((f"{star} {model.name}", format_bytes(model.size), state, str(model.folder)))
    print_table(rows, out)
    if available:
        mark = "✓" if "utf" in out.stdout.encoding.lower() else "*"
        out.write(f"\nTo pull ({mark} fits this machine):\n")
        head = ("  NAME", "DOWNLOAD", "MEMORY", "ABOUT")
        print_table([head, *(_entry_row(entry, budget, unknown, mark) for entry in available)], out)
    if aliases := config.load().aliases:
        out.write("\nAliases:\n")
        print_table([("  NAME", "MODEL"), *((f"  {alias}", name) for alias, name in aliases.items())], out)
    return None


def _entry_row(entry: Entry, budget: int, unknown: set[str], mark: str) -> tuple[str, ...]:
    """A model that can be pulled: whether it fits, its download, and the memory it takes in the format that fits."""
    fits = entry.shape.widest_format(budget)
    runs = not unknown & {*entry.needs}
    takes = f"{format_bytes(entry.shape.memory(fits or '4bit'))} in {FORMAT_NAMES[fits or '4bit']}"
    about = [entry.about, entry.licence, *(["terms to accept on the hub"] if entry.gated else [])]
    about += [] if runs else ["for --engine vllm"]
    name = f"{mark if fits and runs else ' '} {entry.name}"
    return name, format_bytes(entry.download), takes, ", ".join(about)


def _entry_json(entry: Entry, budget: int, unknown: set[str]) -> dict[str, Any]:
    shape = entry.shape
    return {
        "name": entry.name, "repository": entry.repo, "about": entry.about, "parameters": shape.parameters,
        "download": entry.download, "memory": {name: shape.memory(name) for name in FORMAT_NAMES},
        "fits": shape.widest_format(budget) or None, "runs": not unknown & {*entry.needs}, "licence": entry.licence,
        "gated": entry.gated, "reasoning": entry.reasoning, "temperature": entry.temperature,
    }  # fmt: skip


def verify_model(name: str | None, out: Output, *, as_json: bool = False) -> None:
    """Verify the files of a model against their recorded hashes. Raises ModelError for the first damaged file."""
    model = _resolve(name)
    findings = _run_with_progress(verify.full_check(model.folder), out)
    if as_json:
        files = [
            {"file": each.file, "state": each.state, "size": each.size, "detail": each.detail} for each in findings
        ]
        out.write(dumps({"folder": str(model.folder), "files": files}, out.stdout.encoding) + "\n")
    for finding in () if as_json else findings:
        out.write(f"{finding.state:<8} {format_bytes(finding.size):>10}  {visible(finding.file)} {finding.detail}\n")
    for finding in findings:
        if finding.state in ("damaged", "missing"):
            raise pull.damaged_error(model.folder, finding)


def remove_model(name: str, out: Output, *, sure: bool = False) -> None:
    """Remove a model from this machine; asks first."""
    removal = plan_removal(names.parse(name, config.load().aliases or {}))
    for file, size in removal.files:
        out.tell(f"  {format_bytes(size):>10}  {visible(str(file))}")
    what = f"{name}, {len(removal.files)} files of {format_bytes(removal.size)}"
    if not sure and not confirm(f"Remove {what}?", out):
        return out.note("Nothing was removed")
    removal.run()
    return out.note(f"Removed {what}")


def show_path(name: str | None, out: Output) -> None:
    """Print a model's folder."""
    out.write(f"{_resolve(name).folder}\n")


def _resolve(name: str | None) -> names.Model:
    """The model of that name, or the one that runs by default."""
    settings = config.load()
    aliases, unknown = settings.aliases or {}, unknown_params(settings.engine or "local")
    return names.resolve(name, configured=settings.model, aliases=aliases, unknown=unknown)


def _default_folder() -> Path | None:
    """The folder of the model that runs when none is named; None when the configured one is not here."""
    try:
        return _resolve(None).folder
    except ModelError:
        return None


def _run_with_progress(steps: Generator[Progress | Found, None, None], out: Output) -> list[Found]:
    """Run a generator to its end, showing the progress that it yields; returns its other values."""
    others: list[Found] = []
    phase, rate = "", ProgressRate(0)
    with closing(steps), ExitStack() as bar:
        for step in steps:
            if not isinstance(step, Progress):
                others.append(step)
                continue
            if step.phase != phase:
                bar.close()
                phase, rate = step.phase, ProgressRate(step.total, step.done)
                first_line = phase == "Downloading"
                show = bar.enter_context(progress_bar(out, step.total, "", format=format_bytes, first_line=first_line))
            show(step.done, _rate_and_time_left(rate, step.done), step.note, f"{phase} {step.file}")
    return others


def _rate_and_time_left(rate: ProgressRate, done: int) -> list[str]:
    speed, left = rate.rate(done), rate.seconds_left(done)
    return [f"{format_bytes(speed)}/s", f"{format_clock(left)} left"] if speed and left is not None else []
