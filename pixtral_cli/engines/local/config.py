"""Reads and checks a checkpoint's params.json. Imports no torch."""

import json
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from pixtral_cli.errors import ModelError

CONTEXT_WINDOW = 128_000
WINDOW_KEYS = ("max_position_embeddings", "max_seq_len", "max_seqlen", "model_max_length")
MAX_VALUES = {int: 10_000_000, float: 1e12}  # exclusive upper bounds of any size and any RoPE base
# Keys that change the mathematics of the model when set.
UNSUPPORTED = (
    "moe", "lora", "sliding_window", "_sliding_window", "quantization", "quantization_config", "yarn", "rope_scaling",
    "llama_4_scaling", "q_lora_rank", "kv_lora_rank", "use_biases", "multimodal",
)  # fmt: skip

SUPPORTED_HINT = "It runs checkpoints of the architecture of Pixtral and Mistral Small 3.1"


@dataclass(frozen=True, slots=True)
class VisionParams:
    """Sizes of the vision encoder and of what joins it to the decoder. `image_size` bounds a picture's sides in pixels."""

    hidden_size: int
    image_size: int
    patch_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_channels: int = 3
    rope_theta: float = 1e4
    image_token_id: int = 10
    adapter_bias: bool = True
    spatial_merge_size: int = 1
    add_pre_mm_projector_layer_norm: bool = False
    mm_projector_id: str = ""


@dataclass(frozen=True, slots=True)
class Params:
    """Sizes of the decoder, the context window in tokens, and the vision encoder if there is one."""

    dim: int
    n_layers: int
    head_dim: int
    hidden_dim: int
    n_heads: int
    n_kv_heads: int
    norm_eps: float
    vocab_size: int
    rope_theta: float = 1e6
    context_window: int = CONTEXT_WINDOW
    vision: VisionParams | None = None


def verify_hint(name: str) -> str:
    return f"Check and repair the model with: pixtral models verify {name}"


def read_params(folder: Path, name: str) -> Params:
    """The checked content of `folder/params.json`; raises ModelError naming what is wrong with it."""
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}", "List the models there are with: pixtral models")
    raw = _read_object(folder / "params.json", name)
    for key in UNSUPPORTED:
        if raw.get(key):
            raise ModelError(
                f"params.json of {name} asks for {key!r}, which the local engine cannot run", SUPPORTED_HINT
            )
    vision = raw.get("vision_encoder")
    if vision is not None and not isinstance(vision, dict):
        raise ModelError(f"params.json of {name}: 'vision_encoder' is not an object", verify_hint(name))
    window = next((raw[key] for key in WINDOW_KEYS if raw.get(key)), CONTEXT_WINDOW)
    encoder = VisionParams(**_sizes(VisionParams, vision, name)) if vision else None
    params = Params(**_sizes(Params, {**raw, "context_window": window, "vision": encoder}, name))
    _check(params, name)
    return params


def _read_object(path: Path, name: str) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ModelError(f"params.json of {name} is missing", verify_hint(name)) from None
    except OSError as error:
        raise ModelError(f"params.json of {name} cannot be read: {error.strerror}", verify_hint(name)) from error
    except ValueError as error:
        raise ModelError(f"params.json of {name} is not JSON", verify_hint(name)) from error
    if not isinstance(raw, dict):
        raise ModelError(f"params.json of {name} is not a JSON object", verify_hint(name))
    return raw


def _sizes(kind: type[Params] | type[VisionParams], raw: dict[str, Any], name: str) -> dict[str, Any]:
    """The fields of `kind` in `raw`. Raises ModelError for a number that is not positive or a required one that is missing."""
    values = {}
    for field in fields(kind):
        value = raw.get(field.name)
        if value is None and field.default is MISSING:
            raise ModelError(f"params.json of {name} lacks {field.name!r}", verify_hint(name))
        if value is not None and field.type in (int, float):
            number = isinstance(value, (int, float) if field.type is float else int)
            if not number or not 0 < value < MAX_VALUES[field.type]:
                raise ModelError(f"params.json of {name}: {field.name!r} is {str(value)[:30]!r}", verify_hint(name))
        if value is not None:
            values[field.name] = value
    return values


def _check(params: Params, name: str) -> None:
    vision = params.vision
    wrong = ""
    if max(params.n_layers, vision.num_hidden_layers if vision else 0) > 1000:
        wrong = f"{params.n_layers} layers are too many"
    elif params.n_heads % params.n_kv_heads:
        wrong = f"{params.n_heads} heads do not divide among {params.n_kv_heads} key-value heads"
    elif params.head_dim % 2:
        wrong = f"'head_dim' {params.head_dim} is odd"
    elif vision and vision.hidden_size % (4 * vision.num_attention_heads):
        wrong = f"the vision encoder's {vision.hidden_size} do not divide among {vision.num_attention_heads} heads"
    elif vision and vision.mm_projector_id not in ("", "patch_merge"):
        wrong = f"'mm_projector_id' {vision.mm_projector_id!r} is unknown"
    elif vision and vision.spatial_merge_size > 1 and not vision.mm_projector_id:
        wrong = "'spatial_merge_size' needs 'mm_projector_id'"
    if wrong:
        raise ModelError(f"params.json of {name}: {wrong}"[:120], verify_hint(name))
