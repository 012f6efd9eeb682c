"""The tokenizer of a checkpoint: chat templates, bytes of tokens, and the patch grid of images, by mistral_common."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from mistral_common.exceptions import MistralCommonException
from mistral_common.protocol.instruct.chunk import ImageChunk, ImageURLChunk
from mistral_common.protocol.instruct.messages import ChatMessage
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import Function
from mistral_common.protocol.instruct.tool_calls import Tool as MistralTool
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.base import SpecialTokens, TokenizerVersion
from mistral_common.tokens.tokenizers.image import ImageConfig, ImageEncoder, ImageEncoding
from mistral_common.tokens.tokenizers.instruct import (
    InstructTokenizerV3,
    InstructTokenizerV7,
    InstructTokenizerV11,
    InstructTokenizerV13,
    InstructTokenizerV15,
)
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer, load_image_encoder
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from pixtral_cli.chat.tools import Tool
from pixtral_cli.engines.local.config import SUPPORTED_HINT, Params, verify_hint
from pixtral_cli.engines.local.tokens import limits
from pixtral_cli.engines.local.tokens.tool_tokens import tool_tokens
from pixtral_cli.engines.local.tokens.transformers_tokenizer import tekken_arguments
from pixtral_cli.errors import ModelError, UsageError
from pixtral_cli.images.transform import size_in_patches
from pixtral_cli.util.lru import LruCache

if TYPE_CHECKING:
    from pixtral_cli.engines.local.tokens.vocabulary import Vocabulary

TEMPLATES = {
    "v3": InstructTokenizerV3,
    "v7": InstructTokenizerV7,
    "v11": InstructTokenizerV11,
    "v13": InstructTokenizerV13,
    "v15": InstructTokenizerV15,
}
TEKKEN, TOKENIZER = "tekken.json", "tokenizer.json"
ENCODE_CACHE_BYTES = 32 << 20  # of encoded texts and their tokens
ENTRY_BYTES, TOKEN_BYTES = 300, 36  # of Python objects: an entry of the cache beside its text, and each token of it


class CachingTekkenizer(Tekkenizer):
    """A Tekkenizer with a cache of encoded texts, since every turn encodes the whole conversation again.

    Names of tokens are computed when requested: computing all of them takes as long as the rest of reading the file.
    """

    _initialized = False

    def __init__(
        self, vocab: Any, special_tokens: Any, pattern: Any, vocab_size: Any, num_special_tokens: Any, version: Any, **kwargs: Any
    ) -> None:  # fmt: skip
        limits.check_settings(vocab, pattern, vocab_size, num_special_tokens)
        super().__init__(vocab, special_tokens, pattern, vocab_size, num_special_tokens, version, **kwargs)
        self._encoded: LruCache[str, list[int]] = LruCache(ENCODE_CACHE_BYTES)
        self._initialized = True

    def id_to_piece(self, token_id: int) -> str:
        return super().id_to_piece(token_id) if self._initialized else ""

    def vocab(self) -> list[str]:
        return [self.id_to_piece(token) for token in range(self.n_words)]

    def encode(self, s: str, bos: bool, eos: bool) -> list[int]:
        tokens = self._encoded.get(s)
        if tokens is None:
            with limits.translate_rust_panics("the tokenizer's pattern fails on this text"):
                tokens = super().encode(s, False, False)
            self._encoded.put(s, tokens, ENTRY_BYTES + sys.getsizeof(s) + TOKEN_BYTES * len(tokens))
        return [*([self.bos_id] if bos else ()), *tokens, *([self.eos_id] if eos else ())]


class PatchGridEncoder(ImageEncoder):
    """Encodes a placeholder image, with one pixel for each image token, so that no pixels of the image are decoded."""

    def __call__(self, content: ImageChunk | ImageURLChunk) -> ImageEncoding:
        assert isinstance(content, ImageChunk)
        columns, rows = content.image.size
        tokens = ([self.special_ids.img] * columns + [self.special_ids.img_break]) * rows
        tokens[-1] = self.special_ids.img_end
        return ImageEncoding(tokens, np.empty((3, 0, 0), dtype=np.float32))


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """The image tokens of an image, in columns and rows, and the size in pixels to which it is resized."""

    columns: int
    rows: int
    width: int
    height: int

    @property
    def tokens(self) -> int:
        """The number of tokens, with the break or end token after each row."""
        return (self.columns + 1) * self.rows


class Tokenizer:
    """The tekken.json (in transformers' format, tokenizer.json) of a checkpoint.

    Raises ModelError if it does not match `params`. `think_tokens`: those around reasoning; `tool_tokens`: those of
    tool calls; None where the chat template has none.
    """

    def __init__(self, folder: Path, params: Params, name: str) -> None:
        file = _file(folder, params, name)
        with limits.translate_library_errors(file, name):
            self._tekken = _read(file, params)
            _check_agreement(self._tekken, params, name)
            self.images: ImageConfig | None = self._tekken.image if params.vision else None
            self.eos: int = self._tekken.eos_id
            self.image_token: int = params.vision.image_token_id if params.vision else -1
            self._chat = _template(self._tekken, name)
            self.think_tokens = _think_tokens(self._tekken)
            self.tool_tokens = tool_tokens(self._tekken)
        # In the template of v3 a message has either text or calls.
        self.has_text_with_calls = self._tekken.version >= TokenizerVersion.v7
        # The template of v15 has no reasoning in a system prompt.
        self.thinks_in_system_prompt = self.think_tokens is not None and self._tekken.version.value == "v13"

    def encode(self, messages: list[ChatMessage], tools: Sequence[Tool] = ()) -> list[int]:
        """The tokens of a chat with these tools, by the template of this tokenizer's version. Raises UsageError."""
        if tools and self.tool_tokens is None:
            raise UsageError("This model's chat template has no tools", "Leave them out", "tools")
        functions = [
            MistralTool(function=Function(name=tool.name, description=tool.description, parameters=tool.parameters))
            for tool in tools
        ]
        try:
            request = ChatCompletionRequest(messages=messages, tools=functions or None)
            return list(self._chat.encode_chat_completion(request).tokens)
        except (MistralCommonException, ValueError) as error:
            raise UsageError(f"The conversation cannot be encoded: {error}"[:120]) from error

    def check_bias(self, bias: Mapping[int, float]) -> None:
        """Raises UsageError for a token that is not in the vocabulary."""
        for token in bias:
            if not 0 <= token < self._tekken.n_words:
                last = self._tekken.n_words - 1
                raise UsageError(
                    f"logit_bias names token {str(token)[:20]}, the tokens are 0 to {last}", field="logit_bias"
                )

    @cached_property
    def longest_token(self) -> int:
        """The number of bytes of the longest token."""
        return max(len(self.bytes_of(token)) for token in range(self._tekken.n_words))

    @cached_property
    def vocabulary(self) -> "Vocabulary":
        """The vocabulary in llguidance's form, for constrained decoding."""
        from mistral_common.guidance.tokenizer import MistralLLGTokenizer

        from pixtral_cli.engines.local.tokens.vocabulary import Vocabulary

        return Vocabulary(MistralLLGTokenizer(self._tekken))

    def bytes_of(self, token: int) -> bytes:
        """The bytes of a token; b"" for a special token or one outside the vocabulary."""
        return self._tekken.id_to_byte_piece(token) if token < self._tekken.n_words else b""

    def is_special(self, token: int) -> bool:
        """Whether a token is a special one."""
        return token < self._tekken.num_special_tokens

    def grid(self, size: tuple[int, int]) -> PatchGrid:
        """The grid of an image of this width and height, as mistral_common computes it."""
        assert self.images
        step = self.images.image_patch_size * self.images.spatial_merge_size
        width, height = size_in_patches(size, self.images.max_image_size, step)
        return PatchGrid(width // step, height // step, width, height)


def _file(folder: Path, params: Params, name: str) -> Path:
    """The tokenizer file of a checkpoint. Raises ModelError when there is none."""
    path = folder / TEKKEN
    if not path.is_file() and params.transformers_format and (folder / TOKENIZER).is_file():
        path = folder / TOKENIZER
    if not path.is_file():
        raise ModelError(f"{path.name} of {name} is missing", verify_hint(name))
    return path


def _read(path: Path, params: Params) -> CachingTekkenizer:
    data = limits.read_file(path, params.vocab_size)
    if path.name == TOKENIZER:
        return CachingTekkenizer(**tekken_arguments(data, params.vision))
    del data
    return cast(CachingTekkenizer, CachingTekkenizer.from_file(path))


def _think_tokens(tekken: Tekkenizer) -> tuple[int, int] | None:
    """The tokens [THINK] and [/THINK]; None where the template has none."""
    if tekken.version < TokenizerVersion.v13:
        return None
    try:
        start, end = (
            tekken.get_special_token(token.value) for token in (SpecialTokens.begin_think, SpecialTokens.end_think)
        )
    except ValueError:
        return None
    return start, end


def _template(tekken: CachingTekkenizer, name: str) -> MistralTokenizer[Any, Any, Any, Any, Any]:
    """The chat template of a tokenizer's version. Raises ModelError for an unknown version."""
    version = tekken.version
    if version.value not in TEMPLATES:
        raise ModelError(
            f"tekken.json of {name} is of version {version.value}, known are {', '.join(TEMPLATES)}", SUPPORTED_HINT
        )
    encoder = None
    if tekken.image:
        encoder = PatchGridEncoder(tekken.image, load_image_encoder(tekken.image, tekken).special_ids)
    template = TEMPLATES[version.value](tekken, image_encoder=encoder)
    return MistralTokenizer(
        template, get_validator(version, ValidationMode.test), get_normalizer(version, tekken.model_settings_builder)
    )


def _check_agreement(tekken: CachingTekkenizer, params: Params, name: str) -> None:
    """Raises ModelError where tokenizer and model contradict each other."""
    vision, images = params.vision, tekken.image
    problem = ""
    if tekken.n_words > params.vocab_size:
        problem = f"has {tekken.n_words} tokens, the model {params.vocab_size}"
    elif vision and not images:
        problem = "has no image configuration, the model has a vision encoder"
    elif vision and images:
        step = images.image_patch_size * images.spatial_merge_size
        largest = math.ceil(images.max_image_size / step) * step
        if images.image_patch_size != vision.patch_size or images.spatial_merge_size != vision.spatial_merge_size:
            problem = f"cuts patches of {images.image_patch_size} pixels, the model {vision.patch_size}"
        elif largest // vision.patch_size > vision.image_size // vision.patch_size:
            problem = f"sends images of {largest} pixels, the model takes {vision.image_size}"
        elif tekken.get_special_token("[IMG]") != vision.image_token_id:
            problem = f"has another image token than the model's {vision.image_token_id}"
    if problem:
        raise ModelError(f"tekken.json of {name} {problem}", verify_hint(name))
