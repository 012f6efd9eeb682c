"""Which files a model consists of, in mistral's or in transformers' format, and which are missing.

Reads only small JSON files.
"""

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
SHARD_NAME = re.compile(r"[\w-][\w.-]*\.safetensors", re.ASCII)  # a file of the folder itself


@dataclass(frozen=True, slots=True)
class Format:
    """The file names of a format.

    `tokenizers`: alternatives, the first that exists is used; `pickle`: an older form of the weights.
    """

    name: str
    config: str
    tokenizers: tuple[str, ...]
    weights: str
    index: str
    pickle: str = ""

    def shard(self, name: str) -> re.Match[str] | None:
        """A match of the shard's number and the number of shards, for the name of a shard; None for any other name."""
        return re.fullmatch(rf"{self.weights.removesuffix('.safetensors')}-(\d{{5}})-of-(\d{{5}})\.safetensors", name)

    def select(self, names: Iterable[str], indexed: Collection[str] = ()) -> list[str]:
        """The names that belong to the model, small files first.

        Of weights in several forms one is selected: a single safetensors file, else shards and their index, else a
        pickle. `indexed`: the shards that the index names; without them shards are recognised by their names.
        """
        present = set(names)
        shards = sorted(indexed) if indexed else sorted(name for name in present if self.shard(name))
        form = next((form for form in ([self.weights], shards, [self.pickle]) if present & {*form}), [])
        weights = [self.index, *shards] if form is shards else form
        tokenizers = [name for name in self.tokenizers if name in present][:1]
        return [name for name in (self.config, *tokenizers, SYSTEM_PROMPT, *weights) if name in present]

    def missing(self, names: Iterable[str], indexed: Collection[str] = ()) -> list[str]:
        """The files that `names` lacks to be a complete model in this format."""
        selected = self.select(names, indexed)
        missing = [] if self.config in selected else [self.config]
        missing += [] if {*self.tokenizers} & {*selected} else [self.tokenizers[-1]]
        if {self.weights, self.pickle} & {*selected}:
            return missing
        shards = [match for name in selected if (match := self.shard(name))]
        total = int(shards[0][2]) if shards else 0
        stem = self.weights.removesuffix(".safetensors")
        expected = sorted(indexed) or [f"{stem}-{n:05}-of-{total:05}.safetensors" for n in range(1, total + 1)]
        return missing + [name for name in expected or [self.weights] if name not in selected]


MISTRAL = Format("mistral", PARAMS_FILE, (TOKENIZER_FILE,), WEIGHTS_FILE, INDEX, PICKLE)
TRANSFORMERS = Format(
    "transformers", CONFIG, (TOKENIZER_FILE, TRANSFORMERS_TOKENIZER), TRANSFORMERS_WEIGHTS, TRANSFORMERS_INDEX
)


def choose_format(names: Collection[str], mistral: Collection[str] = (), transformers: Collection[str] = ()) -> Format:
    """The format in which these files are complete, mistral's if both; of an incomplete model, by its configuration.

    `mistral` and `transformers`: the shards that each format's index names, where it has been read.
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
    """The names of the files in a folder, without broken links. Empty when the folder does not exist or cannot be read."""
    try:
        return [entry.name for entry in folder.iterdir() if entry.is_file()]
    except OSError:
        return []


def indexed_shards(folder: Path, index_name: str = INDEX) -> list[str]:
    """The shards that a folder's index names, sorted; none when there is no index or it is not valid."""
    if not (index := folder / index_name).is_file():
        return []
    try:
        shards = {*read_json(index)["weight_map"].values()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return []
    valid = all(isinstance(name, str) and SHARD_NAME.fullmatch(name) for name in shards)
    return sorted(shards) if valid else []


def read_json(file: Path) -> Any:
    """The content of a JSON file of at most `MAX_JSON_BYTES`. Raises OSError and ValueError."""
    from pixtral_cli.util import bounded_json

    return bounded_json.read(file, MAX_JSON_BYTES, MAX_JSON_VALUES)


def params(folder: Path) -> dict[str, Any]:
    """The content of a folder's params.json, or of its config.json as such; empty where it cannot be read."""
    from pixtral_cli.errors import ModelError
    from pixtral_cli.models import transformers_config

    known = format_of(folder)
    try:
        content = read_json(folder / known.config)
        if known is TRANSFORMERS and isinstance(content, dict):
            content = transformers_config.to_params(content, folder.name)
    except (OSError, ModelError, *transformers_config.INVALID_CONFIG_ERRORS):
        return {}
    return content if isinstance(content, dict) else {}


def system_prompt(folder: Path) -> str:
    """The vendor's system prompt, SYSTEM_PROMPT.txt; "" where there is none or it cannot be read."""
    try:
        return (folder / SYSTEM_PROMPT).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def is_thinking_prompt(text: str) -> bool:
    """Whether a system prompt is the one with which a reasoning model thinks; without it, it does not."""
    return "[THINK]" in text


def transformers_weights(folder: Path) -> list[Path]:
    """The files of the weights in transformers' format: a single one, or the shards that the index names."""
    if (single := folder / TRANSFORMERS_WEIGHTS).is_file():
        return [single]
    return [folder / name for name in indexed_shards(folder, TRANSFORMERS_INDEX)]


def files(folder: Path) -> list[Path]:
    """The files of the model in a folder; empty when it is of an architecture that pixtral does not support."""
    known = format_of(folder)
    if known is TRANSFORMERS and not _is_supported_config(folder):
        return []
    return [folder / name for name in known.select(file_names(folder), indexed_shards(folder, known.index))]


def missing(folder: Path) -> list[str]:
    """The files that a folder lacks to be a complete model."""
    known = format_of(folder)
    return known.missing(file_names(folder), indexed_shards(folder, known.index))


def _is_supported_config(folder: Path) -> bool:
    """Whether config.json is of an architecture that pixtral supports; True for one that cannot be read."""
    from pixtral_cli.models import transformers_config

    try:
        return transformers_config.is_supported_architecture(read_json(folder / CONFIG))
    except (OSError, ValueError):
        return True
