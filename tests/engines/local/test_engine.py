"""Answers of the local engine: text, end, figures, stopping; a failed answer leaves no traces in the next one."""

import gc
import random
import signal
import threading
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.model import block, decoder
from pixtral_cli.engines.local.runtime.timing import PhaseTimer
from pixtral_cli.errors import ModelError, OutOfMemory, UsageError
from tests.engines.local.checkpoints import SPECIALS, Sizes, build, image

GREEDY = Sampling(temperature=0, max_tokens=12)
ASKED = [user("What is this?", [image(96, 40, 1)])]
PLENTY = 1 << 40
SUCCESSOR = Sizes(dim=512, heads=1, kv_heads=1, layers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("random"), seed=3)


@pytest.fixture
def engine(folder: Path) -> LocalEngine:
    return LocalEngine(folder, name="tiny", device="cpu", dtype="fp32")


def text_of(engine: Engine, said: list[Message], sampling: Sampling = GREEDY) -> str:
    return "".join(chunk.text for chunk in engine.stream(said, sampling))


def parrot(folder: Path, says: bytes) -> LocalEngine:
    """A model without layers' influence that says these bytes, one token a byte, then ends its text.

    Each token's embedding is one axis; the output of that axis is the token that follows.
    """
    follows = dict(zip([4, *(byte + SPECIALS for byte in says)], [*(byte + SPECIALS for byte in says), 2], strict=True))
    assert len(follows) == len(says) + 1, "each byte may come once"
    return successor(folder, follows)


def successor(folder: Path, follows: dict[int, int], sizes: Sizes = SUCCESSOR) -> LocalEngine:
    """A model whose every token is followed by one certain token."""
    build(folder, sizes)
    state = load_file(folder / "consolidated.safetensors")
    state = {name: torch.zeros_like(tensor) if name.startswith("layers") else tensor for name, tensor in state.items()}
    state["tok_embeddings.weight"] = torch.eye(512)
    state["norm.weight"] = torch.ones(512)
    output = torch.zeros(512, 512)
    for token, then in follows.items():
        output[then, token] = 1
    state["output.weight"] = output
    save_file(state, folder / "consolidated.safetensors")
    return LocalEngine(folder, device="cpu", dtype="fp32")


def test_the_last_chunk_alone_carries_reason_usage_and_timings(engine: LocalEngine) -> None:
    *chunks, last = engine.stream(ASKED, GREEDY)
    assert all(chunk.text and not (chunk.finish_reason or chunk.usage or chunk.timings) for chunk in chunks)
    assert last.finish_reason == "length"
    assert last.usage
    assert last.usage.completion_tokens == 12
    assert last.usage.image_tokens == (6 + 1) * 3
    assert last.usage.prompt_tokens == engine.measure(ASKED).prompt_tokens
    times = last.timings
    assert times
    assert times.load > 0
    assert 0 < times.prefill < times.ttft
    assert 0 < times.encode < times.ttft
    assert times.load + times.ttft + times.decode == pytest.approx(times.total)
    assert times.peak_memory > 1 << 25


def test_loading_waits_for_the_first_pull_and_happens_once(engine: LocalEngine) -> None:
    stream = engine.stream(ASKED, GREEDY)
    assert engine._runner is None
    list(stream)
    runner = engine._runner
    assert runner is engine.load()
    assert [*engine.stream(ASKED, GREEDY)][-1].timings.load < 0.01  # type: ignore[union-attr]
    assert runner is engine._runner


def test_threads_that_load_at_once_load_once(engine: LocalEngine) -> None:
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(engine.load())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(found) == 4
    assert len({id(runner) for runner in found}) == 1


def test_a_closed_engine_answers_again(engine: LocalEngine) -> None:
    before = text_of(engine, ASKED)
    engine.close()
    assert text_of(engine, ASKED) == before


def test_an_immediate_end_of_text_is_an_empty_answer(tmp_path: Path) -> None:
    chunks = list(successor(tmp_path, {4: 2}).stream([user("hi")], Sampling()))
    assert [(chunk.text, chunk.finish_reason) for chunk in chunks] == [("", "stop")]
    assert chunks[0].usage
    assert chunks[0].usage.completion_tokens == 0
    assert chunks[0].timings
    assert chunks[0].timings.ttft > 0


def test_an_emoji_over_four_tokens_comes_in_one_piece(tmp_path: Path) -> None:
    chunks = list(parrot(tmp_path, "a🦓b é".encode()).stream([user("hi")], Sampling(temperature=0)))
    assert [chunk.text for chunk in chunks] == ["a", "🦓", "b", " ", "é", ""]
    assert chunks[-1].finish_reason == "stop"


def test_a_character_cut_by_the_limit_is_left_out(tmp_path: Path) -> None:
    chunks = list(parrot(tmp_path, "a🦓b".encode()).stream([user("hi")], Sampling(temperature=0, max_tokens=4)))
    assert [chunk.text for chunk in chunks] == ["a", ""]
    assert chunks[-1].finish_reason == "length"


