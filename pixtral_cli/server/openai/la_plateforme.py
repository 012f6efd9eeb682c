"""Compatibility with La Plateforme's SDK, which expects the usage at the end of a stream without asking for it."""

from dataclasses import replace

from starlette.requests import Request

from pixtral_cli.server.openai.requests import EngineRequest


def is_client(request: Request) -> bool:
    """Whether a request was sent by La Plateforme's SDK, according to its User-Agent."""
    return "mistral" in request.headers.get("user-agent", "").lower()


def with_usage(request: EngineRequest) -> EngineRequest:
    """The request with the usage in the last chunk of its stream, unless it asked for it in a chunk of its own."""
    return request if request.usage == "apart" else replace(request, usage="last")
