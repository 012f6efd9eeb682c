"""ASGI middleware that gives each request an id and names it in the reply: `x-request-id`, and Anthropic's `request-id`."""

import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY = "pixtral.request_id"  # of the scope


def request_id(scope: Scope) -> str | None:
    """The id of a request; None before it has one."""
    found = scope.get(KEY)
    return found if isinstance(found, str) else None


def id_headers(scope: Scope) -> dict[str, str]:
    """The headers that name a request's id."""
    found = request_id(scope)
    return {"x-request-id": found, "request-id": found} if found else {}


class RequestIdMiddleware:
    """Names the id in every reply but those to internal errors, which are sent outside of all middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope[KEY] = f"req_{uuid.uuid4().hex}"
        named = [(name.encode(), value.encode()) for name, value in id_headers(scope).items()]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *named]}
            await send(message)

        await self._app(scope, receive, send_with_id)
