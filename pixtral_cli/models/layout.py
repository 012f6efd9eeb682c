"""Which files make a model in mistral format, and which of them are missing. Reads names, never contents."""

import re
from collections.abc import Iterable
from pathlib import Path

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
PARAMS = "params.json"
TOKENIZER = "tekken.json"
WEIGHTS = "consolidated.safetensors"
INDEX = "consolidated.safetensors.index.json"
PICKLE = "consolidated.00.pth"
SHARD = re.compile(r"consolidated-(\d{5})-of-(\d{5})\.safetensors")


def wanted(names: Iterable[str]) -> list[str]:
    """Those of a repository's or a folder's files that make the model, small ones first, nothing twice.

    Weights in several forms count once: one safetensors file, else shards and their index, else a pickle.
    """
    there = set(names)
    shards = sorted(name for name in there if SHARD.fullmatch(name))
    weights = next((form for form in ([WEIGHTS], [INDEX, *shards] if shards else [], [PICKLE]) if there & {*form}), [])
    return [name for name in (PARAMS, TOKENIZER, *weights) if name in there]


def lacking(names: Iterable[str]) -> list[str]:
    """What a list of files lacks to be a whole model; empty when nothing does."""
    have = wanted(names)
    lack = [name for name in (PARAMS, TOKENIZER) if name not in have]
    shards = [found for name in have if (found := SHARD.fullmatch(name))]
    if shards:
        count, total = {int(shard[1]) for shard in shards}, int(shards[0][2])
        lack += [f"consolidated-{n:05}-of-{total:05}.safetensors" for n in range(1, total + 1) if n not in count]
    elif not {WEIGHTS, PICKLE} & {*have}:
        lack.append(WEIGHTS)
    return lack


def names(folder: Path) -> list[str]:
    """The files of a folder; broken links do not count. Empty when it isn't there or cannot be read."""
    try:
        return [entry.name for entry in folder.iterdir() if entry.is_file()]
    except OSError:
        return []


def files(folder: Path) -> list[Path]:
    """The model's files in a folder."""
    return [folder / name for name in wanted(names(folder))]


def missing(folder: Path) -> list[str]:
    """The files that a folder lacks to be a whole model; empty when it is one."""
    return lacking(names(folder))


def human(size: float) -> str:
    """Bytes as people read them: 23.6 GiB."""
    unit = 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {UNITS[unit]}" if unit else f"{size} bytes"
