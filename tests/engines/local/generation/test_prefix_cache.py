"""A kept KV cache changes how fast an answer comes, never what it says; and it takes no more memory than it must."""

import threading
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right
from torch.utils._python_dispatch import TorchDispatchMode

from pixtral_cli.chat.engine import Chunk, Sampling, Usage
from pixtral_cli.chat.message import Message, assistant, system, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.generation.runner import PREFILL_CHUNK
from pixtral_cli.engines.local.model import attention
from pixtral_cli.engines.local.model import decoder as decoder_module
from pixtral_cli.engines.local.model.attention import causal_mask
from pixtral_cli.engines.local.model.decoder import Span
from pixtral_cli.engines.local.model.kv_cache import GROWTH_POSITIONS, KVCache
from pixtral_cli.engines.local.runtime.timing import PhaseTimer
from pixtral_cli.errors import OutOfMemory
from tests.engines.local.checkpoints import Sizes, build, image

GREEDY = Sampling(temperature=0, max_tokens=6)
IMAGES = [image(96, 40, 1), image(96, 40, 2), image(33, 70, 3)]
PLENTY = 1 << 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("random"))


def engine(folder: Path, chunk: int = 512) -> LocalEngine:
    return LocalEngine(folder, device="cpu", dtype="fp32", prefill_chunk=chunk)


def answer(who: LocalEngine, said: list[Message], sampling: Sampling = GREEDY) -> tuple[str, Usage]:
    chunks: list[Chunk] = list(who.stream(said, sampling))
    assert chunks[-1].usage
    return "".join(chunk.text for chunk in chunks), chunks[-1].usage


def next_logits(who: LocalEngine, said: list[Message]) -> torch.Tensor:
    runner, prompt = who.load(), who._encode(said)
    with runner.prefix_cache.acquire(prompt) as (sequence, _):
        return runner.prefill(prompt, sequence, PhaseTimer())


questions = st.sampled_from(["What is this?", "Why?", "And the second one, is it red?", "x " * 150])
actions = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), questions, st.lists(st.sampled_from(IMAGES), max_size=2)),
        st.tuples(st.just("undo")),
        st.tuples(st.just("regenerate")),
        st.tuples(st.just("edit"), questions, st.lists(st.sampled_from(IMAGES), max_size=2)),
        st.tuples(st.just("system"), st.sampled_from(["", "Be brief.", "Be long."])),
        st.tuples(st.just("clear")),
    ),
    min_size=2,
    max_size=10,
)


@given(todo=actions, chunk=st.sampled_from([5, 64, 512]))
@settings(max_examples=60, deadline=None)
def test_a_kept_cache_never_changes_an_answer(folder: Path, todo: list[Any], chunk: int) -> None:
    """Whatever is asked, undone, edited and said again, the answer is that of an engine that never heard the rest."""
    kept, fresh = engine(folder, chunk), engine(folder)
    instructions: list[Message] = []
    said: list[Message] = []
    for name, *rest in todo:
        if name == "undo":
            said = said[:-2]
        elif name == "clear":
            said = []
        elif name == "system":
            instructions = [system(rest[0])] if rest[0] else []
        elif name == "regenerate":
            said = said[:-1]
        else:
            said = [*(said[:-2] if name == "edit" else said), user(*rest)]
        if not said or said[-1].role != "user":
            continue
        text, _ = answer(kept, instructions + said)
        fresh.close()
        assert text == answer(fresh, instructions + said)[0]
        torch.testing.assert_close(
            next_logits(kept, instructions + said), next_logits(fresh, instructions + said), rtol=0, atol=1e-4
        )
        said = [*said, assistant(text or "(nothing)")]


@pytest.mark.parametrize("chunk", [1, 3, 16, 17, 100])
def test_chunks_anywhere_also_inside_images_equal_the_whole(folder: Path, chunk: int) -> None:
    said = [Message("user", ("a ", IMAGES[0], " b ", IMAGES[2], "c", IMAGES[0])), assistant("No."), user("Why?")]
    torch.testing.assert_close(
        next_logits(engine(folder, chunk), said), next_logits(engine(folder, 10_000), said), rtol=0, atol=1e-4
    )


