"""Anthropic's list of models. It has the path of OpenAI's, and is sent to clients that send `anthropic-version`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request

from pixtral_cli.server.shapes.anthropic.schema import AnthropicModel, AnthropicModels


def is_anthropic_client(request: Request) -> bool:
    """Whether a request was sent by a client of Anthropic's API."""
    return "anthropic-version" in request.headers


def model(name: str, created: float, window: int | None) -> dict[str, Any]:
    """The model under one name. `created`: the start of the server, in seconds since 1970."""
    created_at = datetime.fromtimestamp(created, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return AnthropicModel(id=name, display_name=name, created_at=created_at, max_input_tokens=window).model_dump()


def model_list(names: Sequence[str], created: float, window: int | None) -> dict[str, Any]:
    """The model under each of its names, all on one page."""
    data = [AnthropicModel.model_validate(model(name, created, window)) for name in names]
    return AnthropicModels(data=data, first_id=names[0], last_id=names[-1]).model_dump()
