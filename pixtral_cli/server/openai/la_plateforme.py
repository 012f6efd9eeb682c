"""What La Plateforme's own client expects and OpenAI's does not: its streams end with the usage, unasked."""

from dataclasses import replace

from starlette.requests import Request

from pixtral_cli.server.openai.requests import EngineRequest


def is_client(request: Request) -> bool:
    """Whether a request comes from La Plateforme's SDK, by its User-Agent."""
    return "mistral" in request.headers.get("user-agent", "").lower()


def with_usage(request: EngineRequest) -> EngineRequest:
    """The request, with the usage in the last chunk of its stream unless it asked for a chunk of its own."""
    return request if request.usage == "apart" else replace(request, usage="last")
