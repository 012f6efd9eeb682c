"""Runs a program that a model wrote, in a child process with limited time and memory. Not a sandbox: see --allow-exec."""

import contextlib
import itertools
import os
import secrets
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pixtral_cli.chat.codeblocks import blocks
from pixtral_cli.errors import UsageError
from pixtral_cli.evals.scoring import program_runner

PROGRAM_TIMEOUT = 10  # seconds
MEMORY_LIMIT = 2 << 30  # bytes
FILE_SIZE_LIMIT = 1 << 20  # bytes
TOTAL_SIZE_LIMIT = 64 << 20  # bytes that a program may write in all, files and output together
RUNNER_OVERHEAD = 5  # seconds beyond PROGRAM_TIMEOUT for the runner to start, and to kill remaining processes


def build_program(prompt: str, answer: str, test: str, entry_point: str) -> str:
    """The program to run: the prompt's imports, the answer's code (its code block, else all of it), and the test."""
    code_blocks = [block.text for block in blocks(answer)]
    code = next(
        (block for block in code_blocks if f"def {entry_point}" in block), code_blocks[0] if code_blocks else answer
    )
    body = code if f"def {entry_point}" in code else prompt + code
    imports = prompt.split(f"def {entry_point}")[0]
    return f"{imports}\n{body}\n{test}\ncheck({entry_point})\n"


def program_passes(code: str) -> bool:
    """Whether a program runs to its end and exits with status 0, which a random word returned over a pipe proves.

    Its output is discarded, the processes that it started are killed, and the files in its folder removed. Raises
    UsageError on systems without fork.
    """
    if not hasattr(os, "fork"):
        raise UsageError("Programs that a model wrote are run on Linux and macOS only", "Use pixtral in WSL")
    word = secrets.token_hex(16).encode()
    with _working_folder() as folder, _pipe() as (reading, writing):
        limits = map(str, (PROGRAM_TIMEOUT, MEMORY_LIMIT, FILE_SIZE_LIMIT, TOTAL_SIZE_LIMIT, writing))
        process = subprocess.Popen(
            [sys.executable, "-I", str(Path(program_runner.__file__)), *limits],
            cwd=folder, env={"PATH": os.defpath, "HOME": str(folder)}, start_new_session=True, pass_fds=(writing,),
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.communicate(
                word + b"\n" + code.encode("utf-8", "surrogatepass"), timeout=PROGRAM_TIMEOUT + RUNNER_OVERHEAD
            )
        except subprocess.TimeoutExpired:
            return False
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return process.returncode == 0 and _read(reading, len(word)) == word


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """The ends of a pipe: one to read without blocking, one to write."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def _read(descriptor: int, size: int) -> bytes:
    try:
        return os.read(descriptor, size)
    except BlockingIOError:
        return b""


@contextlib.contextmanager
def _working_folder() -> Iterator[Path]:
    """A temporary folder for the program. It is removed whatever the program did to it or its permissions."""
    parent = Path(tempfile.mkdtemp(prefix="pixtral-"))
    top = os.open(parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        (parent / "program").mkdir()
        yield parent / "program"
    finally:
        with contextlib.suppress(OSError):  # a process is still writing there
            _empty(top)
        os.close(top)
        with contextlib.suppress(OSError):
            parent.rmdir()


def _empty(top: int) -> None:
    """Remove the content of an open folder.

    Inner folders are moved up first, since paths may be longer than the system allows.
    """
    os.fchmod(top, 0o700)
    pending = os.listdir(top)
    unused = map(str, itertools.count())
    while pending:
        name = pending.pop()
        if not _is_folder(name, top):
            os.unlink(name, dir_fd=top)
            continue
        os.chmod(name, 0o700, dir_fd=top)
        inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
        try:
            for entry in [item.name for item in os.scandir(inner)]:
                if _is_folder(entry, inner):
                    os.chmod(entry, 0o700, dir_fd=inner)  # required to move it
                    pending.append(f"moved-{next(unused)}")
                    os.rename(entry, pending[-1], src_dir_fd=inner, dst_dir_fd=top)
                else:
                    os.unlink(entry, dir_fd=inner)
        finally:
            os.close(inner)
        os.rmdir(name, dir_fd=top)


def _is_folder(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode)
