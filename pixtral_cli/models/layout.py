"""Which files make a model, in mistral's or in transformers' format, and which of them are missing. Of contents, reads JSON alone."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARAMS_FILE = "params.json"
TOKENIZER_FILE = "tekken.json"
WEIGHTS_FILE = "consolidated.safetensors"
INDEX = "consolidated.safetensors.index.json"
CONFIG = "config.json"
TRANSFORMERS_TOKENIZER = "tokenizer.json"
TRANSFORMERS_WEIGHTS = "model.safetensors"
TRANSFORMERS_INDEX = "model.safetensors.index.json"
PICKLE = "consolidated.00.pth"
SYSTEM_PROMPT = "SYSTEM_PROMPT.txt"
MAX_JSON_BYTES, MAX_JSON_VALUES = 10_000_000, 500_000  # of params.json, an index and a header of safetensors
SHARD_NAME = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)  # in the folder itself, and nothing but weights


@dataclass(frozen=True, slots=True)
class Format:
    """The names of a format's files. Of the tokenizers the first one that is there is the model's."""

    name: str
    config: str
    tokenizers: tuple[str, ...]
    weights: str
    index: str
    pickle: str = ""

    def shard(self, name: str) -> re.Match[str] | None:
        """The number of a shard and how many there are, from its name; None when it has another."""
        return re.fullmatch(rf"{self.weights.removesuffix('.safetensors')}-(\d{{5}})-of-(\d{{5}})\.safetensors", name)

    def select(self, names: Iterable[str], indexed: Collection[str] = ()) -> list[str]:
        """Those of the files that make the model, small ones first, nothing twice.

        Weights in several forms count once: one safetensors file, else shards and their index, else a pickle. `indexed`
        are the shards that the index names; where it has not been read, they are recognised by their names.
        """
        there = set(names)
        shards = sorted(indexed) if indexed else sorted(name for name in there if self.shard(name))
        form = next((form for form in ([self.weights], shards, [self.pickle]) if there & {*form}), [])
        weights = [self.index, *shards] if form is shards else form
        tokenizers = [name for name in self.tokenizers if name in there][:1]
        return [name for name in (self.config, *tokenizers, SYSTEM_PROMPT, *weights) if name in there]

    def missing(self, names: Iterable[str], indexed: Collection[str] = ()) -> list[str]:
        """What a list of files lacks to be a whole model in this format; empty when nothing does."""
        have = self.select(names, indexed)
        lack = [] if self.config in have else [self.config]
        lack += [] if {*self.tokenizers} & {*have} else [self.tokenizers[-1]]
        if {self.weights, self.pickle} & {*have}:
            return lack
        shards = [found for name in have if (found := self.shard(name))]
        total = int(shards[0][2]) if shards else 0
        stem = self.weights.removesuffix(".safetensors")
        whole = sorted(indexed) or [f"{stem}-{n:05}-of-{total:05}.safetensors" for n in range(1, total + 1)]
        return lack + [name for name in whole or [self.weights] if name not in have]


MISTRAL = Format("mistral", PARAMS_FILE, (TOKENIZER_FILE,), WEIGHTS_FILE, INDEX, PICKLE)
TRANSFORMERS = Format(
    "transformers", CONFIG, (TOKENIZER_FILE, TRANSFORMERS_TOKENIZER), TRANSFORMERS_WEIGHTS, TRANSFORMERS_INDEX
)


def choose_format(names: Collection[str], mistral: Collection[str] = (), transformers: Collection[str] = ()) -> Format:
    """The format in which these files are a whole model, mistral's first; of parts, the one whose configuration is there.

    `mistral` and `transformers` are the shards that the formats' indices name, as far as they have been read.
    """
    if not MISTRAL.missing(names, mistral):
        return MISTRAL
    if not TRANSFORMERS.missing(names, transformers) or (CONFIG in names and PARAMS_FILE not in names):
        return TRANSFORMERS
    return MISTRAL


def format_of(folder: Path) -> Format:
    """The format of the model in a folder."""
    indexed = (indexed_shards(folder, known.index) for known in (MISTRAL, TRANSFORMERS))
    return choose_format(file_names(folder), *indexed)


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
    try:
        shards = {*read_json(index)["weight_map"].values()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return []
    sound = all(isinstance(name, str) and SHARD_NAME.fullmatch(name) for name in shards)
    return sorted(shards) if sound else []


def read_json(file: Path) -> Any:
    """The content of a small JSON file. Raises OSError and ValueError."""
    from pixtral_cli.util import bounded_json

    return bounded_json.read(file, MAX_JSON_BYTES, MAX_JSON_VALUES)


def params(folder: Path) -> dict[str, Any]:
    """The content of a folder's params.json, or config.json's in its place; empty where neither makes sense."""
    from pixtral_cli.errors import ModelError
    from pixtral_cli.models import transformers_config

    known = format_of(folder)
    try:
        found = read_json(folder / known.config)
        if known is TRANSFORMERS and isinstance(found, dict):
            found = transformers_config.to_params(found, folder.name)
    except (OSError, ModelError, *transformers_config.NONSENSE):
        return {}
    return found if isinstance(found, dict) else {}


def system_prompt(folder: Path) -> str:
    """The vendor's system prompt, which some repositories bring; "" where there is none, or none that can be read."""
    try:
        return (folder / SYSTEM_PROMPT).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def is_thinking_prompt(text: str) -> bool:
    """Whether a system prompt tells a reasoning model how to think, without which it does not."""
    return "[THINK]" in text


def transformers_weights(folder: Path) -> list[Path]:
    """The weight files of a folder in transformers' format: a single one, or the shards that its index names."""
    if (whole := folder / TRANSFORMERS_WEIGHTS).is_file():
        return [whole]
    return [folder / name for name in indexed_shards(folder, TRANSFORMERS_INDEX)]


def files(folder: Path) -> list[Path]:
    """The files of a model of this family in a folder; none of a model of another."""
    known = format_of(folder)
    if known is TRANSFORMERS and not _is_of_family(folder):
        return []
    return [folder / name for name in known.select(file_names(folder), indexed_shards(folder, known.index))]


def missing(folder: Path) -> list[str]:
    """The files that a folder lacks to be a whole model; empty when it is one."""
    known = format_of(folder)
    return known.missing(file_names(folder), indexed_shards(folder, known.index))


def _is_of_family(folder: Path) -> bool:
    """Whether config.json is of an architecture that pixtral supports; True for one that cannot be read, which is damaged."""
    from pixtral_cli.models import transformers_config

    try:
        return transformers_config.is_of_family(read_json(folder / CONFIG))
    except (OSError, ValueError):
        return True
