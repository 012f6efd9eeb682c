"""The HTTP status, type and code that OpenAI's API has for each error."""

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

# An error without an entry has that of its nearest base class: see `known_class`.
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
UNREACHABLE = (400, INVALID, "image_unreachable")  # for a NetworkError while an image of the request is loaded


def known_class(error: PixtralError) -> type[PixtralError]:
    """The error's class, or the nearest of its bases that is in `API_ERRORS`."""
    return next(kind for kind in type(error).__mro__ if kind in API_ERRORS)
