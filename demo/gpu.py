"""Take a run to a machine with a GPU, go on there with pictures drawn by all of its cores, and bring the checkpoint back.

    python -m demo.gpu pack runs/NAME FOLDER                  # here: state, vocabulary, typefaces and words, in FOLDER
    python -m demo.gpu train FOLDER OUT --minutes 8 [...]     # there, with the repository and FOLDER; further options are demo.train's
    python -m demo.export OUT pixtral_cli/models/demo         # here, when the exam says so

OUT holds state.pt (to go on from), tekken.json, log.jsonl and export/ in mistral format. The other machine needs no network.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.drawing import fonts, words
from demo.errors import DemoError

KEPT = ("state.pt", "tekken.json", "log.jsonl")


def pack(run: Path, folder: Path) -> int:
    """Copy what training needs and a bare machine lacks; the bytes that it takes."""
    fonts.check()
    for name in ("state.pt", "tekken.json"):
        if not (run / name).exists():
            raise DemoError(f"{run} has no {name}", "python -m demo.train --name NAME trains a run")
        (folder / "run").mkdir(parents=True, exist_ok=True)
        shutil.copy(run / name, folder / "run" / name)
    (folder / "fonts").mkdir(exist_ok=True)
    for face in {*fonts.printed(), *fonts.written(), *fonts.held_out()}:
        shutil.copy(face, folder / "fonts" / face.name)
    if words.DICTIONARY.exists():
        shutil.copy(words.DICTIONARY, folder / "words")
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def train(folder: Path, out: Path, minutes: float, more: Sequence[str]) -> int:
    """Run demo.train from the packed state on the GPU; its exit status. What it wrote is in `out`."""
    name = f"gpu-{os.getpid()}"
    here = Path("runs") / name
    here.mkdir(parents=True)
    shutil.copy(folder / "run" / "tekken.json", here / "tekken.json")
    environment = os.environ | {
        "DEMO_FONTS": str((folder / "fonts").resolve()),
        "DEMO_WORDS": str((folder / "words").resolve()),
    }
    shape = ("--vision-heads", "6", "--vision-hidden", "512", "--vision-layers", "5")
    command = (
        sys.executable, "-m", "demo.train", "--name", name, "--device", "cuda", "--batch", "32", "--minutes", str(minutes),
        "--init", str(folder / "run"), *shape, *more,
    )  # fmt: skip
    status = subprocess.run(command, env=environment, check=False).returncode
    out.mkdir(parents=True, exist_ok=True)
    for kept in KEPT:
        if (here / kept).exists():
            shutil.copy(here / kept, out / kept)
    if (here / "export").exists():
        shutil.copytree(here / "export", out / "export", dirs_exist_ok=True)
    return status


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("run", type=Path)
    packing.add_argument("folder", type=Path)
    training = commands.add_parser("train")
    training.add_argument("folder", type=Path)
    training.add_argument("out", type=Path)
    training.add_argument("--minutes", type=float, default=8)
    given, more = parser.parse_known_args()
    if given.command == "pack":
        print(f"{pack(given.run, given.folder) / 2**20:.0f} MiB in {given.folder}")
    else:
        sys.exit(train(given.folder, given.out, given.minutes, more))


if __name__ == "__main__":
    main()