def test_a_follow_up_computes_only_what_is_new(folder: Path) -> None:
    who = engine(folder)
    said = [user("What is this?", [IMAGES[0]])]
    text, usage = answer(who, said)
    assert usage.cached_tokens == 0
    said += [assistant(text), user("Why?")]
    _, again = answer(who, said)
    new = again.prompt_tokens - usage.prompt_tokens
    assert again.cached_tokens >= usage.prompt_tokens
    assert again.prompt_tokens - again.cached_tokens <= new


def test_under_a_system_prompt_the_image_features_are_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The template moves the system prompt into the newest message, so the KV cache matches little."""
    who = engine(folder)
    said = [system("Be brief."), user("What is this?", [IMAGES[0]])]
    text, _ = answer(who, said)
    vision = who.load()._vision
    assert vision
    monkeypatch.setattr(vision, "encode", None)
    _, usage = answer(who, [*said, assistant(text), user("Why?")])
    assert usage.cached_tokens < 5


def test_images_of_equal_size_are_not_taken_for_one_another(folder: Path) -> None:
    who = engine(folder)
    answer(who, [user("What is this?", [IMAGES[0]])])
    _, usage = answer(who, [user("What is this?", [IMAGES[1]])])
    assert usage.cached_tokens == 2
    _, usage = answer(who, [user("What is this?", [IMAGES[1], IMAGES[0]])])
    assert usage.cached_tokens == 2 + usage.image_tokens // 2


def test_idle_caches_are_bounded_in_bytes_and_the_oldest_forgotten(folder: Path) -> None:
    talks = [[user(f"{number} " * 50 + "begin")] for number in range(6)]
    who = engine(folder)
    answer(who, talks[0])
    size = who.load().prefix_cache._idle[0].cache.size
    who = LocalEngine(folder, device="cpu", dtype="fp32", idle_cache_bytes=5 * size - 1)
    for said in talks:
        answer(who, said)
    cached = [answer(who, said)[1].cached_tokens for said in reversed(talks)]
    assert [count > 20 for count in cached] == [True] * 4 + [False] * 2


def test_the_conversation_of_the_moment_is_kept_at_any_size(folder: Path) -> None:
    who = LocalEngine(folder, device="cpu", dtype="fp32", idle_cache_bytes=0)
    for said in ([user("one " * 50)], [user("two " * 500)]):
        answer(who, said)
        assert answer(who, said)[1].cached_tokens > 50
    assert len(who.load().prefix_cache._idle) == 1


def test_a_conversation_that_branches_early_leaves_the_other_branch_its_cache(folder: Path) -> None:
    who = engine(folder)
    shared = "Lorem ipsum dolor sit amet. " * 10
    long, short = [user(shared + "one " * 300)], [user(shared + "two")]
    answer(who, long)
    text, usage = answer(who, short)
    assert usage.cached_tokens > 50
    assert text == answer(engine(folder), short)[0]
    text, usage = answer(who, long)
    assert usage.cached_tokens == usage.prompt_tokens - 1
    assert text == answer(engine(folder), long)[0]


def test_a_branch_that_memory_is_too_short_for_takes_the_others_cache(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = engine(folder)
    shared = "Lorem ipsum dolor sit amet. " * 10
    answer(who, [user(shared + "one " * 300)])

    def copy(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(KVCache, "copy", copy)
    text, usage = answer(who, [user(shared + "two")])
    assert usage.cached_tokens > 50
    assert text == answer(engine(folder), [user(shared + "two")])[0]
    assert len(who.load().prefix_cache._idle) == 1


def test_what_is_beyond_the_valid_prefix_is_never_read(folder: Path) -> None:
    who = engine(folder)
    said = [user("What is this?", [IMAGES[0]])]
    text, _ = answer(who, said)
    for sequence in who.load().prefix_cache._idle:
        sequence.cache.length -= 8
        with torch.inference_mode():
            for layer in sequence.cache._layers:
                layer[:, :, sequence.cache.length :] = torch.nan
    again, usage = answer(who, said)
    assert usage.cached_tokens > 0
    assert again == text


class Largest(TorchDispatchMode):
    """The bytes of the largest tensor that was made, those of given shapes apart."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.bytes = max(self.bytes, tensor.nbytes)
        return out