def test_special_tokens_the_model_utters_are_no_text(tmp_path: Path) -> None:
    a, b = ord("a") + SPECIALS, ord("b") + SPECIALS
    engine = successor(tmp_path, {4: a, a: 10, 10: 3, 3: b, b: 2})
    assert text_of(engine, [user("hi")]) == "ab"


@pytest.mark.parametrize(
    ("stop", "text"),
    [
        (("d",), "abc"),
        (("cd",), "ab"),
        (("zz", "bcdefg"), "a"),
        (("cdx", "de"), "abc"),
        (("abcdefghij",), "abcdefgh"),
        (("efgh",), "abcd"),
        (("é", ""), "abcdefgh"),
    ],
)
def test_an_answer_ends_before_a_stop_string_that_straddles_chunks(
    tmp_path: Path, stop: tuple[str, ...], text: str
) -> None:
    chunks = list(parrot(tmp_path, b"abcdefgh").stream([user("hi")], Sampling(temperature=0, stop=stop)))
    assert "".join(chunk.text for chunk in chunks) == text
    assert chunks[-1].finish_reason == "stop"


def test_equal_seeds_give_equal_answers_and_others_do_not(engine: LocalEngine) -> None:
    texts = [text_of(engine, ASKED, Sampling(2.0, seed=seed, max_tokens=12)) for seed in (1, 1, 2, None, None)]
    assert texts[0] == texts[1]
    assert len(set(texts[1:])) == 4


def test_the_rest_of_the_window_is_the_limit(tmp_path: Path) -> None:
    build(tmp_path, Sizes(extra={"max_seq_len": 40}), seed=3)
    chunks = list(LocalEngine(tmp_path, device="cpu").stream([user("hello")], Sampling(temperature=0)))
    assert chunks[-1].usage
    assert chunks[-1].finish_reason == "length"
    assert chunks[-1].usage.prompt_tokens + chunks[-1].usage.completion_tokens == 40


@pytest.mark.parametrize(
    "wrong",
    [
        Sampling(temperature=-1), Sampling(temperature=float("nan")), Sampling(temperature=10.5), Sampling(top_p=1.1), Sampling(top_p=-0.1),
        Sampling(max_tokens=0), Sampling(seed=2**63), Sampling(seed=-(10**30)), Sampling(schema={"not": {}}),
    ],
)  # fmt: skip
def test_sampling_that_makes_no_sense_is_refused_before_loading(engine: LocalEngine, wrong: Sampling) -> None:
    with pytest.raises(UsageError):
        list(engine.stream(ASKED, wrong))
    assert engine._runner is None


def test_values_that_are_not_numbers_are_an_error_and_name_the_weights(folder: Path) -> None:
    engine = LocalEngine(folder, name="tiny", device="cpu", dtype="fp32")
    expected = text_of(engine, ASKED)
    weight = engine.load().weights.model.layers["0"].feed_forward.w1.weight
    before = weight[5, 7].item()
    weight[5, 7] = torch.nan
    with pytest.raises(ModelError, match=r"tiny hold values that are not numbers: layers.0.feed_forward.w1") as caught:
        text_of(engine, [user("Another")])
    assert "pixtral models verify tiny" in caught.value.hint
    weight[5, 7] = before
    assert text_of(engine, ASKED) == expected
    assert text_of(engine, [user("Another")]) == text_of(LocalEngine(folder, dtype="fp32"), [user("Another")])


def test_an_overflow_of_sound_weights_names_the_dtype(folder: Path) -> None:
    engine = LocalEngine(folder, device="cpu", dtype="fp32")
    engine.load().weights.model.norm.weight.mul_(1e38)
    with pytest.raises(ModelError) as caught:
        text_of(engine, ASKED)
    assert "--dtype fp32" in caught.value.hint


class Hook:
    """Runs `act` once, after the `at`-th product with these weights that is not within a kernel's step, and counts them."""

    def __init__(self, layer: Any, at: int, act: Callable[[], None]) -> None:
        self.calls, self._layer, self._at, self._act = 0, layer, at, act
        self._linear = block.linear
        block.linear = decoder.linear = self

    def __call__(self, layer: Any, states: torch.Tensor, *threads: int) -> torch.Tensor:
        out = self._linear(layer, states, *threads)
        self.calls += layer is self._layer
        if layer is self._layer and self.calls == self._at:
            self._act()
        return out

    def remove(self) -> None:
        block.linear = decoder.linear = self._linear


def halfway(engine: LocalEngine, place: str) -> tuple[Any, int]:
    """Where an answer can be interrupted: in the vision encoder, amid a prefill's or a token's layers, after the kernel's."""
    model = engine.load().weights.model
    if place != "kernel":
        engine.load()._decoder._fused = None
    return {
        "vision": (model.vision_encoder.transformer.layers[0].attention.wo, 1),
        "prefill": (model.layers["1"].attention.wv, 2),
        "decode": (model.layers["0"].feed_forward.w2, 8),
        "kernel": (model.output, 8),
    }[place]


