"""ASGI middleware that gives each request an id, sent as the headers `x-request-id` and (Anthropic's) `request-id`."""

import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

KEY = "pixtral.request_id"  # of the ASGI scope


def request_id(scope: Scope) -> str | None:
    """The id of a request; None outside of the middleware."""
    id_ = scope.get(KEY)
    return id_ if isinstance(id_, str) else None


def id_headers(scope: Scope) -> dict[str, str]:
    """The reply headers with a request's id; empty without one."""
    id_ = request_id(scope)
    return {"x-request-id": id_, "request-id": id_} if id_ else {}


class RequestIdMiddleware:
    """Adds the id to every reply except those for internal errors, which Starlette sends outside of all middleware."""

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
