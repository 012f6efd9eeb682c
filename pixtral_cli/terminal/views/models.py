"""What `pull` and `models` show: progress on stderr, lists and verdicts on stdout. Leaves the work to `models`."""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from pixtral_cli import config
from pixtral_cli.engines.factory import unknown_params
from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.models import names, pull, store, verify
from pixtral_cli.models.catalogue import CATALOGUE, Entry, recommended
from pixtral_cli.models.hub import Hub, offline
from pixtral_cli.models.removal import plan_removal
from pixtral_cli.models.verify import Progress
from pixtral_cli.terminal.output.output import Output, confirm, dumps
from pixtral_cli.util.memory import EASY_SHARE, installed
from pixtral_cli.util.sanitize import visible
from pixtral_cli.util.sizes import format_bytes

if TYPE_CHECKING:
    from rich.progress import Task, TaskID

Found = TypeVar("Found")
ShowProgress: TypeAlias = Callable[[Progress], None]
FORMAT_NAMES = {"none": "16 bits", "8bit": "8 bits", "4bit": "4 bits"}
LINE_INTERVAL = 60.0  # seconds, and every tenth of the way: a line of progress where nothing can be redrawn


def pull_model(name: str | None, out: Output, *, stay_offline: bool = False) -> None:
    """Download a model, or go on downloading it, and check every byte. Without a name: say which would be the best."""
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
    steps = pull.check_local(reference) if stay_offline or offline() else pull.pull(reference, Hub.of())
    try:
        [done] = _run_with_progress(steps, out)
    except KeyboardInterrupt:
        out.note(f"Stopped. What came is kept; go on with: pixtral pull {name}")
        raise
    fetched = f"{format_bytes(done.fetched)} fetched" if done.fetched else "nothing to fetch"
    hashes = "every hash is right" if done.compared else "no hashes to compare with"
    return out.note(f"{name} is whole: {format_bytes(done.size)}, {fetched}, {hashes}. It lies in {done.folder}")


def list_models(out: Output, *, as_json: bool = False) -> None:
    """List every model on this machine; the one that runs by default has a star."""
    models = list(store.installed_models())
    default = _default_folder()
    available = [entry for entry in CATALOGUE if entry.name not in {model.name.partition("@")[0] for model in models}]
    room, unknown = installed().model_limit(EASY_SHARE), {*unknown_params("local")}
    if as_json:
        keys = ("name", "size", "state", "revision", "detail")
        listed = [
            {key: getattr(model, key) for key in keys}
            | {"folder": str(model.folder), "default": model.folder == default}
            for model in models
        ]
        to_pull = [_entry_json(entry, room, unknown) for entry in available]
        return out.write(dumps({"models": listed, "available": to_pull}, out.stdout.encoding) + "\n")
    rows: list[tuple[str, ...]] = [("", "NAME", "SIZE", "STATE", "PLACE")]
    for model in models:
        state = f"{model.state}: {model.detail}" if model.detail else model.state
        star = "*" if model.folder == default else ""
        rows.append((star, model.name, format_bytes(model.size), state, str(model.folder)))
    for line in _table(rows):
        out.write(line + "\n")
    if available:
        mark = "✓" if "utf" in out.stdout.encoding.lower() else "*"
        out.write(f"\nTo pull ({mark} fits this machine):\n")
        for line in _table([_entry_row(entry, room, unknown, mark) for entry in available]):
            out.write(line + "\n")
    return None


def _entry_row(entry: Entry, room: int, unknown: set[str], mark: str) -> tuple[str, ...]:
    """A model that can be pulled: whether it fits, its download, and the memory it takes in the format that fits."""
    fits = entry.shape.fits(room)
    runs = not unknown & {*entry.needs}
    takes = f"{format_bytes(entry.shape.memory(fits or '4bit'))} in {FORMAT_NAMES[fits or '4bit']}"
    about = [entry.about, entry.licence, *(["terms to accept on the hub"] if entry.gated else [])]
    about += [] if runs else ["for --engine vllm"]
    return mark if fits and runs else "", entry.name, format_bytes(entry.download), takes, ", ".join(about)


