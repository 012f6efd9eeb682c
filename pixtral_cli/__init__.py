"""Talk with a vision model: from the terminal, and from Python by `Pixtral`."""

TYPE_CHECKING = False  # `typing` takes longer to import than the rest of what starts a command
if TYPE_CHECKING:
    from pixtral_cli.python_api import Answer as Answer
    from pixtral_cli.python_api import Chat as Chat
    from pixtral_cli.python_api import Pixtral as Pixtral
    from pixtral_cli.python_api import Stream as Stream

__version__ = "0.1.0"
__all__ = ["Answer", "Chat", "Pixtral", "Stream", "__version__"]


def __getattr__(name: str) -> object:
    """The names of the Python API, imported when they are asked for: the command line does without them."""
    if name in ("Answer", "Chat", "Pixtral", "Stream"):
        from importlib import import_module

        return getattr(import_module("pixtral_cli.python_api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
