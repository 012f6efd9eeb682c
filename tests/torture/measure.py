"""Run as a program: loads each picture named on the command line and prints, a JSON line each, what it cost and said.

Memory is the growth of the process's peak: after the libraries are loaded, and summed from file to file.
"""

import json
import resource
import sys
import time

from pixtral_cli.chat import images
from pixtral_cli.errors import ImageError
from tests.torture.pictures import corners, encoded


def peak() -> float:
    """This process's peak memory so far, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main(sources: list[str]) -> None:
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        images.from_bytes(encoded(corners(), kind), "warm-up").pixels()
    for source in sources:
        before, start, message = peak(), time.perf_counter(), ""
        try:
            images.load(source).pixels((1024, 1024))
        except ImageError as error:
            message = error.message
        seconds = time.perf_counter() - start
        print(json.dumps({"source": source, "seconds": seconds, "growth": peak() - before, "message": message}))


if __name__ == "__main__":
    main(sys.argv[1:])
