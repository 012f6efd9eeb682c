"""A program, started with `-I`: runs the Python program on stdin under limits and kills all processes it started.

Arguments: seconds, bytes of memory, bytes of a file, bytes of all that is written, and a file descriptor. The first
line of stdin is written to the descriptor after the program, the rest of stdin, has run to its end. The exit status is
0 if the program's was. Uses the standard library only.
"""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from threading import Event, Thread

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
POLL_INTERVAL = 0.02  # seconds between checks of how much was written
MIN_ENTRY_SIZE = 4096  # bytes that every entry of a folder counts at least


def main(seconds: int, memory: int, file_size: int, total_size: int, descriptor: int) -> int:
    """Run the program in a child process. Returns 0 if it ended with status 0, else 1."""
    word, _, code = sys.stdin.buffer.read().partition(b"\n")
    set_process_option(PR_SET_CHILD_SUBREAPER, 1)  # processes that leave their parent become children of this one
    set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL)  # this process ends with the thread that waits for it
    program = os.fork()
    if program == 0:
        set_process_option(PR_SET_PDEATHSIG, signal.SIGKILL)
        if sys.platform == "linux":
            set_limits(seconds, memory, file_size)
        write = os.write  # the program may replace it
        exec(compile(code.decode("utf-8"), "answer", "exec"), {})
        write(descriptor, word)
        sys.exit(0)  # not os._exit: the program's threads are waited for
    ended = Event()
    watcher = Thread(target=watch, args=(program, seconds, total_size, ended))
    watcher.start()
    _, status = os.waitpid(program, 0)
    ended.set()
    watcher.join()
    kill_children()
    return 0 if status == 0 else 1


def watch(program: int, seconds: int, total_size: int, ended: Event) -> None:
    """Kill the program when its time is over, or its folder or processes have written more than `total_size` bytes."""
    deadline = time.monotonic() + seconds
    folder = str(Path.cwd().parent)
    written: dict[int, int] = {}
    while not ended.wait(POLL_INTERVAL):
        count_writes(os.getpid(), written)
        too_much = sum(written.values()) > total_size or folder_size(folder, total_size) > total_size
        if too_much or time.monotonic() > deadline:
            os.kill(program, signal.SIGKILL)
            return


def folder_size(folder: str, limit: int) -> int:
    """The bytes on disk of a folder's content; counting stops once they exceed the limit."""
    size, pending = 0, [folder]
    while pending and size <= limit:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    size += max(512 * entry.stat(follow_symlinks=False).st_blocks, MIN_ENTRY_SIZE)
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
        except OSError:  # removed meanwhile, or too deep for a path
            continue
    return size


def count_writes(process: int, written: dict[int, int]) -> None:
    """Record in `written` how many bytes a process and its descendants have written to anything. On Linux only."""
    try:
        counters = dict(line.split(": ") for line in Path(f"/proc/{process}/io").read_text().splitlines())
        written[process] = int(counters["wchar"])
        lists = [file.read_text() for file in Path(f"/proc/{process}/task").glob("*/children")]
    except OSError:  # it has ended, or this is another system
        return
    for child in " ".join(lists).split():
        count_writes(int(child), written)


def set_process_option(option: int, value: int) -> None:
    """Call prctl(2) on Linux; do nothing elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def set_limits(seconds: int, memory: int, file_size: int) -> None:
    """Limit this process's address space, CPU time and size of files, in bytes and seconds."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def kill_children() -> None:
    """Kill the children of this process until there are none.

    Elsewhere than on Linux the caller kills the process group.
    """
    listed = Path(f"/proc/self/task/{os.getpid()}/children")
    while listed.exists():
        for child in listed.read_text().split():
            os.kill(int(child), signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.001)
        except ChildProcessError:
            return


if __name__ == "__main__":
    os._exit(main(*map(int, sys.argv[1:])))
