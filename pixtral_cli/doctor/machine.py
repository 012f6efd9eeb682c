"""Checks of Python, its packages, the devices and what fits into their memory."""

import os
import platform
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pixtral_cli import __version__, config
from pixtral_cli.errors import PixtralError
from pixtral_cli.models import catalogue, names
from pixtral_cli.util import memory
from pixtral_cli.util.memory import Memory
from pixtral_cli.util.sizes import format_bytes
from pixtral_cli.util.working_directory import leave_removed_folder

if TYPE_CHECKING:
    from pixtral_cli.engines.local.runtime.devices import Device
from pixtral_cli.doctor.check import Check

PIXTRAL_SHAPE = catalogue.BY_NAME[names.PIXTRAL_12B].shape
CONTEXT_WINDOW = 128_000  # tokens
IMAGE_TOKENS = 4_160  # tokens of an image of 1024 by 1024
FORMAT_NAMES = {"none": "16 bits", "8bit": "8 bits", "4bit": "4 bits"}
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def tokens_that_fit(free: int, quantize: str = "none") -> int:
    """How many tokens of KV cache fit beside pixtral-12b's weights into `free` bytes; 0 where the weights do not fit."""
    return min(max(free - PIXTRAL_SHAPE.memory(quantize, tokens=0), 0) // PIXTRAL_SHAPE.token_bytes, CONTEXT_WINDOW)


def python_check() -> Check:
    """The versions of Python, pixtral and the system."""
    says = f"{platform.python_version()}, pixtral {__version__}, {platform.platform()}, {sys.executable}"
    return Check("python", "ok", says)


def package_checks() -> Iterator[Check]:
    """Whether each required library is installed in a version that pixtral supports."""
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


def settings_check() -> Check:
    """Whether the config file and the PIXTRAL_* variables are valid."""
    try:
        config.load()
    except PixtralError as error:
        return Check("settings", "fails", error.message, error.hint)
    file = config.config_file()
    return Check("settings", "ok", str(file) if file.exists() else f"all defaults ({file} does not exist)")


def folder_checks() -> Iterator[Check]:
    """Whether conversations, settings and what is computed once can be written."""
    paths = config.paths()
    kept = ((paths.data, "conversations are not saved"), (config.config_file().parent, "settings cannot be changed"),
            (paths.cache, "quantized weights are not kept"))  # fmt: skip
    wrong = [(folder, effect) for folder, effect in kept if not _writable(folder)]
    for folder, effect in wrong:
        yield Check("folders", "warning", f"{folder} cannot be written: {effect}", "PIXTRAL_HOME names another place")
    if not wrong:
        yield Check("folders", "ok", f"conversations are kept in {paths.data}")


def _writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or it in the nearest one above it that exists."""
    existing = next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
    return existing.is_dir() and os.access(existing, os.W_OK)


def device_checks() -> Iterator[Check]:
    """Whether torch can be loaded, the devices it offers, the CPU kernel, and the models that fit into memory."""
    leave_removed_folder()  # where torch's libraries would end the process
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
    if available[0].name == "cpu" and NVIDIA_DRIVER.exists():
        advice = "Install a build of torch for CUDA, or a newer driver: https://pytorch.org/get-started"
        yield Check("device", "warning", "There is an NVIDIA GPU that torch cannot use", advice)
    yield kernel_check()
    best = max(available, key=lambda device: (device.name != "cpu", device.free))
    yield memory_check(best)
    yield _measured_fitting_check(best)


def _measured_fitting_check(device: "Device") -> Check:
    """`fitting_check` with the memory and the measured bandwidth of a device."""
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
    """The models that fit into `budget` bytes of memory, and their decode rates: `bandwidth` by bytes read per token.

    `bandwidth`: bytes read a second; `unknown`: keys of params.json that the engine cannot compute.
    """
    fitting = list(catalogue.fitting(budget, unknown))
    measured = f"memory is read at {bandwidth / 1e9:.0f} GB/s"
    if not fitting:
        return Check("fits", "warning", f"no large model; {measured}", "Ask another machine: --base-url, --engine api")
    rates = []
    for entry in fitting:
        quantization = entry.shape.widest_format(budget)
        rate = bandwidth / entry.shape.bytes_read_per_token(quantization)
        rates.append(f"{entry.name} in {FORMAT_NAMES[quantization]}, about {rate:.{0 if rate >= 10 else 1}f} tokens/s")
    return Check("fits", "ok", f"{'; '.join(rates)}; {measured}", "")


def kernel_check() -> Check:
    """Which instruction set the CPU kernel uses, and why."""
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
        advice = f"Unset {cpu.KERNEL_VARIABLE}: answers come several times faster"
    return Check("kernel", "warning", f"cpu: torch alone, {running.reason}", advice)


def memory_check(device: "Device") -> Check:
    """Whether pixtral-12b fits into the free memory of a device, and how many tokens fit beside it."""
    tokens = tokens_that_fit(device.free)
    says = f"pixtral-12b ({format_bytes(PIXTRAL_SHAPE.weights())} in bf16) "
    if tokens >= IMAGE_TOKENS:
        left = f"fits on {device.name} and leaves {tokens:,} tokens, {tokens // IMAGE_TOKENS} images of 1024²"
        return Check("memory", "ok", says + left)
    packed = next(
        (
            f"; --quantize {name} fits"
            for name in ("8bit", "4bit")
            if tokens_that_fit(device.free, name) >= IMAGE_TOKENS
        ),
        "",
    )
    need = format_bytes(PIXTRAL_SHAPE.memory(tokens=IMAGE_TOKENS))
    advice = f"It needs {need} free{packed}. The demo runs anywhere; --base-url and --engine api ask other machines"
    return Check("memory", "warning", f"{says}does not fit on {device.name}: {format_bytes(device.free)} free", advice)
