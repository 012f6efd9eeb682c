"""Anthropic's list of models, at the path that OpenAI's has too: who sends `anthropic-version` gets it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from pixtral_cli.server.shapes.anthropic.schema import AnthropicModel, AnthropicModels


def wants_anthropic(request: Request) -> bool:
    """Whether the request is of a client of Anthropic's API."""
    return "anthropic-version" in request.headers


def model(name: str, created: float, window: int | None) -> dict[str, Any]:
    """The model under one name. `created`: when it was served first, in seconds since 1970."""
    when = datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return AnthropicModel(id=name, display_name=name, created_at=when, max_input_tokens=window).model_dump()


def model_list(names: Sequence[str], created: float, window: int | None) -> dict[str, Any]:
    """The model under each of its names, all on one page."""
    data = [AnthropicModel.model_validate(model(name, created, window)) for name in names]
    return AnthropicModels(data=data, first_id=names[0], last_id=names[-1]).model_dump()
