"""The variants of the architecture that the local engine runs, and the checked params.json of a checkpoint.

A new variant needs a field of `Params` or `VisionParams`, or an entry in the constants below. Imports no torch.
"""

import math
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pixtral_cli.errors import ModelError
from pixtral_cli.models import layout, transformers_config
from pixtral_cli.util import bounded_json

CONTEXT_WINDOW = 128_000  # tokens, where the checkpoint does not say
WINDOW_KEYS = ("max_position_embeddings", "max_seq_len", "max_seqlen", "model_max_length")
MAX_VALUES = {int: 10_000_000, float: 1e12}  # exclusive upper bounds of any size and any RoPE base
FP8 = "fp8_e4m3"
# Keys that other architectures set, for choosing among models. Opening a model fails for any unknown key that is set.
UNSUPPORTED_KEYS = (
    "moe", "lora", "sliding_window", "_sliding_window", "rope_scaling", "q_lora_rank", "kv_lora_rank", "use_biases",
    "multimodal", "audio_encoder",
)  # fmt: skip
# Keys of params.json that do not change the computation. Any other unknown key that is set is an error.
IGNORED_KEYS = frozenset(
    {*WINDOW_KEYS, "max_batch_size", "model_type", "dtype", "torch_dtype", "model_parallel", "metadata", "quantization"}
)
IGNORED_VISION_KEYS = frozenset({"max_image_size", "image_break_token_id", "image_end_token_id"})
# Keys that may have only this value.
FIXED_KEYS = {"causal": True, "use_biases": False, "norm_type": "rmsnorm", "activation": "silu"}
T = TypeVar("T")

SUPPORTED_HINT = "It runs Pixtral, Mistral Small 3.1 and 3.2, Magistral Small, Ministral 3 and models like them"


@dataclass(frozen=True, slots=True)
class Yarn:
    """YaRN context extension (arXiv 2309.00071): `beta` and `alpha` are the paper's fast and slow rotation counts.

    `attention_factor` multiplies queries and keys; without one it is 0.1 ln(factor) + 1, or 1 unless `apply_scale`.
    """

    original_max_position_embeddings: int
    factor: float
    beta: float = 32.0
    alpha: float = 1.0
    apply_scale: bool = True
    attention_factor: float = 0.0

    @property
    def magnitude(self) -> float:
        """The factor of queries and keys."""
        if self.attention_factor:
            return self.attention_factor
        return 0.1 * math.log(self.factor) + 1 if self.apply_scale and self.factor > 1 else 1.0


@dataclass(frozen=True, slots=True)
class PositionScaling:
    """Llama 4's scaling: the query at position p is multiplied by 1 + beta ln(1 + floor(p / original))."""

    original_max_position_embeddings: int
    beta: float


@dataclass(frozen=True, slots=True)
class VisionParams:
    """Sizes of the vision encoder, patch merger and adapter. `image_size`: the longest side of an image in pixels."""

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
    """Sizes of the decoder, the context window in tokens, and the vision encoder, if there is one."""

    dim: int
    n_layers: int
    head_dim: int
    hidden_dim: int
    n_heads: int
    n_kv_heads: int
    norm_eps: float
    vocab_size: int
    rope_theta: float = 1e6
    tied_embeddings: bool = False
    context_window: int = CONTEXT_WINDOW
    yarn: Yarn | None = None
    llama_4_scaling: PositionScaling | None = None
    vision: VisionParams | None = None
    transformers_format: bool = False


def verify_hint(name: str) -> str:
    """The hint of errors about a damaged model."""
    return f"Check and repair the model with: pixtral models verify {name}"


def read_params(folder: Path, name: str) -> Params:
    """The parameters in `folder/params.json`, or in config.json for a model in transformers' format.

    Raises ModelError, which names the value that is not valid or the key that the engine does not support.
    """
    if not folder.is_dir():
        raise ModelError(f"There is no model folder {folder}", "List the models there are with: pixtral models")
    transformers_format = layout.format_of(folder) is layout.TRANSFORMERS
    file = layout.CONFIG if transformers_format else layout.PARAMS_FILE
    return _parse_params(_read_object(folder / file, name), file, name)


def check_config(data: bytes, known: layout.Format, name: str) -> None:
    """Raises ModelError, as `read_params` does, for the content of a params.json or config.json."""
    try:
        raw = bounded_json.parse(data, layout.MAX_JSON_VALUES)
    except ValueError as error:
        raise ModelError(f"{known.config} of {name} is not JSON", verify_hint(name)) from error
    if not isinstance(raw, dict):
        raise ModelError(f"{known.config} of {name} is not a JSON object", verify_hint(name))
    _parse_params(raw, known.config, name)


