"""Reads a tekken tokenizer from tokenizer.json, the file of repositories in Hugging Face transformers' format."""

import base64
import json
from itertools import pairwise
from typing import Any

from mistral_common.tokens.tokenizers.base import TokenizerVersion
from mistral_common.tokens.tokenizers.image import ImageConfig
from mistral_common.tokens.tokenizers.model_settings_builder import ModelSettingsBuilder

from pixtral_cli.engines.local.config import VisionParams

# The special tokens that the template of a version needs, the newest version first.
VERSION_TOKENS = {
    "v15": ("[MODEL_SETTINGS]", "[/MODEL_SETTINGS]"),
    "v13": ("[THINK]", "[/THINK]"),
    "v11": ("[ARGS]", "[CALL_ID]"),
    "v7": ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
}


def tekken_arguments(data: bytes, vision: VisionParams | None) -> dict[str, Any]:
    """The arguments of a `Tekkenizer` for the tokenizer.json with this content.

    Raises ValueError, LookupError or TypeError for another kind of tokenizer.
    """
    content = json.loads(data)
    model = content["model"]
    added = {token["id"]: token["content"] for token in content["added_tokens"]}
    count = next(token for token in range(len(added) + 1) if token not in added)  # special tokens, which come first
    ordered = sorted((token, piece) for piece, token in model["vocab"].items() if token >= count)
    if [token for token, _ in ordered] != list(range(count, count + len(ordered))):
        raise ValueError("token ids are not consecutive")
    _check_merges(model)
    byte_of = _bytes_by_character()
    encoded = [bytes(byte_of[character] for character in piece) for _, piece in ordered]
    version = next((name for name, needed in VERSION_TOKENS.items() if {*needed} <= {*added.values()}), "v3")
    return {
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(data).decode(), "token_str": None}
            for rank, data in enumerate(encoded)
        ],
        "special_tokens": [{"rank": token, "token_str": added[token], "is_control": True} for token in range(count)],
        "pattern": _pattern(content["pre_tokenizer"]),
        "vocab_size": count + len(ordered),
        "num_special_tokens": count,
        "version": TokenizerVersion(version),
        **({"model_settings_builder": ModelSettingsBuilder.none()} if version == "v15" else {}),
        "image_config": vision and ImageConfig(vision.patch_size, vision.image_size, vision.spatial_merge_size),
    }


def _check_merges(model: dict[str, Any]) -> None:
    """Raises ValueError unless merges are in the order of token ids, as tekken requires."""
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    results = [model["vocab"][left + right] for left, right in merges]
    if model["type"] != "BPE" or any(later < earlier for earlier, later in pairwise(results)):
        raise ValueError("it is not a byte-pair encoding in the order of token ids")


def _pattern(pre_tokenizer: dict[str, Any]) -> str:
    """The regular expression that splits text before byte-pair encoding."""
    steps = pre_tokenizer.get("pretokenizers", [pre_tokenizer])
    return str(next(step["pattern"]["Regex"] for step in steps if step["type"] == "Split"))


def _bytes_by_character() -> dict[str, int]:
    """GPT-2's printable characters for bytes: visible Latin-1 characters stand for themselves, the others begin at 256."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + n): byte for n, byte in enumerate(others)}
