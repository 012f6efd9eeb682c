"""The output of `pixtral models show`: the details of one model, and its vendor's system prompt."""

from typing import Any

from pixtral_cli import config
from pixtral_cli.engines.factory import unknown_params
from pixtral_cli.errors import ModelError
from pixtral_cli.models import catalogue, layout, names, store
from pixtral_cli.models.catalogue import Entry, Shape
from pixtral_cli.terminal.output.output import Output, dumps
from pixtral_cli.util.memory import EASY_SHARE, installed
from pixtral_cli.util.sanitize import clean, visible
from pixtral_cli.util.sizes import format_bytes

FORMAT_NAMES = {"none": "16 bits", "8bit": "8 bits", "4bit": "4 bits"}


def show_model(name: str | None, out: Output, *, as_json: bool = False) -> None:
    """Print the details of a model on this machine or of the catalogue. Raises ModelError for any other."""
    about = _described(name)
    if as_json:
        return out.write(dumps(about, out.stdout.encoding) + "\n")
    system = about.pop("system_prompt")
    rows = [(key.replace("_", " "), _words(key, value)) for key, value in about.items() if value not in (None, "")]
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        out.write(f"{key:<{width}}  {visible(value, 500)}\n")
    if system:
        out.write(f"\nSystem prompt of the vendor ({layout.SYSTEM_PROMPT}):\n\n{clean(system.rstrip())}\n")
    return None


def _described(name: str | None) -> dict[str, Any]:
    settings = config.load()
    aliases, unknown = settings.aliases or {}, unknown_params(settings.engine or "local")
    try:
        model = names.resolve(name, configured=settings.model, aliases=aliases, unknown=unknown)
    except ModelError:
        entry = catalogue.find(aliases.get(name or settings.model or "", name or settings.model or ""))
        if entry is None:
            raise
        return {"name": entry.name, "repository": entry.repo, "state": "not on this machine", **_of_catalogue(entry)} | {
            "get_it": f"pixtral pull {entry.name}", "system_prompt": "",
        }  # fmt: skip
    here = store.describe(model.name, model.folder)
    params = layout.params(model.folder)
    entry, shape = catalogue.find(model.name), Shape.of(params)
    prompt = layout.system_prompt(model.folder)
    used = "by default; -s TEXT takes its place" if layout.is_thinking_prompt(prompt) else "by --system alone"
    return {
        "name": model.name, "repository": model.repo, "revision": model.revision, "folder": str(model.folder),
        "state": f"{here.state}: {here.detail}" if here.detail else here.state, "size": here.size,
        "format": layout.format_of(model.folder).name, **(_of_catalogue(entry) if entry else {}),
        **(_of_shape(shape) if shape else {}), "context": _window(params),
        "system_prompt_used": used if prompt else None, "system_prompt": prompt,
    }  # fmt: skip


def _of_catalogue(entry: Entry) -> dict[str, Any]:
    return {
        "about": entry.about, "licence": entry.licence, "gated": entry.gated, "download": entry.download,
        **_of_shape(entry.shape), "reasoning": entry.reasoning, "temperature": entry.temperature,
    }  # fmt: skip


def _of_shape(shape: Shape) -> dict[str, Any]:
    return {
        "parameters": shape.parameters,
        "memory": {name: shape.memory(name) for name in FORMAT_NAMES},
        "fits": shape.widest_format(installed().model_limit(EASY_SHARE)) or None,
    }


def _window(params: dict[str, Any]) -> int | None:
    window = params.get("max_position_embeddings") or params.get("max_seq_len")
    return window if isinstance(window, int) else None


def _words(key: str, value: Any) -> str:
    """A value formatted for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if key in ("size", "download"):
        return format_bytes(value)
    if key == "memory":
        return ", ".join(f"{format_bytes(size)} in {FORMAT_NAMES[name]}" for name, size in value.items())
    if key == "fits":
        return f"in {FORMAT_NAMES[value]}"
    if key == "parameters":
        return f"{value / 1e9:.1f} billion" if value >= 1e8 else f"{value / 1e6:.1f} million"
    return f"{value:,} tokens" if key == "context" else str(value)
