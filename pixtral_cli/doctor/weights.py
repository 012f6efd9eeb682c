"""Checks of the downloaded models, of the disk space for more, of the hub and its token."""

import os
from collections.abc import Iterator, Mapping

from pixtral_cli import config
from pixtral_cli.doctor.check import Check
from pixtral_cli.doctor.machine import PIXTRAL_SHAPE
from pixtral_cli.errors import PixtralError
from pixtral_cli.models import layout, names, quantized_files, store
from pixtral_cli.util import memory
from pixtral_cli.util.memory import Memory
from pixtral_cli.util.sizes import format_bytes


def model_checks() -> Iterator[Check]:
    """The model that runs by default, the memory its caches may take, and the state of every model on this machine."""
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
        if quantized := quantized_files.existing_files(config.paths().cache, installed.folder):
            says += f", quantized too: {format_bytes(sum(file.stat().st_size for file in quantized))}"
        if installed.state == "incomplete":
            yield Check("model", "warning", f"{says}: {installed.detail}", names.repair_hint(installed.folder))
        elif installed.state == "damaged":
            yield Check("model", "fails", f"{says}: {installed.detail}", names.repair_hint(installed.folder))
        else:
            yield Check("model", "ok", says)


def caches_check(name: str, weights: int, installed: Memory) -> Check:
    """The limits of the memory for image features and for idle KV caches.

    `weights`: bytes; `installed`: this machine's memory.
    """
    from pixtral_cli.engines.local.runtime.cache_limits import feature_cache_limit, idle_kv_limit

    capacity = installed.gpu or installed.ram
    features, idle = (format_bytes(limit(weights, capacity)) for limit in (feature_cache_limit, idle_kv_limit))
    return Check("caches", "ok", f"{name} keeps up to {features} of image features and {idle} of idle KV caches")


def download_checks() -> Iterator[Check]:
    """Whether the hub's cache can be written and has space for pixtral-12b."""
    from pixtral_cli.models.pull import free_space

    cache = names.hub_cache()
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not os.access(existing, os.W_OK):
        advice = "Set HF_HOME to a folder you may write to"
        yield Check("downloads", "warning", f"{existing} cannot be written", advice)
        return
    free = free_space(cache)
    enough = free > PIXTRAL_SHAPE.weights() or names.resolve(None).name == names.PIXTRAL_12B
    advice = (
        ""
        if enough
        else f"{names.PIXTRAL_12B} takes {format_bytes(PIXTRAL_SHAPE.weights())}: free some, or set HF_HOME elsewhere"
    )
    yield Check("downloads", "ok" if enough else "warning", f"{cache}, {format_bytes(free)} free", advice)


def token_check(env: Mapping[str, str]) -> Check:
    """Whether there is a token for the hub. The token itself is never shown."""
    if env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN"):
        return Check("token", "ok", "of the hub: in the environment")
    if names.token_file(env).is_file():
        return Check("token", "ok", "of the hub: logged in")
    needed = names.resolve(None).name != names.PIXTRAL_12B
    advice = f"{names.PIXTRAL_12B} needs one: accept its terms on the hub, then `hf auth login`" if needed else ""
    return Check("token", "ok", "of the hub: none", advice)


def hub_check() -> Check:
    """Whether pixtral-12b could be downloaded now: requests its listing and the beginning of its smallest file."""
    from pixtral_cli.models.hub import Hub

    hub = Hub.of()
    try:
        plan = hub.plan(names.REPOS[names.PIXTRAL_12B], None)
        with hub.stream(plan, plan.files[0], 0):
            return Check("hub", "ok", f"{hub.endpoint} gives {names.PIXTRAL_12B} ({format_bytes(plan.size)})")
    except PixtralError as error:
        return Check("hub", "fails", error.message, error.hint)
