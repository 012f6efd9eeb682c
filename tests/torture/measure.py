"""Run as a program: loads each picture named on the command line and prints, a JSON line each, what it cost and said.

After `--typed` they are taken as a user's own, of any format.

Memory is how far the process's peak rises over what it held before the picture, once the libraries are loaded.
"""

import json
import re
import resource
import sys
import time
from pathlib import Path

from pixtral_cli import images
from pixtral_cli.errors import ImageError
from tests.torture.pictures import corners, encoded

STATUS, FORGET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def memory(field: str) -> float:
    """VmRSS or VmHWM (its peak) in MB. Where there is no /proc, the peak for both, which a parent's size may hide."""
    if STATUS.exists() and (found := re.search(rf"{field}:\s+(\d+) kB", STATUS.read_text())):
        return int(found[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main(sources: list[str]) -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        images.from_bytes(encoded(corners(), kind), "warm-up").pixels()
    typed = sources[:1] == ["--typed"]
    for source in sources[typed:]:
        if FORGET_PEAK.exists():
            FORGET_PEAK.write_text("5")
        before, start, message = memory("VmRSS"), time.process_time(), ""
        try:
            images.load(source, typed=typed).pixels((1024, 1024))
        except ImageError as error:
            message = error.message
        seconds = time.process_time() - start  # of this process alone: the machine may be busy
        print(
            json.dumps({"source": source, "seconds": seconds, "growth": memory("VmHWM") - before, "message": message})
        )


if __name__ == "__main__":
    main(sys.argv[1:])
