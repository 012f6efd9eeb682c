"""Errors as OpenAI's API names them: status, type and code."""

from pixtral_cli.errors import (
    AnswerLost,
    ContextError,
    ImageError,
    ModelError,
    NetworkError,
    OutOfMemory,
    PixtralError,
    UsageError,
)

INVALID = "invalid_request_error"
SERVER = "server_error"

# Errors with no entry of their own are looked up by their base.
API_ERRORS: dict[type[PixtralError], tuple[int, str, str]] = {
    UsageError: (400, INVALID, "invalid_request"),
    ImageError: (400, INVALID, "invalid_image"),
    ContextError: (400, INVALID, "context_length_exceeded"),
    OutOfMemory: (500, SERVER, "out_of_memory"),
    ModelError: (500, SERVER, "model_error"),
    AnswerLost: (503, SERVER, "answer_lost"),
    NetworkError: (503, SERVER, "engine_unavailable"),
    PixtralError: (500, SERVER, "internal_error"),
}
UNREACHABLE = (400, INVALID, "image_unreachable")  # a NetworkError, where it is an image of the request that failed


def known_class(error: PixtralError) -> type[PixtralError]:
    """The error's class, or the nearest of its bases that is in `API_ERRORS`."""
    return next(kind for kind in type(error).__mro__ if kind in API_ERRORS)
