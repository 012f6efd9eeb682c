"""The errors: what went wrong, what to do about it, and the exit status."""


def without_full_stop(text: str) -> str:
    """The text as one to which more can be added: without the full stop at its end, an ellipsis stays."""
    return text[:-1] if text.endswith(".") and not text.endswith("..") else text


class PixtralError(Exception):
    """An error a user can act on.

    `message` says what and why in one line of at most 120 characters; `hint` says what to do and may be empty.
    Text that comes from outside (file names, server bodies) is made harmless where it is shown, not here.
    """

    status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        message = without_full_stop(message)
        super().__init__(message)
        self.message = message
        self.hint = without_full_stop(hint)


class UsageError(PixtralError):
    """The command line, the configuration or a request asks for something that makes no sense.

    `field` names the field of a request that it is about, or is empty.
    """

    status = 2

    def __init__(self, message: str, hint: str = "", field: str = "") -> None:
        super().__init__(message, hint)
        self.field = field


class ImageError(PixtralError):
    """An image is missing, unreadable, of a refused format or over a limit."""

    status = 3


class ModelError(PixtralError):
    """A checkpoint is missing, incomplete, corrupt or not one we can run."""

    status = 4


class NetworkError(PixtralError):
    """A download or a remote engine could not be reached, was refused or took too long."""

    status = 5


class AnswerLost(NetworkError):
    """Who answered was lost in the middle of the answer; asked again, another may answer."""


class ContextError(PixtralError):
    """The prompt and the answer do not fit into the context window."""

    status = 6


class OutOfMemory(PixtralError):
    """The weights, the KV cache or a computation does not fit the memory there is."""

    status = 7


class BatchError(PixtralError):
    """Some lines of a batch failed; the others were written."""

    status = 8
