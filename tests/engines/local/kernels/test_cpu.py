"""Our kernel and the guesses it pays for: the same numbers, however many positions share a step."""

import random
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.local.generation.drafting import PromptLookup
from pixtral_cli.engines.local.generation.runner import DecodeStep
from pixtral_cli.engines.local.kernels import cpu
from tests.engines.local.checkpoints import Sizes, build, image

CPU = torch.device("cpu")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SIZES = [
    Sizes(), Sizes(dim=128, layers=3, heads=8, head_dim=32, hidden=256), Sizes(dim=96, heads=6, head_dim=8, hidden=160),
]  # fmt: skip
kernels = [name for name, dtype in DTYPES.items() if cpu.kernel_supports(CPU, dtype)]
names = kernels or ["fp32"]  # where the kernel was not built nothing is guessed, and answers are still the same


@pytest.mark.skipif(not shutil.which("cc"), reason="nothing compiles here")
def test_the_kernel_is_used_where_it_can_be() -> None:
    """It is built where a compiler is, and left alone where the processor lacks what it says it needs."""
    about = Path("/proc/cpuinfo")
    able = set(about.read_text().split()) if about.exists() else set()
    wide = {"avx512bw", "avx512dq", "avx512vl", "avx512_bf16", "avx512_vnni"}
    if able:
        sets = {"avx512": wide, "avx2-vnni": {"avx2", "fma", "f16c", "avx_vnni"}, "avx2-fma": {"avx2", "fma", "f16c"}}
        assert cpu.instruction_sets() == {name: needed <= able for name, needed in sets.items()}
    assert kernels == (list(DTYPES) if any(cpu.instruction_sets().values()) else [])


def test_a_kernel_of_another_version_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "VERSION", cpu.VERSION + 1)
    cpu.kernel.cache_clear()
    assert cpu.kernel().library is None
    monkeypatch.undo()
    cpu.kernel.cache_clear()


