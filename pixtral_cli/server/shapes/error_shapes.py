"""Error replies in the form of the API that was called: OpenAI's, Anthropic's or Ollama's."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Scope

from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.request_id import request_id

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    503: "overloaded_error",
}
OVERLOADED = 529  # Anthropic's status in place of 503


def error_response(scope: Scope, error: ApiError, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The reply for an error, in the form of the API that the path of `scope` belongs to."""
    status, body, path = error.status, error.body, scope["path"]
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        status, body = OVERLOADED if status == 503 else status, anthropic_error(error, request_id(scope))
    elif path.startswith("/api/"):
        body = ollama_error(error)
    return JSONResponse(body, status, {**error.headers, **(headers or {})})


def anthropic_error(error: ApiError, request_id: str | None = None) -> dict[str, Any]:
    """Anthropic's error object."""
    kind = ANTHROPIC_TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": _with_field(error)}, "request_id": request_id}


def ollama_error(error: ApiError) -> dict[str, Any]:
    """Ollama's error object."""
    return {"error": _with_field(error)}


def _with_field(error: ApiError) -> str:
    """The message, preceded by the field's path unless it contains it: these APIs have no field for the path."""
    if error.param is None or error.param in error.message:
        return error.message
    return f"{error.param}: {error.message}"
