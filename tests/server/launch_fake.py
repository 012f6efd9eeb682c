"""`pixtral serve` over a fake engine's process: PORT STATE [running]."""

import sys
from pathlib import Path

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.engines.resident import ModelSpec, socket_folder
from pixtral_cli.server.serve import ServeOptions, run

CHILD = (sys.executable, "-m", "tests.server.fake_child")

if __name__ == "__main__":
    state = Path(sys.argv[1])
    what = ModelSpec("fake", "/nowhere", running=4)
    run(
        ServeOptions(port=0),
        what,
        socket_folder(state),
        Sampling(),
        ready=lambda url: print(url, flush=True),
        command=CHILD,
    )
