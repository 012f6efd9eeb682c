"""A `vllm serve` process: started by `guard`, observed through its log, and stopped."""

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
STOP_TIMEOUT = 15.0  # seconds for vLLM to end after it was asked to
LOGS_KEPT = 10
FAILURE_TAIL = 400_000  # bytes at the end of a log in which the cause is searched


class VllmProcess:
    """A vLLM that starts or serves.

    `doing`: the step of the start; `loaded`: the fraction of the weights; both from its log. `last_output_at`: the
    monotonic time at which the log last grew.
    """

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
                start_new_session=True,  # Ctrl-C is for this process
            )

    @property
    def ended(self) -> bool:
        """Whether the process has ended."""
        return self._guard.poll() is not None

    def read_log(self) -> None:
        """Read the new lines of the log and update the progress."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        complete, end, _ = new.rpartition(b"\n")
        if not end:
            return
        self._read += len(complete) + 1
        self.last_output_at = time.monotonic()
        for line in complete.decode(errors="replace").splitlines():
            doing, loaded = vllm_log.parse_progress(line)
            self.doing = doing or self.doing
            self.loaded = loaded or self.loaded

    def failure(self) -> PixtralError:
        """The error that explains why it has ended, with the path of its log."""
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - FAILURE_TAIL))
            error = vllm_log.explain_failure(file.read().decode(errors="replace"), self._guard.wait())
        hint = f"{error.hint}. " if error.hint else ""
        return type(error)(error.message, f"{hint}Its log: {self.log}")

    def exits_within(self, seconds: float) -> bool:
        """Whether the process ends within this time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(seconds)
        return self.ended

    def request_stop(self) -> None:
        """Ask the guard to stop the process and all its children, without waiting."""
        assert self._guard.stdin
        with contextlib.suppress(OSError):
            self._guard.stdin.close()

    def stop(self) -> None:
        """Stop the process and all its children, and wait for their end."""
        self.request_stop()
        self._guard.wait()


def start_vllm(options: VllmOptions, folder: Path, name: str, dtype: str, endpoint: Endpoint) -> VllmProcess:
    """Start a vLLM that serves `folder` on the socket of `endpoint`, with its key.

    Raises UsageError when vLLM is not installed, PixtralError when it cannot be started.
    """
    assert endpoint.socket and endpoint.key
    words = build_command(options, folder, name, dtype, ("--uds", str(endpoint.socket)))
    return launch(options, words, build_environment(options, endpoint.key), endpoint.socket)


def launch(options: VllmOptions, words: list[str], env: dict[str, str], socket: Path) -> VllmProcess:
    """Start vLLM with this command line; `socket` is removed when it ends.

    Raises PixtralError when it cannot be started.
    """
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