def _entry_json(entry: Entry, room: int, unknown: set[str]) -> dict[str, Any]:
    shape = entry.shape
    return {
        "name": entry.name, "repository": entry.repo, "about": entry.about, "parameters": shape.parameters,
        "download": entry.download, "memory": {name: shape.memory(name) for name in FORMAT_NAMES},
        "fits": shape.fits(room) or None, "runs": not unknown & {*entry.needs}, "licence": entry.licence,
        "gated": entry.gated, "reasoning": entry.reasoning, "temperature": entry.temperature,
    }  # fmt: skip


def verify_model(name: str | None, out: Output) -> None:
    """Compare every byte of a model with what was recorded; raises ModelError for the first damaged file."""
    model = _resolve(name)
    findings = _run_with_progress(verify.full_check(model.folder), out)
    for finding in findings:
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


def _table(rows: list[tuple[str, ...]]) -> list[str]:
    cells = [[visible(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _run_with_progress(steps: Generator[Progress | Found, None, None], out: Output) -> list[Found]:
    """Show the progress among the steps until they end; returns the others."""
    others: list[Found] = []
    with closing(steps), _view(out) as see:
        for step in steps:
            if isinstance(step, Progress):
                see(step)
            else:
                others.append(step)
    return others


@contextmanager
def _view(out: Output) -> Iterator[ShowProgress]:
    if out.quiet:
        yield lambda step: None
    elif out.spinner:
        with _bar(out) as see:
            yield see
    else:
        yield _lines(out)


def _lines(out: Output) -> ShowProgress:
    """A line when a download begins; then, of what takes longer than a second, at every tenth and once a minute."""
    phase, tenth, began, last, rate = "", 0, 0.0, 0.0, Rate()

    def see(step: Progress) -> None:
        nonlocal phase, tenth, began, last, rate
        now, part = time.monotonic(), 10 * step.done // max(step.total, 1)
        if fresh := step.phase != phase:
            phase, tenth, began, last, rate = step.phase, part, now, now, Rate()
        rate.add(step.done)
        if step.note:
            out.note(step.note)
        elif (fresh and phase == "Downloading") or (now > began + 1 and (part > tenth or now > last + LINE_INTERVAL)):
            tenth, last = part, now
            out.note(f"{step.phase} {step.file}: {format_bytes(step.done)} of {format_bytes(step.total)}{rate}")

    return see


class Rate:
    """Bytes a second since the first count."""

    def __init__(self) -> None:
        self._begin: tuple[float, int] | None = None
        self._last = (0.0, 0)

    def add(self, done: int) -> None:
        self._last = (time.monotonic(), done)
        self._begin = self._begin or self._last

    def __str__(self) -> str:
        if self._begin is None or self._last[0] - self._begin[0] < 0.5:
            return ""
        return f", {format_bytes((self._last[1] - self._begin[1]) / (self._last[0] - self._begin[0]))}/s"


@contextmanager
def _bar(out: Output) -> Iterator[ShowProgress]:
    """A bar that is redrawn ten times a second and wiped away at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars
    from rich.text import Text

    class Amount(ProgressColumn):
        def render(self, task: "Task") -> Text:
            speed = f"  {format_bytes(task.speed)}/s" if task.speed else ""
            return Text(f"{format_bytes(task.completed)} of {format_bytes(task.total or 0)}{speed}")

    console = Console(file=out.stderr)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Amount(), TimeRemainingColumn(compact=True))
    with Bars(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bars:
        tasks: dict[str, TaskID] = {}

        def see(step: Progress) -> None:
            if step.phase not in tasks:
                for task in tasks.values():
                    bars.remove_task(task)
                tasks[step.phase] = bars.add_task("", total=step.total, completed=step.done)
            if step.note:
                console.print(Text(visible(step.note)))
            bars.update(tasks[step.phase], completed=step.done, description=f"{step.phase} {step.file}")

        yield see
