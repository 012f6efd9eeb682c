"""Image features: pixels through the vision encoder and the adapter, kept by what the image shows. Knows no tokens."""

from typing import Any

import torch
from torch import Tensor

from pixtral_cli.engines.local.config import Params
from pixtral_cli.engines.local.model.attention import attend_all, turns_2d
from pixtral_cli.engines.local.model.block import norm, run_block
from pixtral_cli.engines.local.model.loaded import Weights
from pixtral_cli.engines.local.runtime.cancellation import Check, go_on
from pixtral_cli.engines.local.tokens.encode import Placed
from pixtral_cli.util.lru import LruCache

KEPT = 1 << 30  # bytes of features


class Vision:
    """The vision encoder of a loaded model. Each image runs alone: images never attend to one another."""

    def __init__(self, weights: Weights, params: Params, keep: int = KEPT) -> None:
        assert params.vision
        self._model: Any = weights.model
        self._params = params.vision
        self._device, self._dtype = weights.device, weights.dtype
        self._kept: LruCache[tuple[str, int, int], Tensor] = LruCache(keep)

    def features(self, placed: Placed, check: Check = go_on) -> Tensor:
        """One row an image token, in reading order: (rows * columns, dim)."""
        features = self._kept.get(placed.key)
        if features is None:
            features = self.encode(pixels(placed), check)
            self._kept.put(placed.key, features, features.nbytes)
        return features

    def forget(self) -> bool:
        """Drop what is kept; False if there was nothing."""
        return self._kept.clear()

    @torch.inference_mode()
    def encode(self, image: Tensor, check: Check = go_on) -> Tensor:
        """Normalised pixels (3, height, width) to features (image tokens, dim); calls `check` before every layer."""
        encoder, params = self._model.vision_encoder, self._params
        patches = encoder.patch_conv(image.to(self._device, self._dtype)[None])[0]
        rows, columns = patches.shape[1:]
        head_dim = params.hidden_size // params.num_attention_heads
        turns = turns_2d(head_dim, rows, columns, params.rope_theta).to(self._device)
        states = norm(encoder.ln_pre, patches.flatten(1).T)
        for block in encoder.transformer.layers:
            check()
            states = run_block(block, states, turns, attend_all)
        if params.add_pre_mm_projector_layer_norm:
            states = norm(self._model.pre_mm_projector_norm, states)
        if params.mm_projector_id:
            states = self._model.patch_merger.merging_layer(_merged(states, rows, columns, params.spatial_merge_size))
        features: Tensor = self._model.vision_language_adapter(states)
        return features


def _merged(states: Tensor, rows: int, columns: int, size: int) -> Tensor:
    """Patches (rows * columns, dim) to squares of size² patches (…, dim * size²), feature by feature."""
    squares = states.view(rows // size, size, columns // size, size, -1)
    return squares.permute(0, 2, 4, 1, 3).flatten(2).flatten(0, 1)


def pixels(placed: Placed) -> Tensor:
    """The image as the encoder takes it: resized and normalised by mistral_common's own code, (3, height, width)."""
    from mistral_common.tokens.tokenizers.image import transform_image

    size = (placed.grid.width, placed.grid.height)
    return torch.from_numpy(transform_image(placed.image.pixels(at_least=size), size))
