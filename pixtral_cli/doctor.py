"""Looks at everything a question needs (Python, libraries, memory, models, terminal) and says what to do. Mends nothing."""

import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pixtral_cli import __version__, config
from pixtral_cli.errors import PixtralError
from pixtral_cli.models import catalogue, layout, names, quantized_files, store
from pixtral_cli.util import memory
from pixtral_cli.util.memory import Memory
from pixtral_cli.util.sanitize import visible
from pixtral_cli.util.sizes import format_bytes
from pixtral_cli.util.working_directory import leave_removed_folder

if TYPE_CHECKING:
    from pixtral_cli.engines.local.runtime.devices import Device

PIXTRAL = catalogue.BY_NAME[names.PIXTRAL_12B].shape
WINDOW = 128_000  # tokens
IMAGE = 4_160  # tokens of an image of 1024 by 1024
FORMATS = {"none": "16 bits", "8bit": "8 bits", "4bit": "4 bits"}
DRIVER = Path("/proc/driver/nvidia/version")
COLOURS = {"ok": "32", "warning": "33", "fails": "31"}
KITTY = ("kitty", "ghostty", "wezterm", "konsole")
SIXEL = ("foot", "mlterm", "contour", "iterm", "mintty", "vscode", "rio")
CLIPBOARDS = {"wayland": ("WAYLAND_DISPLAY", "wl-paste", "wl-clipboard"), "X11": ("DISPLAY", "xclip", "xclip")}


@dataclass(frozen=True, slots=True)
class Check:
    """One line: what was looked at, how it is, and what to do about it (empty when nothing)."""

    name: str
    state: Literal["ok", "warning", "fails"]
    says: str
    advice: str = ""


def examine(*, online: bool = False) -> Iterator[Check]:
    """Every check in turn. The hub is asked only when `online`."""
    yield _python()
    yield from _packages()
    yield _settings()
    yield from _devices()
    yield from _models()
    yield from _cache()
    yield _token(os.environ)
    if online:
        yield _hub()
    yield from terminal_checks(os.environ, sys.platform, shutil.which, sys.stdout.isatty(), sys.stdout.encoding)


def show(checks: Iterable[Check], *, as_json: bool = False) -> int:
    """Print the checks, each as soon as it is made; returns the exit status: 1 when one fails, else 0."""
    if as_json:
        checks = list(checks)
        well = all(check.state != "fails" for check in checks)
        print(json.dumps({"ok": well, "checks": [asdict(check) for check in checks]}))
        return 0 if well else 1
    failed = False
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for check in checks:
        failed |= check.state == "fails"
        state = f"{check.state:<8}"
        state = f"\x1b[{COLOURS[check.state]}m{state}\x1b[0m" if coloured else state
        print(f"{state} {check.name:<9} {visible(check.says)}", flush=True)
        if check.advice:
            print(f"{'':<18} -> {visible(check.advice)}", flush=True)
    return 1 if failed else 0


