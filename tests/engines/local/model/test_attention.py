"""Attention is what softmax says it is; in our kernel also the same to the last bit however many positions are asked."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pixtral_cli.engines.local.kernels import cpu
from pixtral_cli.engines.local.model import attention
from tests.engines.local.conftest import SETS

CPU = torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16]
kernel = pytest.mark.skipif(
    not all(cpu.kernel_supports(CPU, dtype) for dtype in DTYPES), reason="this processor has no such kernel"
)
ways = pytest.mark.parametrize("way", [*(pytest.param(name, marks=kernel) for name in SETS), "torch"])
heads = st.sampled_from([2, 8, 18, 30, 32, 64, 66, 96, 128, 160, 256])


@contextmanager
def computed(way: str) -> Iterator[None]:
    """By torch, or by the kernel with that instruction set."""
    if way == "torch":
        with mock.patch.object(attention, "supports_attention", lambda *_: False):
            yield
        return
    with mock.patch.dict("os.environ", {cpu.KERNEL_VARIABLE: way}):
        cpu.kernel.cache_clear()
        try:
            yield
        finally:
            cpu.kernel.cache_clear()


def softmax_attention(query: Tensor, key: Tensor, value: Tensor, past: int) -> Tensor:
    """By the definition, in float64: query (T, H, D), key and value (G, S, D)."""
    count, length, shared = len(query), key.shape[1], query.shape[1] // len(key)
    key, value = (each.double().repeat_interleave(shared, 0) for each in (key, value))
    scores = torch.einsum("thd,hsd->hts", query.double(), key) / math.sqrt(query.shape[-1])
    seen = torch.arange(length) <= past + torch.arange(count)[:, None]
    return torch.einsum("hts,hsd->thd", scores.masked_fill(~seen, -math.inf).softmax(-1), value)


def drawn(
    count: int, past: int, groups: int, shared: int, head: int, dtype: torch.dtype, seed: int, sharp: float = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, and keys and values in the middle of a store whose other places hold what is no number."""
    draw = torch.Generator().manual_seed(seed)
    query = torch.randn(count, groups * shared, head, generator=draw).to(dtype)
    store = torch.full((2, groups, past + count + 70, head), math.nan, dtype=dtype)
    kept = store[:, :, 3 : 3 + past + count]
    kept.copy_(torch.randn(kept.shape, generator=draw))
    kept[0] *= torch.linspace(0, sharp, past + count)[:, None]  # later scores are greater, and undo the earlier ones
    return query, kept[0], kept[1]


@ways
@given(
    st.integers(1, 150), st.integers(0, 300), st.integers(1, 3), st.integers(1, 5), heads, st.sampled_from(DTYPES),
    st.integers(0, 99), st.sampled_from([1, 30]),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_attention_is_what_softmax_says(
    way: str, count: int, past: int, groups: int, shared: int, head: int, dtype: torch.dtype, seed: int, sharp: int
) -> None:
    query, key, value = drawn(count, past, groups, shared, head, dtype, seed, sharp)
    with computed(way):
        found = attention.attend(query, key, value, attention.causal_mask(count, past, CPU, dtype, head))
    expected = softmax_attention(query, key, value, past)
    assert found.dtype == dtype
    atol = 1e-5 * (1 + sharp) if dtype == torch.float32 else 2e-2  # the error of a score grows with it
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=atol)


@ways
@given(st.integers(1, 200), st.integers(1, 4), heads, st.sampled_from(DTYPES), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_attention_to_all_sees_what_comes_later(
    way: str, count: int, heads: int, head: int, dtype: torch.dtype, seed: int
) -> None:
    query, key, value = drawn(count, 0, heads, 1, head, dtype, seed)
    with computed(way):
        found = attention.attend_all(query, key.transpose(0, 1), value.transpose(0, 1))
    expected = softmax_attention(query, key, value, count)
    atol = 2e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=atol)


