"""The model and sampling settings of a session: saved with it, restored when it is resumed."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pixtral_cli import config
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import UsageError

PER_REQUEST_FIELDS = (
    "logprobs",
    "n",
    "logit_bias",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)  # fields of `Sampling` that are not saved
MAX_SHOWN_VALUE = 60  # characters of a value in a note


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """The model, engine and sampling of a session's answers.

    `engine` is "" in a session that an older version saved. `server` is the URL of a remote engine. `sampling` holds
    fields of `Sampling`; `changed` names those that differ from what the model's vendor recommends. `template` is the
    name of the template in use, `values` its placeholders' values.
    """

    model: str = ""
    engine: str = ""
    server: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    changed: Sequence[str] = ()
    template: str = ""
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, model: str, engine: str, server: str, sampling: Sampling, recommended: Sampling, template: str = "",
        values: Mapping[str, str] | None = None,
    ) -> "AnswerSettings":  # fmt: skip
        """The settings of an answer with this sampling; `recommended` is the sampling when the user sets nothing."""
        names = [member.name for member in fields(Sampling) if member.name not in PER_REQUEST_FIELDS]
        used = {name: getattr(sampling, name) for name in names}
        changed = [name for name, value in used.items() if value != getattr(recommended, name)]
        return cls(model, engine, server, used, changed, template, dict(values or {}))

    def to_json(self) -> dict[str, Any]:
        """The JSON object that a session stores; values that JSON cannot hold are left out."""
        sampling = {name: json.loads(text) for name, value in self.sampling.items() if (text := _json(value))}
        about = {name: getattr(self, name) for name in ("model", "engine", "server", "template")}
        changed = [name for name in self.changed if name in sampling]
        return about | {"sampling": sampling, "changed": changed, "template_values": dict(self.values)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "AnswerSettings":
        """The settings in a session's JSON; invalid values are left out."""
        words = {name: str(stored.get(name) or "") for name in ("model", "engine", "server", "template")}
        sampling = {
            name: read
            for name, value in _table(stored, "sampling").items()
            if (read := _read_field(name, value)) != (name,)
        }
        changed = [name for name in stored.get("changed") or () if name in sampling]
        values = {name: str(value) for name, value in _table(stored, "template_values").items()}
        return cls(**words, sampling=sampling, changed=changed, values=values)

    def restored(self, current: Sampling, model: str, overridden: Collection[str] = ()) -> dict[str, Any]:
        """The fields to restore over the `current` sampling, without those `overridden` on the command line.

        For another model than before only the fields that the user had changed are restored.
        """
        same = model == self.model
        return {
            name: value
            for name, value in self.sampling.items()
            if name not in overridden and value != getattr(current, name) and (same or name in self.changed)
        }


def resume_notes(
    stored: AnswerSettings, restored: Mapping[str, Any], model: str, engine: str, server: str, more: Sequence[str] = ()
) -> list[str]:
    """Notes for the user about the settings (and `more`) that were restored with a session, and about a change of model."""
    back = [format_sampling(restored)] * bool(restored) + list(more)
    back += [f"server {server}"] if server and server == stored.server else []
    lines = [f"As before: {', '.join(back)}"] if back else []
    before, current = _model_text(stored.model, stored.engine, stored.server), _model_text(model, engine, server)
    return lines + ([f"Before, {before} answered; now {current} does"] if stored.engine and before != current else [])


def _model_text(model: str, engine: str, server: str) -> str:
    """A model's name, with its server or engine unless that is the local engine."""
    return model + (f" at {server}" if server else "" if engine == "local" else f" by {engine}")


def format_sampling(sampling: Mapping[str, Any]) -> str:
    """Fields of a sampling as text, such as `temperature 0.9, no schema`."""
    return ", ".join(
        f"no {name}" if value in (None, ()) else f"{name} {_shortened(_value_text(value))}"
        for name, value in sampling.items()
    )


def _value_text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(repr, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _read_field(name: str, value: Any) -> Any:
    """The value of a field of `Sampling` from JSON; `(name,)` for an unknown field and an invalid value."""
    if name not in Sampling.__dataclass_fields__ or name in PER_REQUEST_FIELDS:
        return (name,)
    if isinstance(value, list):
        return tuple(map(str, value))
    if value is None or name not in config.SETTING_TYPES:
        valid = value is None or isinstance(value, dict if name == "schema" else int | float)
        return value if valid else (name,)
    try:
        return config.convert(name, value, "")
    except UsageError:
        return (name,)


def _table(stored: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = stored.get(name)
    return value if isinstance(value, dict) else {}


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return ""


def _shortened(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_VALUE else f"{text[: MAX_SHOWN_VALUE - 1]}…"
