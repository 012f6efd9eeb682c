"""The paths of the other APIs, over what the application does for each: answer, count tokens, say what is served."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pixtral_cli.chat.engine import Cost
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.shapes import completions, responses
from pixtral_cli.server.shapes.anthropic import requests as anthropic
from pixtral_cli.server.shapes.ollama import answers as ollama
from pixtral_cli.server.shapes.ollama import models as ollama_models
from pixtral_cli.server.shapes.shape import Shape


class Server(Protocol):
    """What the application offers. `created`: when it was started; `size`: of the model's weights in bytes."""

    names: Sequence[str]
    created: int
    size: int

    def answer(self, parse: Shape, *, any_type: bool = False) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint that answers requests of a shape. `any_type`: whatever their Content-Type says."""
        ...

    async def measured(self, request: Request, parse: Shape) -> Cost:
        """The tokens of a request."""
        ...

    async def read(self, request: Request) -> bytearray:
        """A request's body, whatever its Content-Type says. Raises ApiError."""
        ...

    def window(self) -> int | None:
        """The context window in tokens; None while the model is not loaded."""
        ...

    def unknown(self, name: str, param: str) -> ApiError:
        """The error of a request for a model that is not here."""
        ...


def routes(server: Server) -> list[Route]:
    """The paths of OpenAI's Responses, Anthropic's Messages and Ollama's API."""

    async def count_tokens(request: Request) -> Response:
        cost = await server.measured(request, anthropic.parse_count)
        return JSONResponse({"input_tokens": cost.prompt_tokens})

    async def tags(request: Request) -> Response:
        return JSONResponse(ollama_models.tags(server.names, server.size, server.created))

    async def running(request: Request) -> Response:
        return JSONResponse(ollama_models.running(server.names[0], server.size, server.created, server.window()))

    async def show(request: Request) -> Response:
        name = ollama_models.requested_name(await server.read(request))
        if name not in server.names:
            raise server.unknown(name, "model")
        return JSONResponse(ollama_models.show(name, server.created, server.window()))

    async def version(request: Request) -> Response:
        return JSONResponse(ollama_models.version())

    return [
        Route("/v1/completions", server.answer(completions.parse), methods=["POST"]),
        Route("/v1/responses", server.answer(responses.parse), methods=["POST"]),
        Route("/v1/messages", server.answer(anthropic.parse), methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
        Route("/api/chat", server.answer(ollama.parse_chat, any_type=True), methods=["POST"]),
        Route("/api/generate", server.answer(ollama.parse_generate, any_type=True), methods=["POST"]),
        Route("/api/tags", tags),
        Route("/api/ps", running),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/version", version),
    ]
