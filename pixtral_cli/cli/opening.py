"""From settings to a model, its engine and its sampling: what every command that asks a model begins with."""

from collections.abc import Sequence

from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.config import Config
from pixtral_cli.models import names


def choose_model(name: str | None, settings: Config) -> tuple[names.Model, Config]:
    """The model that runs, and the settings with that model's own underneath."""
    chosen = names.resolve(name, configured=settings.model)
    return chosen, settings.for_model(chosen.name)


def open_chosen(model: names.Model, settings: Config) -> Engine:
    """The engine for a model; loads no weights."""
    from pixtral_cli.engines import open_engine

    return open_engine(
        settings.engine or "local",
        folder=model.folder,
        name=model.name,
        device=settings.device or "auto",
        dtype=settings.dtype or "auto",
    )


def sampling(settings: Config, model: str, stop: Sequence[str] | None = None) -> Sampling:
    """The settings' sampling; the demo is greedy unless told otherwise."""
    usual = Sampling(temperature=0.0) if model == names.DEMO else Sampling()
    return Sampling(
        temperature=usual.temperature if settings.temperature is None else settings.temperature,
        top_p=usual.top_p if settings.top_p is None else settings.top_p,
        seed=settings.seed,
        stop=tuple(stop or ()),
        max_tokens=settings.max_tokens,
    )
