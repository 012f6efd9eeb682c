"""The settings of a conversation's answers: saved with its session, restored when that is resumed."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from pixtral_cli import config
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import UsageError

OF_ONE_REQUEST = (
    "logprobs",
    "n",
    "logit_bias",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)  # fields of a sampling that hold for one answer
MAX_TOLD = 60  # characters of a value in a note


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """The model, the engine and the sampling of an answer. `engine` is "" in a session that an older version saved; `server` is a remote URL.

    `sampling` holds the fields of a `Sampling`; `changed` names those that were not what the model's vendor recommends.
    `template` is the one that questions went through, `values` what was put in its places.
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
        cls, model: str, engine: str, server: str, sampling: Sampling, usual: Sampling, template: str = "",
        values: Mapping[str, str] | None = None,
    ) -> "AnswerSettings":  # fmt: skip
        """Those of an answer that is about to be asked for; `usual` is the sampling when nothing is set."""
        names = [each.name for each in fields(Sampling) if each.name not in OF_ONE_REQUEST]
        used = {name: getattr(sampling, name) for name in names}
        changed = [name for name, value in used.items() if value != getattr(usual, name)]
        return cls(model, engine, server, used, changed, template, dict(values or {}))

    def to_json(self) -> dict[str, Any]:
        """The JSON that a session stores; a value that is no JSON is left out."""
        sampling = {name: json.loads(text) for name, value in self.sampling.items() if (text := _json(value))}
        about = {name: getattr(self, name) for name in ("model", "engine", "server", "template")}
        changed = [name for name in self.changed if name in sampling]
        return about | {"sampling": sampling, "changed": changed, "template_values": dict(self.values)}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> "AnswerSettings":
        """Read from the JSON of a session; invalid values are left out."""
        words = {name: str(kept.get(name) or "") for name in ("model", "engine", "server", "template")}
        sampling = {
            name: read for name, value in _table(kept, "sampling").items() if (read := _read(name, value)) != (name,)
        }
        changed = [name for name in kept.get("changed") or () if name in sampling]
        values = {name: str(value) for name, value in _table(kept, "template_values").items()}
        return cls(**words, sampling=sampling, changed=changed, values=values)

    def restored(self, now: Sampling, model: str, given: Collection[str] = ()) -> dict[str, Any]:
        """The sampling to bring back over `now`, without what is `given` anew: for another model what had been changed alone."""
        same = model == self.model
        return {
            name: value
            for name, value in self.sampling.items()
            if name not in given and value != getattr(now, name) and (same or name in self.changed)
        }


def as_before_notes(
    kept: AnswerSettings, restored: Mapping[str, Any], model: str, engine: str, server: str, more: Sequence[str] = ()
) -> list[str]:
    """Notes about the restored settings of a resumed conversation, `more` included, and about a changed model."""
    back = [described(restored)] * bool(restored) + list(more)
    back += [f"server {server}"] if server and server == kept.server else []
    lines = [f"As before: {', '.join(back)}"] if back else []
    before, now = _who(kept.model, kept.engine, kept.server), _who(model, engine, server)
    return lines + ([f"Before, {before} answered; now {now} does"] if kept.engine and before != now else [])


def _who(model: str, engine: str, server: str) -> str:
    """A model, and where it runs unless that is the local engine."""
    return model + (f" at {server}" if server else "" if engine == "local" else f" by {engine}")


def described(sampling: Mapping[str, Any]) -> str:
    """Some fields of a sampling in words, such as `temperature 0.9, no schema`."""
    return ", ".join(
        f"no {name}" if value in (None, ()) else f"{name} {_short(_value_in_words(value))}"
        for name, value in sampling.items()
    )


def _value_in_words(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(repr, value))
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def _read(name: str, value: Any) -> Any:
    """A field of a sampling from JSON; `(name,)` for one that is none or out of its range."""
    if name not in Sampling.__dataclass_fields__ or name in OF_ONE_REQUEST:
        return (name,)
    if isinstance(value, list):
        return tuple(map(str, value))
    if value is None or name not in config.SETTING_TYPES:
        right = value is None or isinstance(value, dict if name == "schema" else int | float)
        return value if right else (name,)
    try:
        return config.convert(name, value, "")
    except UsageError:
        return (name,)


def _table(kept: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = kept.get(name)
    return value if isinstance(value, dict) else {}


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return ""


def _short(text: str) -> str:
    return text if len(text) <= MAX_TOLD else f"{text[: MAX_TOLD - 1]}…"