def _parse_params(raw: dict[str, Any], file: str, name: str) -> Params:
    """The parameters in the content of `file`. Raises ModelError."""
    if transformers_format := file == layout.CONFIG:
        try:
            raw = transformers_config.to_params(raw, name)
        except transformers_config.INVALID_CONFIG_ERRORS as error:
            raise ModelError(f"{file} of {name} does not make sense: {error}"[:120], verify_hint(name)) from error
    checker = _Checker(file, name)
    encoder = checker.object(VisionParams, raw, "vision_encoder", IGNORED_VISION_KEYS)
    yarn, scaling = (
        checker.object(kind, raw, key) for kind, key in ((Yarn, "yarn"), (PositionScaling, "llama_4_scaling"))
    )
    window = next((raw[key] for key in WINDOW_KEYS if raw.get(key)), CONTEXT_WINDOW)
    checker.refuse_unknown({k: v for k, v in raw.items() if k != "vision_encoder"}, Params, IGNORED_KEYS, FIXED_KEYS)
    quantization = raw.get("quantization") or {}
    if isinstance(quantization, dict) and quantization.get("qformat_weight") not in (None, FP8):
        checker.refuse(f"asks for {quantization['qformat_weight']!r} weights")
    values = {**raw, "context_window": window, "vision": encoder, "yarn": yarn, "llama_4_scaling": scaling}
    params = Params(**checker.fields(Params, {**values, "transformers_format": transformers_format}))
    checker.check_agreement(params)
    return params


def _read_object(path: Path, name: str) -> dict[str, Any]:
    """The JSON object in a file. Raises ModelError."""
    try:
        raw = bounded_json.read(path, layout.MAX_JSON_BYTES, layout.MAX_JSON_VALUES)
    except FileNotFoundError:
        raise ModelError(f"{path.name} of {name} is missing", verify_hint(name)) from None
    except OSError as error:
        raise ModelError(f"{path.name} of {name} cannot be read: {error.strerror}", verify_hint(name)) from error
    except ValueError as error:
        raise ModelError(f"{path.name} of {name} is not JSON", verify_hint(name)) from error
    if not isinstance(raw, dict):
        raise ModelError(f"{path.name} of {name} is not a JSON object", verify_hint(name))
    return raw


@dataclass(frozen=True, slots=True)
class _Checker:
    """Checks the content of one file; the methods raise ModelError."""

    file: str
    name: str

    def invalid(self, what: str) -> ModelError:
        """The error about a value that is not valid."""
        return ModelError(f"{self.file} of {self.name}{what}"[:120], verify_hint(self.name))

    def refuse(self, what: str) -> None:
        """Raise the error about something that the engine does not support."""
        raise ModelError(f"{self.file} of {self.name} {what}, which the local engine cannot run"[:160], SUPPORTED_HINT)

    def refuse_unknown(
        self, raw: dict[str, Any], kind: type, ignored: frozenset[str], fixed: dict[str, object] | None = None
    ) -> None:
        """Raise for unknown keys that are set; null, false, zero and empty values count as not set."""
        known = {field.name for field in fields(kind)} | ignored
        fixed = fixed or {}
        unknown = [key for key, value in raw.items() if value and key not in known and fixed.get(key) != value]
        unknown += [
            key for key, value in fixed.items() if (raw.get(key) or raw.get(key) is False) and raw[key] != value
        ]
        if unknown:
            self.refuse(f"asks for {', '.join(map(repr, sorted(set(unknown))[:3]))}")

    def object(self, kind: type[T], raw: dict[str, Any], key: str, ignored: frozenset[str] = frozenset()) -> T | None:
        """The object of a key as an instance of `kind`; None when it is null, false or missing."""
        value = raw.get(key)
        if not value:
            return None
        if not isinstance(value, dict):
            raise self.invalid(f": {key!r} is not an object")
        self.refuse_unknown(value, kind, ignored)
        return kind(**self.fields(kind, value))

    def fields(self, kind: type, raw: dict[str, Any]) -> dict[str, Any]:
        """The values of the fields of `kind`: numbers must be positive, and fields without a default present."""
        values = {}
        for field in fields(kind):
            value = raw.get(field.name)
            if value is None and field.default is MISSING:
                raise self.invalid(f" lacks {field.name!r}")
            if value is None:
                continue
            if field.type in (int, float):
                number = isinstance(value, (int, float) if field.type is float else int)
                if not number or isinstance(value, bool) or not 0 < value < MAX_VALUES[field.type]:
                    raise self.invalid(f": {field.name!r} is {str(value)[:30]!r}")
            elif field.type is bool and not isinstance(value, bool):
                raise self.invalid(f": {field.name!r} is {str(value)[:30]!r}")
            values[field.name] = value
        return values

    def check_agreement(self, params: Params) -> None:
        """Raise for values that contradict each other."""
        vision = params.vision
        problem = ""
        if max(params.n_layers, vision.num_hidden_layers if vision else 0) > 1000:
            problem = f"{params.n_layers} layers are too many"
        elif params.n_heads % params.n_kv_heads:
            problem = f"{params.n_heads} heads do not divide among {params.n_kv_heads} key-value heads"
        elif params.head_dim % 2:
            problem = f"'head_dim' {params.head_dim} is odd"
        elif params.yarn and params.yarn.factor < 1:
            problem = f"yarn's 'factor' {params.yarn.factor} is less than 1"
        elif params.yarn and params.rope_theta <= 1:
            problem = f"'rope_theta' {params.rope_theta} is too small for yarn"
        elif vision and vision.hidden_size % (4 * vision.num_attention_heads):
            problem = (
                f"the vision encoder's {vision.hidden_size} do not divide among {vision.num_attention_heads} heads"
            )
        elif vision and vision.mm_projector_id not in ("", "patch_merge"):
            problem = f"'mm_projector_id' {vision.mm_projector_id!r} is unknown"
        elif vision and vision.spatial_merge_size > 1 and not vision.mm_projector_id:
            problem = "'spatial_merge_size' needs 'mm_projector_id'"
        if problem:
            raise self.invalid(f": {problem}")
