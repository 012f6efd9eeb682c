"""The routes of the other APIs: answers, token counts and descriptions of the served model."""

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
    """The part of the application that all APIs share.

    `names` are the names of the served model, `created` is the start of the server (seconds since 1970), `size` that of
    the weights in bytes.
    """

    names: Sequence[str]
    created: int
    size: int

    def answer_endpoint(self, parse: Shape, *, any_type: bool = False) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint that answers requests of a shape. `any_type`: any Content-Type is accepted."""
        ...

    async def measure_request(self, request: Request, parse: Shape) -> Cost:
        """The tokens of a request's prompt. Raises ApiError."""
        ...

    async def read_body(self, request: Request) -> bytearray:
        """A request's body, of any Content-Type. Raises ApiError."""
        ...

    def window(self) -> int | None:
        """The context window in tokens; None while the model is not loaded."""
        ...

    def unknown_model(self, name: str, param: str) -> ApiError:
        """The error for a request that names a model which is not served, in its field `param`."""
        ...


def routes(server: Server) -> list[Route]:
    """The routes of OpenAI's Completions and Responses, Anthropic's Messages and Ollama's API."""

    async def count_tokens(request: Request) -> Response:
        cost = await server.measure_request(request, anthropic.parse_count)
        return JSONResponse({"input_tokens": cost.prompt_tokens})

    async def tags(request: Request) -> Response:
        return JSONResponse(ollama_models.tags(server.names, server.size, server.created))

    async def running(request: Request) -> Response:
        return JSONResponse(ollama_models.running(server.names[0], server.size, server.created, server.window()))

    async def show(request: Request) -> Response:
        name = ollama_models.requested_name(await server.read_body(request))
        if name not in server.names:
            raise server.unknown_model(name, "model")
        return JSONResponse(ollama_models.show(name, server.created, server.window()))

    async def version(request: Request) -> Response:
        return JSONResponse(ollama_models.version())

    return [
        Route("/v1/completions", server.answer_endpoint(completions.parse), methods=["POST"]),
        Route("/v1/responses", server.answer_endpoint(responses.parse), methods=["POST"]),
        Route("/v1/messages", server.answer_endpoint(anthropic.parse), methods=["POST"]),
        Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
        Route("/api/chat", server.answer_endpoint(ollama.parse_chat, any_type=True), methods=["POST"]),
        Route("/api/generate", server.answer_endpoint(ollama.parse_generate, any_type=True), methods=["POST"]),
        Route("/api/tags", tags),
        Route("/api/ps", running),
        Route("/api/show", show, methods=["POST"]),
        Route("/api/version", version),
    ]