def interrupt(error: type[BaseException]) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize("place", ["vision", "prefill", "decode", "kernel"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, torch.OutOfMemoryError])
def test_whatever_interrupts_an_answer_the_next_is_right(folder: Path, place: str, error: type[BaseException]) -> None:
    engine = LocalEngine(folder, device="cpu", dtype="fp32", prefill_chunk=8)
    follow_up = [*ASKED, assistant("Yes."), user("Why?")]
    expected = [text_of(LocalEngine(folder, dtype="fp32"), said) for said in (ASKED, follow_up)]
    module, at = halfway(engine, place)
    hook = Hook(module, at, interrupt(error))
    with pytest.raises(OutOfMemory if error is torch.OutOfMemoryError else error):
        text_of(engine, ASKED)
    hook.remove()
    assert [text_of(engine, said) for said in (ASKED, follow_up)] == expected


@pytest.mark.filterwarnings("error")  # an interrupt that a library swallowed would be one
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_ctrl_c_at_a_hundred_random_moments_never_spoils_an_answer(folder: Path, dtype: str) -> None:
    engine = LocalEngine(folder, device="cpu", dtype=dtype, prefill_chunk=8)
    talks = [ASKED, [*ASKED, assistant("Yes."), user("Why?")], [user("Hello " * 30)]]
    expected = [text_of(LocalEngine(folder, dtype=dtype), said) for said in talks]
    engine.load()
    draw, interrupted = random.Random(0), 0
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        while interrupted < 100:
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(0.0002, 0.03))
                for said in draw.sample(talks, 3):
                    text_of(engine, said)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
                assert [text_of(engine, said) for said in talks] == expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert torch.backends.mkldnn.enabled
    scheduler = engine.load().scheduler
    assert scheduler.idle


@pytest.mark.parametrize("place", ["vision", "prefill", "decode", "kernel"])
def test_another_thread_stops_an_answer_within_a_layer(folder: Path, place: str) -> None:
    engine = LocalEngine(folder, device="cpu", dtype="fp32", prefill_chunk=8)
    expected = text_of(LocalEngine(folder, dtype="fp32"), ASKED)
    stream = engine.stream(ASKED, GREEDY)
    module, at = halfway(engine, place)
    hook = Hook(module, at, stream.close)
    chunks = list(stream)
    assert hook.calls <= at + 1
    assert not any(chunk.finish_reason for chunk in chunks)
    hook.remove()
    assert text_of(engine, ASKED) == expected


def test_closing_between_chunks_gives_the_cache_back(engine: LocalEngine) -> None:
    expected = text_of(engine, ASKED)
    with closing(engine.stream(ASKED, GREEDY)) as stream:
        next(stream)
    assert list(stream) == []
    assert text_of(engine, ASKED) == expected
    assert len(engine.load().prefix_cache._idle) == 1


def test_an_answer_that_is_dropped_ends_there_and_then(engine: LocalEngine) -> None:
    """Were it left to the garbage collector, that could end it while this very thread holds the lock it needs."""
    gc.disable()
    try:
        dropped = engine.stream(ASKED, GREEDY)
        next(dropped)
        assert not engine.load().prefix_cache._idle
        del dropped
        assert len(engine.load().prefix_cache._idle) == 1
    finally:
        gc.enable()


def test_an_answer_closed_before_its_start_loads_nothing(engine: LocalEngine) -> None:
    stream = engine.stream(ASKED, GREEDY)
    stream.close()
    assert list(stream) == []
    assert engine._runner is None


def test_a_slow_reader_does_not_hold_up_others(engine: LocalEngine) -> None:
    slow = engine.stream(ASKED, GREEDY)
    next(slow)
    assert text_of(engine, [user("Quick one")])
    slow.close()


def test_bf16_and_fp32_on_the_cpu_agree(folder: Path) -> None:
    """bfloat16 decoding takes another path on a CPU, without oneDNN."""
    logits = {}
    for dtype in ("fp32", "bf16"):
        engine = LocalEngine(folder, device="cpu", dtype=dtype)
        runner, prompt = engine.load(), engine._encode(ASKED)
        with runner.prefix_cache.acquire(prompt) as (sequence, _):
            sequence.cache.grow(len(prompt.tokens))
            runner.prefill(prompt, sequence, PhaseTimer())
            logits[dtype] = torch.stack([runner._extend(sequence, [token])[0] for token in (50, 60, 70)])
    assert torch.backends.mkldnn.enabled
    spread = logits["fp32"].std()
    assert (logits["bf16"] - logits["fp32"]).abs().max() < 0.15 * spread


def test_the_same_in_bf16_with_and_without_onednn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = LocalEngine(folder, device="cpu", dtype="bf16")
    fast = text_of(engine, ASKED)
    engine.close()
    monkeypatch.setattr(engine.load(), "_matrix_vector", nullcontext)
    assert text_of(engine, ASKED) == fast
