"""Run as a program: loads each model folder named on the command line and prints, a JSON line each, what it cost and said.

Memory is how far the process's peak rises over what it held before, once the libraries are loaded and a model was.
"""

import json
import sys
import traceback
from pathlib import Path

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.errors import PixtralError
from pixtral_cli.models.names import demo_folder
from tests.torture.measure import FORGET_PEAK, memory


def load(folder: Path) -> None:
    engine = LocalEngine(folder, device="cpu", name="evil")
    list(engine.stream([user("hi")], Sampling(temperature=0, max_tokens=1)))
    engine.close()


def main(folders: list[str]) -> None:
    load(demo_folder())
    for folder in folders:
        if FORGET_PEAK.exists():
            FORGET_PEAK.write_text("5")
        before, message, status = memory("VmRSS"), "", 0
        try:
            load(Path(folder))
        except PixtralError as error:
            message, status = error.message, error.status
        except BaseException:
            message = traceback.format_exc()
        growth = memory("VmHWM") - before
        print(json.dumps({"folder": folder, "growth": growth, "message": message, "status": status}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
