"""ASGI middleware that checks the headers Host and Origin and the API key of each request."""

import hmac
import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.shapes.error_shapes import error_response

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
PUBLIC_PATHS = frozenset({"/", "/health"})
PUBLIC_FOLDER = "/page/"


@dataclass(frozen=True)
class AccessRules:
    """`hosts`: accepted values of Host, in lower case and without port. `any_address`: every IP address is accepted, which
    is safe from DNS rebinding. `api_key`: None if none is needed."""

    hosts: Collection[str] = LOOPBACK
    any_address: bool = False
    api_key: str | None = field(default=None, repr=False)


class AccessMiddleware:
    """Refuses requests from pages of other origins and requests without the API key."""

    def __init__(self, app: ASGIApp, rules: AccessRules) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error(scope) if scope["type"] == "http" else None
        if error:
            response = error_response(scope, error, {"Connection": "close"})
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _error(self, scope: Scope) -> ApiError | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").lower()
        if not self._accepts_host(host):
            return ApiError(403, "This server does not answer to that Host.", code="host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return ApiError(403, "Requests from other sites' pages are refused.", code="origin_not_allowed")
        path = scope["path"]
        if path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDER) or self._has_key(headers):
            return None
        refusal = {"WWW-Authenticate": "Bearer"}
        return ApiError(401, "The API key is missing or wrong.", code="invalid_api_key", headers=refusal)

    def _accepts_host(self, host: str) -> bool:
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        return name in self._rules.hosts or (self._rules.any_address and _is_address(name))

    def _has_key(self, headers: Mapping[str, str]) -> bool:
        if self._rules.api_key is None:
            return True
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        keys = (bearer if scheme.lower() == "bearer" else "", headers.get("x-api-key", ""))
        expected = self._rules.api_key.encode()
        return any(hmac.compare_digest(key.strip().encode("latin-1"), expected) for key in keys)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
