"""The vision encoder, patch merger and adapter: images to features of the decoder's width, cached by image content."""

from typing import Any

import torch
from torch import Tensor

from pixtral_cli.chat.engine import CacheUse
from pixtral_cli.engines.local.config import Params
from pixtral_cli.engines.local.model.attention import attend_all
from pixtral_cli.engines.local.model.block import norm, residual_dtype, run_block
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.model.rope import rope_table_2d
from pixtral_cli.engines.local.runtime.cancellation import CancelCheck, no_cancel
from pixtral_cli.engines.local.runtime.placement import AvailableMemory, available_memory
from pixtral_cli.engines.local.tokens.encode import PromptImage
from pixtral_cli.util.lru import LruCache

SPARE_COPIES = 4  # features are cached only while the free memory is more than this many times their size


class VisionEncoder:
    """The vision encoder of a loaded model. Images are encoded one by one, since they do not attend to one another.

    `cache_bytes`: the limit of cached features; none are cached while `available` returns too few free bytes.
    """

    def __init__(
        self, weights: Weights, params: Params, cache_bytes: int, available: AvailableMemory = available_memory
    ) -> None:
        assert params.vision
        self._model: Any = weights.model
        self._params = params.vision
        self._device, self._dtype = weights.device, weights.dtype
        self._available = available
        self._cache: LruCache[tuple[str, int, int], Tensor] = LruCache(cache_bytes)

    def features(self, image: PromptImage, check: CancelCheck = no_cancel) -> Tensor:
        """The features of an image's tokens in reading order, without break tokens: (rows * columns, dim)."""
        features = self._cache.get(image.key)
        if features is None:
            features = self.encode(image_pixels(image), check)
            if self._available(self._device) > SPARE_COPIES * features.nbytes:
                self._cache.put(image.key, features, features.nbytes)
        return features

    @property
    def cache_use(self) -> CacheUse:
        """The bytes of cached features and their limit."""
        return CacheUse(self._cache.size, self._cache.limit)

    def clear_cache(self) -> bool:
        """Drop the cached features; False if there were none."""
        return self._cache.clear()

    @torch.inference_mode()
    def encode(self, pixels: Tensor, check: CancelCheck = no_cancel) -> Tensor:
        """Normalised pixels (3, height, width) to features (image tokens, dim); calls `check` before every layer."""
        encoder, params = self._model.vision_encoder, self._params
        patches = encoder.patch_conv(pixels.to(self._device, self._dtype)[None])[0]
        rows, columns = patches.shape[1:]
        head_dim = params.hidden_size // params.num_attention_heads
        rotations = rope_table_2d(head_dim, rows, columns, params.rope_theta).to(self._device)
        states = norm(encoder.ln_pre, patches.flatten(1).T).to(residual_dtype(self._dtype))
        for block in encoder.transformer.layers:
            check()
            states = run_block(block, states, rotations, attend_all)
        states = states.to(self._dtype)
        if params.add_pre_mm_projector_layer_norm:
            states = norm(self._model.pre_mm_projector_norm, states)
        if params.mm_projector_id:
            states = self._model.patch_merger.merging_layer(
                _merge_patches(states, rows, columns, params.spatial_merge_size)
            )
        features: Tensor = self._model.vision_language_adapter(states)
        return features


def _merge_patches(states: Tensor, rows: int, columns: int, size: int) -> Tensor:
    """Patches (rows * columns, dim) to squares of size² patches (N, dim * size²), feature-major as the merger requires."""
    squares = states.view(rows // size, size, columns // size, size, -1)
    return squares.permute(0, 2, 4, 1, 3).flatten(2).flatten(0, 1)


def image_pixels(image: PromptImage) -> Tensor:
    """The image resized and normalised by mistral_common's own code: (3, height, width)."""
    from mistral_common.tokens.tokenizers.image import transform_image

    size = (image.grid.width, image.grid.height)
    return torch.from_numpy(transform_image(image.image.pixels(at_least=size), size))