@given(
    st.integers(1, 40), st.integers(1, 200), st.integers(1, 90),
    st.sampled_from([*DTYPES.values(), torch.float16]), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_a_product_is_torchs_whatever_the_shape(
    count: int, width: int, height: int, dtype: torch.dtype, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    states = torch.randn(count, width, generator=draw).to(dtype)
    layer = torch.nn.Linear(width, height, bias=False).requires_grad_(False).to(dtype)
    found = cpu.linear(layer, states)
    assert found.dtype == dtype
    expected = F.linear(states.float(), layer.weight.float())
    torch.testing.assert_close(
        found.float(), expected, rtol=torch.finfo(dtype).eps, atol=2e-5 if dtype == torch.float32 else 2e-2
    )


def test_weights_and_states_may_lie_anywhere_in_memory() -> None:
    for dtype in DTYPES.values():
        weight = torch.randn(40 * 50 + 3).to(dtype)[3:].view(50, 40)
        states = torch.randn(40, 7).to(dtype).T
        found = cpu.linear(as_layer(weight), states)
        torch.testing.assert_close(found.float(), states.float() @ weight.float().T, rtol=0.01, atol=0.01)


class as_layer(SimpleNamespace):
    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__(weight=weight)

    def __call__(self, states: torch.Tensor) -> torch.Tensor:
        return F.linear(states, self.weight)


@pytest.mark.parametrize("name", names)
@pytest.mark.parametrize("seed", range(3))
def test_logits_are_the_same_to_the_last_bit_alone_and_in_company(tmp_path: Path, name: str, seed: int) -> None:
    """Also when they are computed several tokens ahead, as guesses are."""
    who = LocalEngine(build(tmp_path, SIZES[seed], seed), device="cpu", dtype=name)
    runner, draw = who.load(), random.Random(seed)
    talks = [[draw.randrange(20, 500) for _ in range(draw.randrange(1, 30))] for _ in range(7)]
    futures = [[draw.randrange(20, 500) for _ in range(draw.randrange(1, 9))] for _ in talks]

    def sequences() -> list[Any]:
        found = []
        for tokens in talks:
            sequence = SimpleNamespace(cache=runner._new_cache(), tokens=[])
            for token in tokens:
                runner._compute([DecodeStep(sequence, [token])])  # type: ignore[arg-type]
            found.append(sequence)
        return found

    def logits(steps: list[Any]) -> list[torch.Tensor]:
        runner._compute(steps)
        return [torch.stack(list(step.logits)) for step in steps]

    alone = [
        torch.cat([logits([DecodeStep(sequence, [token])])[0] for token in future])
        for sequence, future in zip(sequences(), futures, strict=True)
    ]
    together = logits([DecodeStep(*pair) for pair in zip(sequences(), [future[:4] for future in futures], strict=True)])
    for one, other in zip(alone, together, strict=True):
        tolerance = 0 if kernels else 1e-4
        torch.testing.assert_close(one[: len(other)], other, rtol=0, atol=tolerance)


EDIT = [
    user("Write a page.", [image(96, 40, 1)]),
    assistant("<html><body><p>One</p><button class='red'>Go</button><p>Two, three, four</p></body></html>"),
    user("Make the button blue."),
]
SAMPLINGS = [
    Sampling(temperature=0, max_tokens=60), Sampling(temperature=0.3, seed=5, max_tokens=60),
    Sampling(temperature=1.0, top_p=0.8, seed=6, max_tokens=60),
]  # fmt: skip


def answers(who: LocalEngine, said: list[Message]) -> list[list[str]]:
    return [[chunk.text for chunk in who.stream(said, sampling)] for sampling in SAMPLINGS]


@pytest.mark.parametrize("name", names)
def test_guessing_ahead_changes_no_answer(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path, seed=3)
    said = [EDIT, [user("la " * 80)], [user("One two three. " * 20, [image(96, 40, 2)])]]
    guessing = [answers(LocalEngine(folder, device="cpu", dtype=name), each) for each in said]
    monkeypatch.setattr(PromptLookup, "draft", lambda *_: [])
    assert guessing == [answers(LocalEngine(folder, device="cpu", dtype=name), each) for each in said]


@pytest.mark.parametrize("name", names)
@given(wrong=st.lists(st.booleans(), min_size=40, max_size=40))
@settings(max_examples=15, deadline=None)
def test_right_and_wrong_guesses_change_no_answer(tmp_path_factory: Any, name: str, wrong: list[bool]) -> None:
    who = LocalEngine(build(tmp_path_factory.mktemp("model"), seed=3), device="cpu", dtype=name)
    runner, prompt = who.load(), who._encode(EDIT)
    plain = decoded(runner, prompt, lambda _: [])
    asked = iter(wrong)

    def guess(known: int) -> list[int]:
        future = plain[known : known + 6]
        if next(asked, False) and len(future) > 2:
            future[2] = 400 - future[2] // 2
        return future

    assert decoded(runner, prompt, guess) == plain


def decoded(runner: Any, prompt: Any, guess: Any) -> list[int]:
    """Greedy tokens with these guesses, given how many tokens there are; the cache holds what was said and no more."""
    from pixtral_cli.engines.local.generation import runner as module
    from pixtral_cli.engines.local.runtime.timing import PhaseTimer

    class Given(PromptLookup):
        def draft(self, limit: int, drafted: int = 0, accepted: int = 0) -> list[int]:
            return list(guess(len(self._tokens) - len(prompt.tokens)))[: max(0, limit)]

    before, module.PromptLookup = module.PromptLookup, Given  # type: ignore[misc, attr-defined]
    try:
        with runner.prefix_cache.acquire(prompt) as (sequence, _):
            logits = runner.prefill(prompt, sequence, PhaseTimer())
            tokens = list(runner.decode(sequence, logits, lambda row: int(row.argmax()), 30))
            assert sequence.tokens[: sequence.cache.length] == (prompt.tokens + tokens)[: sequence.cache.length]
            assert sequence.cache.length <= len(prompt.tokens) + 29
            return tokens
    finally:
        module.PromptLookup = before  # type: ignore[misc, attr-defined]


def test_an_edit_is_guessed_from_what_it_edits() -> None:
    before = list(range(100, 200))
    lookup, wanted = PromptLookup([1, *before, 2]), [*before[:40], 7, *before[41:]]
    steps, at, guess, right = 0, 0, list[int](), 0
    while at < len(wanted):
        lookup.add(wanted[at])
        at += 1
        if at < len(wanted) and guess[right : right + 1] == [wanted[at]]:
            right += 1
            continue
        guess = lookup.draft(1000, len(guess), right)
        right, steps = 0, steps + 1
        while at < len(wanted) and right < len(guess) and guess[right] == wanted[at]:
            lookup.add(wanted[at])
            right, at = right + 1, at + 1
    assert steps < len(wanted) / 4


def test_who_guesses_wrong_guesses_less() -> None:
    draw = random.Random(0)
    lookup, guesses = PromptLookup([]), 0
    for _ in range(500):
        for token in (1, 2, 3):
            lookup.add(token)
        lookup.add(draw.randrange(10, 1000))
        guess = lookup.draft(10, guesses and 3, 0)
        guesses += bool(guess)
    assert guesses < 10
