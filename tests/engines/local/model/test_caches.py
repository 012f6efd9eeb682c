"""What the caches of a model ask for before they grow, hold, and let go of."""

import json
from pathlib import Path

import pytest
import torch

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, ToolCall, assistant, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.model.kv_cache import KVCache, position_bytes
from pixtral_cli.engines.local.model.vision import VisionEncoder
from pixtral_cli.engines.local.tokens.encode import encode
from pixtral_cli.errors import ContextError, OutOfMemory
from tests.engines.local.checkpoints import Sizes, build, image

GREEDY = Sampling(temperature=0, max_tokens=4)


def engine(folder: Path, **options: object) -> LocalEngine:
    return LocalEngine(folder, device="cpu", dtype="fp32", **options)  # type: ignore[arg-type]


def test_a_cache_that_grows_asks_for_what_it_holds_twice_for_a_moment(tmp_path: Path) -> None:
    params = engine(build(tmp_path)).params
    asked: list[int] = []
    cache = KVCache(params, torch.device("cpu"), torch.float32, asked.append)
    position = position_bytes(params, torch.float32)
    cache.grow(10)
    cache.length = 10
    cache.grow(300)
    assert asked == [256 * position, 512 * position - 256 * position + 256 * position // params.n_layers]


def test_text_that_cannot_fit_beside_the_images_is_refused_before_it_is_encoded(tmp_path: Path) -> None:
    loaded = engine(build(tmp_path, Sizes(image=96, extra={"max_seq_len": 60})))
    picture = image(96, 96, 1)
    tokens = loaded.measure([user("", [picture])]).prompt_tokens
    text = "a " * (loaded.tokenizer.longest_token * (60 - tokens + 20) // 2)
    with pytest.raises(ContextError, match="takes at least"):
        loaded.measure([user(text, [picture])])


def test_image_features_are_let_go_of_before_an_answer_is_refused(tmp_path: Path) -> None:
    free = [1 << 40]
    loaded = engine(build(tmp_path), available=lambda device: free[0])
    list(loaded.stream([user("hi", [image(96, 40, 1)])], GREEDY))
    assert loaded.cache_use()["image_features"].size > 0
    free[0] = 0
    with pytest.raises(OutOfMemory):
        list(loaded.stream([user("three " * 300)], GREEDY))
    assert loaded.cache_use()["image_features"].size == 0


def test_features_count_in_bytes_and_larger_ones_than_the_cache_are_not_kept(tmp_path: Path) -> None:
    loaded = engine(build(tmp_path))
    weights = loaded.load().weights
    (found,) = encode([user("hi", [image(96, 40, 1)])], loaded.tokenizer, 1000).images
    size = VisionEncoder(weights, loaded.params, 1 << 30).features(found).nbytes
    for limit, kept in ((size - 1, 0), (size, size)):
        encoder = VisionEncoder(weights, loaded.params, limit)
        encoder.features(found)
        assert encoder.cache_use.size == kept


def test_arguments_of_calls_that_cannot_fit_are_refused_before_they_are_encoded(tmp_path: Path) -> None:
    loaded = engine(build(tmp_path, Sizes(extra={"max_seq_len": 60}, version="v7")))
    call = ToolCall("abcdefgh1", "add", json.dumps({"a": "a " * (loaded.tokenizer.longest_token * 60)}))
    history = [user("add"), assistant("", tool_calls=(call,)), Message("tool", ("3",), tool_call_id="abcdefgh1")]
    with pytest.raises(ContextError, match="takes at least"):
        loaded.measure([*history, user("and?")])