def largest_in_prefill(folder: Path, length: int) -> tuple[int, int]:
    """Bytes of the largest tensor made in a prefill of `length` words, and of the KV cache afterwards."""
    who = engine(folder, chunk=64)
    runner = who.load()
    prompt = who._encode([user("a " * length)])
    with runner.prefix_cache.acquire(prompt) as (sequence, _), Largest() as largest:
        sequence.cache.grow(len(prompt.tokens))
        largest.bytes = 0
        runner.prefill(prompt, sequence, PhaseTimer())
    return largest.bytes, sequence.cache.size


def test_memory_of_a_long_prefill_grows_with_the_cache_and_not_the_vocabulary(tmp_path: Path) -> None:
    small, large = build(tmp_path / "small", Sizes(vocab=512)), build(tmp_path / "large", Sizes(vocab=16_000))
    length = 3000
    bytes_small, cache = largest_in_prefill(small, length)
    bytes_large, _ = largest_in_prefill(large, length)
    assert bytes_large <= max(bytes_small, 4 * 16_000)
    assert bytes_small < cache
    assert bytes_large < length * 16_000 * 4 / 50


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "fp16"])
def test_torchs_attention_never_makes_the_whole_table_of_scores(
    folder: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No dispatch mode sees into it: its fused kernel is allowed alone, and must do for every step."""
    monkeypatch.setattr(attention, "supports_attention", lambda *_: False)
    monkeypatch.setattr(decoder_module, "supports_fused_step", lambda *_: False)
    who = LocalEngine(folder, device="cpu", dtype=dtype, prefill_chunk=16)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        _, usage = answer(who, [user("one " * 20, [IMAGES[0]])])
    assert usage.completion_tokens


@pytest.mark.slow
def test_a_full_window_with_an_image_at_its_end_is_read(tmp_path: Path) -> None:
    sizes = Sizes(layers=1, heads=1, kv_heads=1, vocab=512)
    who = LocalEngine(build(tmp_path, sizes), device="cpu", dtype="fp32")
    said = [Message("user", (" a" * 127_960, IMAGES[0], "?"))]
    with Largest() as largest:
        _, usage = answer(who, said, Sampling(temperature=0, max_tokens=4))
    assert 127_980 < usage.prompt_tokens <= 127_996
    assert largest.bytes <= PREFILL_CHUNK["cpu"] * 128_000 * 4, "no more than the mask of a chunk"


def test_growing_keeps_what_was_computed(folder: Path) -> None:
    who, said = engine(folder), []
    for turn in range(4):
        said = [*said, user("word " * 100 * (turn + 1), [IMAGES[turn % 3]])]
        text, usage = answer(who, said)
        assert text == answer(engine(folder), said)[0]
        assert usage.cached_tokens > 0 or turn == 0
        said = [*said, assistant(text or "(nothing)")]


def test_the_cache_grows_in_steps_and_little_is_wasted(folder: Path) -> None:
    runner = engine(folder).load()
    cache = runner._new_cache()
    sizes = set()
    for length in range(0, 5000, 7):
        cache.grow(length)
        assert length <= cache.capacity <= 1.125 * length + 512
        sizes.add(cache.capacity)
    assert len(sizes) < 25


def test_the_cache_never_grows_beyond_the_window(tmp_path: Path) -> None:
    cache = engine(build(tmp_path, Sizes(extra={"max_seq_len": 3000}))).load()._new_cache()
    for length in (2800, 2817, 3000):
        cache.grow(length)
        assert length <= cache.capacity < 3000 + GROWTH_POSITIONS


def test_a_cache_that_does_not_fit_is_refused_with_figures(folder: Path) -> None:
    free = iter([PLENTY, 100_000])  # asked for the weights, then for the cache
    who = LocalEngine(folder, device="cpu", dtype="fp32", available=lambda _: next(free))
    with pytest.raises(OutOfMemory, match=r"The KV cache needs .* of memory, 0.1 MiB is free") as caught:
        list(who.stream([user("word " * 2000)], GREEDY))
    assert caught.value.status == 7
    assert len(caught.value.message) <= 120


def test_idle_caches_make_room_before_a_question_is_refused(folder: Path) -> None:
    free = [PLENTY]
    who = LocalEngine(folder, device="cpu", dtype="fp32", available=lambda _: free[0])
    answer(who, [user("one " * 50)])
    answer(who, [user("two " * 50, [IMAGES[0]])])
    sequences = who.load().prefix_cache
    free[0] = 0
    with pytest.raises(OutOfMemory):
        answer(who, [user("three " * 300)])
    free[0] = PLENTY
    assert len(sequences._idle) == 1
    text, _ = answer(who, [user("three " * 300)])
    assert text == answer(engine(folder), [user("three " * 300)])[0]


def test_threads_that_ask_at_once_get_the_answers_they_would_get_alone(folder: Path) -> None:
    who = engine(folder, chunk=16)
    talks = [[user(f"Question {number}? " * 5, [IMAGES[number % 3]])] for number in range(6)]
    alone = [answer(engine(folder), said)[0] for said in talks]
    found: dict[int, str] = {}

    def ask(number: int) -> None:
        for _ in range(3):
            found[number] = answer(who, talks[number])[0]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(talks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [found[number] for number in range(len(talks))] == alone


def test_two_answers_pulled_in_turns_do_not_mix(folder: Path) -> None:
    who = engine(folder)
    one, two = [user("What is this?", [IMAGES[0]])], [user("What is this?", [IMAGES[1]])]
    texts = ["", ""]
    for pair in zip_longest(who.stream(one, GREEDY), who.stream(two, GREEDY)):
        texts = [text + (chunk.text if chunk else "") for text, chunk in zip(texts, pair, strict=True)]
    assert any(texts)
    assert texts == [answer(engine(folder), said)[0] for said in (one, two)]


def test_several_sequences_in_one_step_compute_what_each_computes_alone(folder: Path) -> None:
    runner = engine(folder).load()
    decoder = runner._decoder
    texts = [[5 + number] * (10 * number + 1) for number in range(4)]
    alone, together = ([runner._new_cache() for _ in texts] for _ in range(2))
    for count in (None, 1, 1):  # whole prompts of several lengths at once, then single tokens
        pieces = [tokens[:count] for tokens in texts]
        expected = [
            decoder.forward(decoder.embed(piece), [Span(cache, len(piece))])[0]
            for piece, cache in zip(pieces, alone, strict=True)
        ]
        spans = [Span(cache, len(piece)) for piece, cache in zip(pieces, together, strict=True)]
        found = decoder.forward(decoder.embed([token for piece in pieces for token in piece]), spans)
        torch.testing.assert_close(found, torch.stack(expected), rtol=0, atol=1e-5)
    assert [cache.length for cache in together] == [len(tokens) + 2 for tokens in texts]


def test_the_mask_for_cuda_hides_what_the_mask_for_others_hides() -> None:
    query, key = torch.randn(1, 8, 5, 16).double(), torch.randn(1, 2, 12, 16).double()
    mask = causal_mask(5, 7, torch.device("cpu"), torch.float64, 16)
    assert mask is not None
    expected = F.scaled_dot_product_attention(query, key, key, attn_mask=mask, enable_gqa=True)
    found = F.scaled_dot_product_attention(query, key, key, attn_mask=causal_lower_right(5, 12), enable_gqa=True)
    torch.testing.assert_close(found, expected)
