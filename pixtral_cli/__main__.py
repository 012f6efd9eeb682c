"""The `pixtral` command: Ctrl-C ends it silently from its first instant on, before the command line is even loaded.

It imports nothing at its head but what the interpreter has loaded already.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(argv: "Sequence[str] | None" = None) -> "NoReturn":
    """The console script: never returns."""
    try:
        import signal

        signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # nothing is open yet: there is nothing to undo
        from pixtral_cli import command_line

        command_line.main(argv)
    except KeyboardInterrupt:
        os._exit(130)


if __name__ == "__main__":
    main()