@pytest.mark.parametrize("way", [pytest.param(name, marks=kernel) for name in SETS])
@given(
    st.lists(st.integers(1, 90), min_size=2, max_size=5), st.integers(0, 200), st.integers(1, 5), heads,
    st.sampled_from(DTYPES),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_a_prompt_in_pieces_is_the_prompt_at_once_to_the_last_bit(
    way: str, pieces: list[int], past: int, shared: int, head: int, dtype: torch.dtype
) -> None:
    query, key, value = drawn(sum(pieces), past, 2, shared, head, dtype, len(pieces))
    with computed(way):
        stop, parts = past, []
        for part in torch.split(query, pieces):
            stop += len(part)
            parts.append(attention.attend(part, key[:, :stop], value[:, :stop], None))
        assert torch.equal(torch.cat(parts), attention.attend(query, key, value, None))


@kernel
def test_keys_and_values_may_lie_otherwise() -> None:
    query, key, value = drawn(9, 20, 2, 3, 16, torch.float32, 0)
    expected = attention.attend(query, key, value, None)
    turned = value.mT.contiguous().mT
    assert torch.equal(attention.attend(query, key.contiguous(), turned, None), expected)


@kernel
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("where", ["query", "key", "value"])
def test_what_is_no_number_is_seen_by_all_who_attend_to_it(dtype: torch.dtype, where: str) -> None:
    query, key, value = drawn(
        100, 50, 2, 2, 32, dtype, 0
    )  # position 60 is the first to see key 110, of the block 64 to 127
    {"query": query[60:61, 0], "key": key[:, 110], "value": value[:, 110]}[where].fill_(math.nan)
    found = attention.attend(query, key, value, None)
    after = found[60:61, 0] if where == "query" else found[60:]
    assert after.isnan().all()
    assert not found[:10].isnan().any()


@pytest.mark.parametrize("capability", [(7, 5), (9, 0)])
@pytest.mark.parametrize("past", [0, 5])
def test_attention_of_gpus_without_flash_attention(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], past: int
) -> None:
    """float32, and float16 on older cards: no grouped heads, an output that is not contiguous, a mask of numbers."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    inner = attention.F.scaled_dot_product_attention

    def efficient(query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
        assert query.shape[1] == key.shape[1] or query.shape[2] == 1 or not options.get("enable_gqa")
        return inner(query, key, value, **options).transpose(1, 2).contiguous().transpose(1, 2)

    class OnGpu(Tensor):
        """A tensor on the CPU that says that it is on a GPU."""

        device = torch.device("cuda:0")  # type: ignore[assignment]

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", efficient)
    for count in (1, 4):
        query, key, value = drawn(count, past, 2, 3, 16, torch.float32, seed=count)
        shown = query.as_subclass(OnGpu)
        with computed("torch"):
            mask = attention.causal_mask(count, past, torch.device("cuda:0"), torch.float32, 16) if count == 1 else None
            if count > 1 and past:
                with monkeypatch.context() as patched:
                    patched.setattr(
                        torch, "full", lambda *size, device=None, full=torch.full, **kinds: full(*size, **kinds)
                    )
                    mask = attention.causal_mask(count, past, torch.device("cuda:0"), torch.float32, 16)
                assert isinstance(mask, Tensor)
            found = attention.attend(shown, key, value, mask).as_subclass(Tensor)
        assert (found.double() - softmax_attention(query, key, value, past)).abs().max() < 1e-5


def test_an_apple_gpu_is_given_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "full", lambda *size, device=None, full=torch.full, **kinds: full(*size, **kinds))
    mask = attention.causal_mask(3, 0, torch.device("mps"), torch.float16, 16)
    assert mask is not None
    assert (mask == 0).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert attention.causal_mask(1, 7, torch.device("mps"), torch.float16, 16) is None


def test_float16_keeps_the_sum_over_the_layers_in_float32() -> None:
    """A model whose states go past 65,504, as large ones do, answers in float16 as it does in float32."""
    from pixtral_cli.engines.local.model.block import norm, residual_dtype, run_block
    from pixtral_cli.engines.local.model.upstream import empty_transformer

    sizes = {
        "dim": 32,
        "n_layers": 1,
        "head_dim": 8,
        "hidden_dim": 48,
        "n_heads": 4,
        "n_kv_heads": 2,
        "norm_eps": 1e-5,
        "vocab_size": 64,
    }
    draw = torch.Generator().manual_seed(0)
    model = empty_transformer(sizes)
    weights = {key: torch.randn(value.shape, generator=draw) / 4 for key, value in model.state_dict().items()}
    outputs = {}
    for dtype in (torch.float32, torch.float16):
        model.load_state_dict({key: value.half().to(dtype) for key, value in weights.items()}, assign=True)
        block = model.layers["0"]
        states = (torch.randn(5, 32, generator=torch.Generator().manual_seed(1)) * 1e5).to(residual_dtype(dtype))
        rotations = torch.ones(5, 4, dtype=torch.complex64)
        with torch.inference_mode(), computed("torch"):
            states = run_block(
                block,
                states,
                rotations,
                lambda q, k, v: attention.attend(q, k.transpose(0, 1), v.transpose(0, 1), None),
            )
            outputs[dtype] = model.output(norm(model.norm, states)).float()
    assert outputs[torch.float16].isfinite().all()
    assert (outputs[torch.float16] - outputs[torch.float32]).abs().max() < 0.02 * outputs[torch.float32].abs().max()


def test_a_cache_on_a_gpu_doubles() -> None:
    from pixtral_cli.engines.local.config import Params
    from pixtral_cli.engines.local.model.kv_cache import KVCache

    params = mock.create_autospec(Params, instance=True, n_kv_heads=2, head_dim=8, n_layers=3, context_window=100_000)
    grown = {}
    for name in ("cpu", "meta"):
        cache = KVCache(params, torch.device(name), torch.bfloat16, lambda size: None)
        sizes = []
        for length in range(1, 40_000, 500):
            cache.grow(length)
            sizes.append(cache.capacity)
        grown[name] = len(set(sizes))
    assert grown["meta"] < 10 < grown["cpu"]


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_cache_takes_the_memory_that_is_left(device: str) -> None:
    """Where the step that growth would like does not fit, what is needed is taken."""
    from pixtral_cli.engines.local.config import Params
    from pixtral_cli.engines.local.model.kv_cache import KVCache, position_bytes
    from pixtral_cli.errors import OutOfMemory

    params = mock.create_autospec(Params, instance=True, n_kv_heads=2, head_dim=8, n_layers=3, context_window=100_000)
    held = 3500 * position_bytes(params, torch.bfloat16)

    def reserve(size: int) -> None:
        if cache.size + size > held:
            raise OutOfMemory("The KV cache")

    cache = KVCache(params, torch.device(device), torch.bfloat16, reserve)
    for length in range(1, 2500, 256):
        cache.grow(length)
    assert cache.capacity >= 2305
    with pytest.raises(OutOfMemory):
        cache.grow(9000)
    assert cache.capacity < 9000
