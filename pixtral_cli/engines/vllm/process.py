"""A `vllm serve` process: started through `guard`, followed through its log, stopped."""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from pixtral_cli.engines.remote.errors import Endpoint
from pixtral_cli.engines.vllm import log as vllm_log
from pixtral_cli.engines.vllm.command import VllmOptions, build_command, build_environment
from pixtral_cli.errors import PixtralError

GUARD = Path(__file__).with_name("guard.py")
STOP_TIMEOUT = 15.0  # seconds in which a vLLM that was asked to end has ended
LOGS_KEPT = 10  # that are kept
FAILURE_TAIL = 400_000  # bytes of a log that are searched for a reason


class VllmProcess:
    """A vLLM that starts or serves. `doing` and `loaded` come from its log; `last_output_at`: when the log last grew."""

    def __init__(self, words: list[str], env: dict[str, str], socket: Path, log: Path) -> None:
        self.log = log
        self.doing = "importing its libraries"
        self.loaded = 0.0
        self.last_output_at = time.monotonic()
        self._read = 0
        guard = [sys.executable, "-I", "-S", str(GUARD), str(STOP_TIMEOUT), str(socket)]
        with log.open("wb") as file:
            self._guard = subprocess.Popen(
                [*guard, *words],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env,
                start_new_session=True,  # Ctrl-C is meant for us
            )

    @property
    def ended(self) -> bool:
        return self._guard.poll() is not None

    def read_log(self) -> None:
        """Read what is new in the log."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole, end, _ = new.rpartition(b"\n")
        if not end:
            return
        self._read += len(whole) + 1
        self.last_output_at = time.monotonic()
        for line in whole.decode(errors="replace").splitlines():
            doing, loaded = vllm_log.parse_progress(line)
            self.doing = doing or self.doing
            self.loaded = loaded or self.loaded

    def failure(self) -> PixtralError:
        """The error that says why it has ended, with the path of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - FAILURE_TAIL))
            error = vllm_log.explain_failure(file.read().decode(errors="replace"), self._guard.wait())
        hint = f"{error.hint}. " if error.hint else ""
        return type(error)(error.message, f"{hint}Its log: {self.log}")

    def exits_within(self, seconds: float) -> bool:
        """Wait up to so many seconds; whether it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(seconds)
        return self.ended

    def request_stop(self) -> None:
        """Let the guard stop it and all its children, without waiting."""
        assert self._guard.stdin
        with contextlib.suppress(OSError):
            self._guard.stdin.close()

    def stop(self) -> None:
        """Stop it and all its children, and wait for that."""
        self.request_stop()
        self._guard.wait()


def start_vllm(options: VllmOptions, folder: Path, name: str, dtype: str, at: Endpoint) -> VllmProcess:
    """Start a vLLM that serves `folder` on a server's socket, for its key.

    Raises UsageError when there is none, PixtralError when it cannot be started.
    """
    assert at.socket and at.key
    words = build_command(options, folder, name, dtype, ("--uds", str(at.socket)))
    return launch(options, words, build_environment(options, at.key), at.socket)


def launch(options: VllmOptions, words: list[str], env: dict[str, str], socket: Path) -> VllmProcess:
    """Start this command line; `socket` is removed at its end. Raises PixtralError when it cannot be started."""
    try:
        return VllmProcess(words, env, socket, _new_log(Path(options.state) / "vllm"))
    except OSError as error:
        raise PixtralError(f"vLLM cannot be started: {error.strerror}", f"Try it: {words[0]} --version") from error


def _new_log(folder: Path) -> Path:
    """The path of a new log; the oldest logs are deleted."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for old in sorted(folder.glob("*.log"))[: 1 - LOGS_KEPT]:
        old.unlink(missing_ok=True)
    return folder / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(2)}.log"
