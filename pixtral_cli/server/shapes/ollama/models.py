"""Ollama's descriptions of the served model: `/api/tags`, `/api/ps`, `/api/show` and `/api/version`."""

import hashlib
from collections.abc import Sequence
from typing import Any

from pixtral_cli import __version__
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.openai.requests import parse_body
from pixtral_cli.server.shapes.ollama.answers import LATEST, timestamp
from pixtral_cli.server.shapes.ollama.schema import (
    OllamaDetails,
    OllamaModel,
    OllamaModels,
    OllamaRunningModel,
    OllamaRunningModels,
    OllamaShown,
    OllamaShowRequest,
)

API_VERSION = "0.13.0"  # the version of Ollama whose API this is; clients check for a minimum
NEVER = "9999-12-31T23:59:59Z"  # the time at which the model is unloaded


def version() -> dict[str, Any]:
    """The versions of Ollama's API and of pixtral."""
    return {"version": API_VERSION, "pixtral": __version__}


def tags(names: Sequence[str], size: int, started: float) -> dict[str, Any]:
    """The model under each of its names. `size`: of its weights in bytes; `started`: when it was served first."""
    return OllamaModels(models=[OllamaModel(**_model_fields(name, size, started)) for name in names]).model_dump()


def running(name: str, size: int, started: float, window: int | None) -> dict[str, Any]:
    """The list of loaded models. `window` is the context window in tokens, None while the model is not loaded."""
    if window is None:
        return OllamaRunningModels(models=[]).model_dump()
    model = OllamaRunningModel(
        **_model_fields(name, size, started), expires_at=NEVER, size_vram=0, context_length=window
    )
    return OllamaRunningModels(models=[model]).model_dump()


def requested_name(body: bytearray) -> str:
    """The model that a request to `/api/show` names. Raises ApiError 400."""
    request = parse_body(OllamaShowRequest, body)
    name = request.model or request.name
    if not name:
        raise ApiError(400, "model is required", param="model", code="missing_required_parameter")
    return name.removesuffix(LATEST)


def show(name: str, started: float, window: int | None) -> dict[str, Any]:
    """The description of the model, in which clients look up its context window and capabilities."""
    info = {"general.architecture": "pixtral", "general.basename": name}
    return OllamaShown(
        modelfile=f"FROM {name}\n",
        parameters="",
        template="",
        details=OllamaDetails(),
        model_info=info | ({"pixtral.context_length": window} if window else {}),
        capabilities=["completion", "vision", "tools"],
        modified_at=timestamp(started),
    ).model_dump()


def _model_fields(name: str, size: int, started: float) -> dict[str, Any]:
    name_with_tag = name if ":" in name else f"{name}{LATEST}"
    digest = hashlib.sha256(f"{name}/{size}".encode()).hexdigest()
    return {
        "name": name_with_tag,
        "model": name_with_tag,
        "modified_at": timestamp(started),
        "size": size,
        "digest": digest,
    }
