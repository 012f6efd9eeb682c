"""Which files make a model in mistral format, and which of them are missing. Reads names, and of the contents the index."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

PARAMS = "params.json"
TOKENIZER = "tekken.json"
WEIGHTS = "consolidated.safetensors"
INDEX = "consolidated.safetensors.index.json"
TRANSFORMERS_WEIGHTS = "model.safetensors"
TRANSFORMERS_INDEX = "model.safetensors.index.json"
PICKLE = "consolidated.00.pth"
MAX_JSON_BYTES, MAX_JSON_VALUES = 10_000_000, 500_000  # of params.json, an index and a header of safetensors
SHARD = re.compile(r"consolidated-(\d{5})-of-(\d{5})\.safetensors")
SHARD_NAME = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)  # in the folder itself, and nothing but weights


def select_model_files(names: Iterable[str], indexed: Collection[str] = ()) -> list[str]:
    """Those of a repository's or a folder's files that make the model, small ones first, nothing twice.

    Weights in several forms count once: one safetensors file, else shards and their index, else a pickle. `indexed` are
    the shards that the index names; where nobody has read it, they are known by their names.
    """
    there = set(names)
    shards = sorted(indexed) if indexed else sorted(name for name in there if SHARD.fullmatch(name))
    form = next((form for form in ([WEIGHTS], shards, [PICKLE]) if there & {*form}), [])
    weights = [INDEX, *shards] if form is shards else form
    return [name for name in (PARAMS, TOKENIZER, *weights) if name in there]


def missing_from(names: Iterable[str], indexed: Collection[str] = ()) -> list[str]:
    """What a list of files lacks to be a whole model; empty when nothing does."""
    have = select_model_files(names, indexed)
    lack = [name for name in (PARAMS, TOKENIZER) if name not in have]
    if {WEIGHTS, PICKLE} & {*have}:
        return lack
    shards = [found for name in have if (found := SHARD.fullmatch(name))]
    total = int(shards[0][2]) if shards else 0
    whole = sorted(indexed) or [f"consolidated-{n:05}-of-{total:05}.safetensors" for n in range(1, total + 1)]
    return lack + [name for name in whole or [WEIGHTS] if name not in have]


def file_names(folder: Path) -> list[str]:
    """The files of a folder; broken links do not count. Empty when it isn't there or cannot be read."""
    try:
        return [entry.name for entry in folder.iterdir() if entry.is_file()]
    except OSError:
        return []


def indexed_shards(folder: Path, index_name: str = INDEX) -> list[str]:
    """The shards that a folder's index names, in order; none when there is no index or it makes no sense."""
    if not (index := folder / index_name).is_file():
        return []
    from pixtral_cli.util import bounded_json

    try:
        shards = {*bounded_json.read(index, MAX_JSON_BYTES, MAX_JSON_VALUES)["weight_map"].values()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return []
    sound = all(isinstance(name, str) and SHARD_NAME.fullmatch(name) for name in shards)
    return sorted(shards) if sound else []


def params(folder: Path) -> dict[str, Any]:
    """The content of a folder's params.json; empty when there is none or it makes no sense."""
    from pixtral_cli.util import bounded_json

    try:
        found = bounded_json.read(folder / PARAMS, MAX_JSON_BYTES, MAX_JSON_VALUES)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def transformers_weights(folder: Path) -> list[Path]:
    """The weight files of a folder in transformers' format: a single one, or the shards that its index names."""
    if (whole := folder / TRANSFORMERS_WEIGHTS).is_file():
        return [whole]
    return [folder / name for name in indexed_shards(folder, TRANSFORMERS_INDEX)]


def files(folder: Path) -> list[Path]:
    """The model's files in a folder."""
    return [folder / name for name in select_model_files(file_names(folder), indexed_shards(folder))]


def missing(folder: Path) -> list[str]:
    """The files that a folder lacks to be a whole model; empty when it is one."""
    return missing_from(file_names(folder), indexed_shards(folder))
