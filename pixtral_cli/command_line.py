"""Runs the command line; an error becomes one line on stderr and an exit status."""

import _thread
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from pixtral_cli import compat
from pixtral_cli.cli.common import arguments
from pixtral_cli.errors import PixtralError

if TYPE_CHECKING:
    import typer


class TerminationSignal(BaseException):
    """SIGTERM or SIGHUP, raised in the main thread so that `finally` blocks run."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
        self.status = 128 + signum


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """What the `pixtral` command does: never returns, never shows a traceback (unless PIXTRAL_DEBUG is set)."""
    for name in ("SIGTERM", "SIGHUP"):
        signum = getattr(signal, name, None)
        if signum and signal.getsignal(signum) is not signal.SIG_IGN:  # nohup ignores SIGHUP
            signal.signal(signum, _raise_termination)
    signal.signal(signal.SIGINT, _raise_interrupt)
    sys.unraisablehook = _resend_lost_signal
    status = run(sys.argv[1:] if argv is None else argv)
    exit_process(status)


def run(argv: Sequence[str]) -> int:
    """One command line to its exit status."""
    try:
        from pixtral_cli.cli.app import app

        status = _invoke(app, argv)
        _flush()
        return status
    except PixtralError as error:
        return _report(error)
    except BrokenPipeError:
        return 0
    except OSError as error:
        return _report(PixtralError(_os_error_line(error)))
    except KeyboardInterrupt:
        return 130
    except TerminationSignal as ended:
        return ended.status
    except Exception as error:
        if _interrupts:
            return 130
        if isinstance(error, RuntimeError) and "home directory" in str(error):  # as pathlib and others say it
            hint = "Set HOME, or PIXTRAL_HOME to a folder for all that is kept"
            return _report(PixtralError("It is not known which home folder is yours", hint), error)
        # A fault of ours: still one line, and a way to tell us more.
        return _report(PixtralError(f"Internal error: {type(error).__name__}", "PIXTRAL_DEBUG=1 shows where"), error)


def _invoke(app: "typer.Typer", argv: Sequence[str]) -> int:
    import typer.main
    from typer.exceptions import Abort, Exit, TyperException

    if "_PIXTRAL_COMPLETE" in os.environ:  # a shell's completion script asks
        compat.register_shell_completion()
    command = typer.main.get_command(app)
    words = arguments.normalize(argv, list(getattr(command, "commands", ())))
    try:
        result = _parsed(command, words)
    except Abort:
        return 130
    except Exit as left:
        return left.exit_code
    except TyperException as error:
        raise arguments.usage_error(error, words) from error
    except SystemExit as left:  # Typer's own answer to a closed pipe
        if isinstance(left.__context__, BrokenPipeError):
            raise left.__context__ from None
        raise
    return result if isinstance(result, int) else 0


def _parsed(command: Any, words: list[str]) -> object:
    """Run the command; a negative number or a sentence that begins with a dash is an argument where no such option is."""
    from typer.exceptions import TyperException

    try:
        return command.main(args=words, prog_name="pixtral", standalone_mode=False)
    except TyperException as error:
        option = str(getattr(error, "option_name", ""))
        meant = arguments.first_dashed_argument(words, option) if option and "--" not in words else None
        if meant is None:
            raise
        return command.main(args=arguments.positional(words, meant), prog_name="pixtral", standalone_mode=False)


def _report(error: PixtralError, cause: BaseException | None = None) -> int:
    from pixtral_cli import config
    from pixtral_cli.terminal.output.word_wrap import wrapped_for
    from pixtral_cli.util.sanitize import visible

    if config.debug():
        import traceback

        traceback.print_exception(cause or error)
    line = f"pixtral: {visible(error.message)}"
    if error.hint:
        line += f" {visible(error.hint)}" if error.message.endswith((".", "!", "?")) else f". {visible(error.hint)}"
    with contextlib.suppress(OSError):  # stderr may be closed; the exit status remains
        print(wrapped_for(line, sys.stderr), file=sys.stderr, flush=True)
    return error.status


_interrupts: list[int] = []  # compiled code that Ctrl-C cuts short may raise an error of its own instead


def _raise_interrupt(signum: int, frame: FrameType | None) -> None:
    _interrupts.append(signum)
    raise KeyboardInterrupt


def _os_error_line(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {what}" if error.filename is not None else f"Cannot read or write: {what}"


def _raise_termination(signum: int, frame: FrameType | None) -> None:
    raise TerminationSignal(signum)


def _resend_lost_signal(lost: "sys.UnraisableHookArgs") -> None:
    """A signal that came where nothing can be raised, such as in a `__del__`, comes again a moment later."""
    if isinstance(lost.exc_value, KeyboardInterrupt | TerminationSignal):
        _thread.start_new_thread(_resend_signal, (getattr(lost.exc_value, "signum", signal.SIGINT),))
    else:
        sys.__unraisablehook__(lost)


def _resend_signal(signum: int) -> None:
    time.sleep(0.01)
    os.kill(os.getpid(), signum)


def exit_process(status: int) -> NoReturn:
    """End the process at once, with what is still buffered written, or one line when it cannot be.

    The interpreter's own way out would spend up to a second on taking torch apart, after Ctrl-C as well.
    """
    try:
        _flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        status = status or _report(PixtralError(_os_error_line(error)))
    compat.run_exit_functions()
    os._exit(status)


def _flush() -> None:
    if sys.stdout is not None:  # it is None when it was closed before we began
        sys.stdout.flush()
