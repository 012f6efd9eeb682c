"""Exception handlers of the application: each makes an error reply in the form of the API that was called."""

import logging

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixtral_cli import config
from pixtral_cli.server.http.errors import INTERNAL_ERROR, ApiError
from pixtral_cli.server.http.request_id import id_headers
from pixtral_cli.server.shapes.error_shapes import error_response

log = logging.getLogger("pixtral.server")

CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left


async def send_api_error(request: Request, api_error: Exception) -> Response:
    """The reply for an ApiError."""
    assert isinstance(api_error, ApiError)
    return error_response(request.scope, api_error)


async def send_http_error(request: Request, error: Exception) -> Response:
    """The reply for an error of Starlette's router; for an unknown path it lists the known ones."""
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404:
        known = ", ".join(
            route.path for route in request.app.routes if isinstance(route, Route) and "{" not in route.path
        )
        detail = f"There is no {request.url.path[:100]!r} here; there are: {known}"
    if error.status_code == 405 and (allowed := (error.headers or {}).get("Allow")):
        detail = f"{request.url.path[:100]!r} takes {allowed}, not {request.method[:20]}"
    api_error = ApiError(error.status_code, detail, code=error.detail.lower().replace(" ", "_"))
    return error_response(request.scope, api_error, error.headers)


async def send_nothing(request: Request, error: Exception) -> Response:
    """An empty reply, for a client that has disconnected."""
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def send_internal_error(request: Request, error: Exception) -> Response:
    """The reply for an unexpected exception, which is logged."""
    log.error("An error in pixtral itself: %s", type(error).__name__, exc_info=error if config.debug() else None)
    return error_response(request.scope, INTERNAL_ERROR, id_headers(request.scope))