def tokens_that_fit(free: int, quantize: str = "none") -> int:
    """How many tokens fit beside pixtral-12b's weights in so many free bytes; 0 where the weights do not."""
    return min(max(free - PIXTRAL.memory(quantize, tokens=0), 0) // PIXTRAL.token_bytes, WINDOW)


def terminal_checks(
    env: Mapping[str, str], system: str, which: Callable[[str], str | None], drawn: bool, encoding: str
) -> Iterator[Check]:
    """Abilities of the terminal, guessed from the environment, and the tool that reads pictures from the clipboard."""
    term = env.get("TERM", "")
    known = " ".join(env.get(name, "") for name in ("TERM", "TERM_PROGRAM", "LC_TERMINAL")).lower()
    graphics = (
        known + (" kitty" if env.get("KITTY_WINDOW_ID") else "") + (" konsole" if env.get("KONSOLE_VERSION") else "")
    )
    images = "Kitty's graphics" if any(name in graphics for name in KITTY) else "half blocks"
    if images == "half blocks" and (any(name in graphics for name in SIXEL) or env.get("WT_SESSION")):
        images = "sixel"
    if not drawn:
        yield Check("terminal", "ok", "stdout is no terminal: plain text, nothing is drawn")
    elif term in ("", "dumb") and system != "win32":
        advice = "Use a terminal that sets TERM, e.g. xterm-256color"
        yield Check("terminal", "warning", f"TERM is {term or 'not set'}: plain text, no images", advice)
    else:
        true = env.get("COLORTERM") in ("truecolor", "24bit")
        colours = "no colours (NO_COLOR)" if env.get("NO_COLOR") else "16 million colours" if true else "colours"
        yield Check("terminal", "ok", f"{term or system}, {colours}; images probably as {images}")
    if "utf" not in encoding.lower():
        advice = "Set a UTF-8 locale, e.g. LC_ALL=C.UTF-8"
        yield Check("text", "warning", f"{encoding}: characters it lacks are replaced", advice)
    yield _clipboard(env, system, which)


def _clipboard(env: Mapping[str, str], system: str, which: Callable[[str], str | None]) -> Check:
    if system in ("darwin", "win32"):
        return Check("clipboard", "ok", "the system's own")
    for kind, (variable, tool, package) in CLIPBOARDS.items():
        if env.get(variable):
            if which(tool):
                return Check("clipboard", "ok", f"{tool} ({kind})")
            return Check("clipboard", "warning", f"{kind}, but no {tool}: /paste cannot work", f"Install {package}")
    return Check("clipboard", "ok", "none: no desktop here")


def _python() -> Check:
    says = f"{platform.python_version()}, pixtral {__version__}, {platform.platform()}, {sys.executable}"
    return Check("python", "ok", says)


def _packages() -> Iterator[Check]:
    """The libraries and whether each has a version that pixtral supports."""
    from importlib import metadata

    from packaging.requirements import Requirement

    try:
        requirements = [Requirement(line) for line in metadata.requires("pixtral") or []]
    except metadata.PackageNotFoundError:
        yield Check("packages", "warning", "pixtral is not installed, it runs from a folder", "pip install -e .")
        return
    good = []
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Check("packages", "fails", f"{requirement.name} is missing", f"pip install '{requirement}'")
            continue
        if requirement.specifier.contains(version, prereleases=True):
            good.append(f"{requirement.name} {version}")
        else:
            says = f"{requirement.name} {version}, but pixtral needs {requirement.specifier}"
            yield Check("packages", "warning", says, f"pip install '{requirement}'")
    yield Check("packages", "ok", ", ".join(good))


def _settings() -> Check:
    try:
        config.load()
    except PixtralError as error:
        return Check("settings", "fails", error.message, error.hint)
    file = config.config_file()
    return Check("settings", "ok", str(file) if file.exists() else f"all defaults ({file} is not there)")


def _devices() -> Iterator[Check]:
    leave_removed_folder()  # torch's libraries end the process there
    try:
        from pixtral_cli.engines.local.runtime.devices import devices

        available = devices()
    except (ImportError, OSError, RuntimeError) as error:  # a broken wheel, a driver that is too old
        yield Check("torch", "fails", f"cannot be used: {error}".splitlines()[0], "pip install --force-reinstall torch")
        return
    for device in available:
        bf16 = "bfloat16" if device.bf16 else "no bfloat16"
        free = f"{format_bytes(device.free)} of {format_bytes(device.total)} free"
        yield Check("device", "ok", f"{device.name}: {device.label}, {free}, {bf16}")
    if available[0].name == "cpu" and DRIVER.exists():
        advice = "Install a build of torch for CUDA, or a newer driver: https://pytorch.org/get-started"
        yield Check("device", "warning", "An NVIDIA GPU is here, and torch cannot use it", advice)
    yield kernel_check()
    best = max(available, key=lambda device: (device.name != "cpu", device.free))
    yield memory_check(best)
    yield _fitting(best)


def _fitting(device: "Device") -> Check:
    """The models that fit, and how fast they decode: the memory's measured bandwidth by the bytes read for a token."""
    from pixtral_cli.engines.factory import unknown_params
    from pixtral_cli.engines.local.runtime.bandwidth import read_bandwidth

    budget = Memory(memory.ram()[0], 0 if device.name in ("cpu", "mps") else device.total).model_limit(
        memory.EASY_SHARE
    )
    try:
        return fitting_check(budget, read_bandwidth(device.name), unknown_params("local"))
    except (RuntimeError, MemoryError):
        return Check("fits", "warning", f"{device.name} has no memory to measure with", "Close other programs")


def fitting_check(budget: int, bandwidth: float, unknown: Collection[str]) -> Check:
    """The models that fit into `budget` bytes of memory, which is read at `bandwidth` bytes a second."""
    fitting = list(catalogue.fitting(budget, unknown))
    measured = f"memory is read at {bandwidth / 1e9:.0f} GB/s"
    if not fitting:
        return Check("fits", "warning", f"no large model; {measured}", "Ask another machine: --base-url, --engine api")
    rates = []
    for entry in fitting:
        quantization = entry.shape.fits(budget)
        rate = bandwidth / entry.shape.read_a_token(quantization)
        rates.append(f"{entry.name} in {FORMATS[quantization]}, about {rate:.{0 if rate >= 10 else 1}f} tokens/s")
    return Check("fits", "ok", f"{'; '.join(rates)}; {measured}", "")


def kernel_check() -> Check:
    """Which instruction set our own kernel computes with on the CPU, and why."""
    from pixtral_cli.engines.local.kernels import cpu

    try:
        running = cpu.kernel()
    except PixtralError as error:
        return Check("kernel", "fails", str(error), error.hint)
    if running.library:
        return Check("kernel", "ok", f"cpu: {running.instruction_set}, {running.reason}")
    sets = cpu.instruction_sets()
    advice = "" if sets else "Install a C compiler and then pixtral again: answers come several times faster"
    if any(sets.values()):
        advice = f"Unset {cpu.VARIABLE}: answers come several times faster"
    return Check("kernel", "warning", f"cpu: torch alone, {running.reason}", advice)


def memory_check(device: "Device") -> Check:
    """Whether pixtral-12b fits on a device, and with how many tokens."""
    tokens = tokens_that_fit(device.free)
    says = f"pixtral-12b ({format_bytes(PIXTRAL.weights())} in bf16) "
    if tokens >= IMAGE:
        left = f"fits on {device.name} and leaves {tokens:,} tokens, {tokens // IMAGE} images of 1024²"
        return Check("memory", "ok", says + left)
    packed = next(
        (f"; --quantize {name} fits" for name in ("8bit", "4bit") if tokens_that_fit(device.free, name) >= IMAGE), ""
    )
    need = format_bytes(PIXTRAL.memory(tokens=IMAGE))
    advice = f"It needs {need} free{packed}. The demo runs anywhere; --base-url and --engine api ask other machines"
    return Check("memory", "warning", f"{says}does not fit on {device.name}: {format_bytes(device.free)} free", advice)


def _models() -> Iterator[Check]:
    try:
        from pixtral_cli.engines.factory import unknown_params

        settings = config.load()
        model = names.resolve(
            None, configured=settings.model, aliases=settings.aliases or {}, unknown=unknown_params("local")
        )
        yield Check("runs", "ok", f"{model.name}, in {model.folder}", model.note)
        yield caches_check(
            model.name, sum(file.stat().st_size for file in layout.files(model.folder)), memory.installed()
        )
    except PixtralError as error:
        yield Check("runs", "fails", error.message, error.hint)
    for installed in store.installed_models():
        says = f"{installed.name}: {format_bytes(installed.size)}, {installed.state}"
        if made := quantized_files.existing_files(config.paths().cache, installed.folder):
            says += f", quantized too: {format_bytes(sum(file.stat().st_size for file in made))}"
        if installed.state == "incomplete":
            yield Check("model", "warning", f"{says}: {installed.detail}", names.repair_hint(installed.folder))
        elif installed.state == "damaged":
            yield Check("model", "fails", f"{says}: {installed.detail}", names.repair_hint(installed.folder))
        else:
            yield Check("model", "ok", says)


def caches_check(name: str, weights: int, installed: Memory) -> Check:
    """How much memory a model may take beyond its weights for what it has computed before."""
    from pixtral_cli.engines.local.runtime.cache_limits import feature_cache_limit, idle_kv_limit

    room = installed.gpu or installed.ram
    features, idle = (format_bytes(limit(weights, room)) for limit in (feature_cache_limit, idle_kv_limit))
    return Check("caches", "ok", f"{name} keeps up to {features} of image features and {idle} of idle KV caches")


def _cache() -> Iterator[Check]:
    """Whether a model could be downloaded: a folder that can be written and space in it."""
    from pixtral_cli.models.pull import free_space

    cache = names.hub_cache()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        advice = "Set HF_HOME to a folder you may write to"
        yield Check("downloads", "warning", f"{existing} cannot be written", advice)
        return
    free = free_space(cache)
    enough = free > PIXTRAL.weights() or names.resolve(None).name == names.PIXTRAL_12B
    advice = (
        ""
        if enough
        else f"{names.PIXTRAL_12B} takes {format_bytes(PIXTRAL.weights())}: free some, or set HF_HOME elsewhere"
    )
    yield Check("downloads", "ok" if enough else "warning", f"{cache}, {format_bytes(free)} free", advice)


def _token(env: Mapping[str, str]) -> Check:
    """Whether there is a token for the hub; it is never shown."""
    if env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN"):
        return Check("token", "ok", "of the hub: in the environment")
    if names.token_file(env).is_file():
        return Check("token", "ok", "of the hub: logged in")
    needed = names.resolve(None).name != names.PIXTRAL_12B
    advice = f"{names.PIXTRAL_12B} needs one: accept its terms on the hub, then `hf auth login`" if needed else ""
    return Check("token", "ok", "of the hub: none", advice)


def _hub() -> Check:
    """Whether the full model could be fetched now: its listing, and the first bytes of its smallest file."""
    from pixtral_cli.models.hub import Hub

    hub = Hub.of()
    try:
        plan = hub.plan(names.REPOS[names.PIXTRAL_12B], None)
        with hub.stream(plan, plan.files[0], 0):
            return Check("hub", "ok", f"{hub.endpoint} gives {names.PIXTRAL_12B} ({format_bytes(plan.size)})")
    except PixtralError as error:
        return Check("hub", "fails", error.message, error.hint)
