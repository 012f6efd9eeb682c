"""The CPU kernel computes the same with every instruction set of this machine, and which one can be chosen."""

import math
import random
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from pixtral_cli.engines.local.kernels import cpu
from pixtral_cli.engines.local.kernels.formats import FP8, INT4, INT8, MAX_ROWS, PLAIN
from pixtral_cli.errors import UsageError
from tests.engines.local.conftest import SETS

CPU = torch.device("cpu")
DTYPES = [torch.bfloat16, torch.float32]
FORMATS = {"plain": PLAIN, "fp8": FP8, "8bit": INT8, "4bit": INT4}
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 17, 32, 33, 40, 75)
WIDTHS = (1, 30, 64, 65, 100, 128, 192, 520, 1000, 2112)
compiled = pytest.mark.skipif(
    SETS == [cpu.NONE], reason="the kernel was not compiled, or has nothing for this processor"
)


@dataclass
class Weights:
    """A random matrix as it is stored, and what it means in float64."""

    stored: Tensor
    scale: Tensor | None
    exact: Tensor
    format: int

    def times(self, states: Tensor, threads: int = 1) -> Tensor:
        matrix = cpu.matrix(self.stored, states.shape[1], self.scale, self.format)
        return cpu.multiply(matrix, states, threads)


def weights(rows: int, width: int, format: int, dtype: torch.dtype, draw: torch.Generator) -> Weights:
    groups = -(-width // 64)
    if format == PLAIN:
        plain = torch.randn(rows, width, generator=draw).to(dtype)
        return Weights(plain, None, plain.double(), format)
    if format == FP8:  # from the smallest subnormal to the largest
        powers = torch.randint(-10, 8, (rows, width), generator=draw)
        fp8 = (torch.randn(rows, width, generator=draw) * 2.0**powers).to(torch.float8_e4m3fn)
        scale = torch.rand(rows, generator=draw) + 0.1
        return Weights(fp8, scale, fp8.double() * scale.double()[:, None], format)
    low, high = (-127, 128) if format == INT8 else (-8, 8)
    numbers = torch.randint(low, high, (rows, groups * 64), generator=draw)
    numbers[:, width:] = 0
    if format == INT8:
        scale = torch.rand(rows, generator=draw) + 0.1
        return Weights(numbers.to(torch.int8), scale, (numbers * scale.double()[:, None])[:, :width], format)
    scale = (torch.rand(rows, groups, generator=draw) + 0.1).bfloat16()
    halves = (numbers + 8).to(torch.uint8).view(rows, groups, 2, 32)
    packed = (halves[:, :, 0] | halves[:, :, 1] << 4).flatten(1).contiguous()
    exact = (numbers.view(rows, groups, 64) * scale.double()[:, :, None]).flatten(1)[:, :width]
    return Weights(packed, scale, exact, format)


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_products_are_those_of_float64(instruction_set: str, format: int, dtype: torch.dtype) -> None:
    draw, choose = torch.Generator().manual_seed(1), random.Random(2)
    for width in WIDTHS:
        for count in COUNTS:
            matrix = weights(choose.randrange(1, 80), width, format, dtype, draw)
            states = torch.randn(count, width, generator=draw).to(dtype)
            found, expected = matrix.times(states, choose.choice([1, 3])), states.double() @ matrix.exact.T
            size = matrix.exact.square().mean().sqrt() * math.sqrt(width)
            rounding = 2**-7 if dtype == torch.bfloat16 else 2e-6 if format in (PLAIN, FP8) else 2e-4
            assert ((found.double() - expected).abs() <= rounding * (expected.abs() + 4 * size)).all()


@compiled
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_a_product_is_the_same_to_the_last_bit_alone_and_in_a_batch(
    instruction_set: str, format: int, dtype: torch.dtype
) -> None:
    draw = torch.Generator().manual_seed(3)
    for width in (200, 520):
        matrix = weights(75, width, format, dtype, draw)
        states = torch.randn(MAX_ROWS, width, generator=draw).to(dtype)
        alone = torch.cat([matrix.times(row[None]) for row in states])
        for count in range(2, MAX_ROWS + 1):
            assert torch.equal(matrix.times(states[:count], 2), alone[:count])


@compiled
@pytest.mark.parametrize("count", [3, 50])
@pytest.mark.parametrize("format", [FP8, INT8, INT4])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_activations_that_are_not_finite_are_seen(instruction_set: str, format: int, count: int, bad: float) -> None:
    matrix = weights(9, 200, format, torch.float32, torch.Generator().manual_seed(4))
    states = torch.ones(count, 200)
    states[1, 150] = bad
    finite = matrix.times(states).isfinite()
    assert not finite[1].any()
    assert finite[0].all()
    assert finite[2:].all()


@compiled
@pytest.mark.parametrize("count", [1, 5, 40])
def test_an_fp8_weight_that_is_nan_makes_its_row_nan(instruction_set: str, count: int) -> None:
    for at in (0, 70, 199):
        matrix = weights(9, 200, FP8, torch.float32, torch.Generator().manual_seed(5))
        matrix.stored.view(torch.uint8)[4, at] = 0xFF
        nan = matrix.times(torch.ones(count, 200)).isnan()
        assert nan[:, 4].all()
        assert nan.sum() == count


@compiled
def test_every_value_of_fp8_is_read(instruction_set: str) -> None:
    stored = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn)[:, None].contiguous()
    matrix = Weights(stored, torch.ones(256), stored.double(), FP8)
    for count in (1, 33):
        found = matrix.times(torch.ones(count, 1))[0]
        torch.testing.assert_close(found, stored[:, 0].float(), rtol=0, atol=0, equal_nan=True)


@compiled
def test_a_family_names_the_fastest_of_its_sets(instruction_set: str) -> None:
    assert cpu.kernel().instruction_set == instruction_set
    family = instruction_set.partition("-")[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cpu.KERNEL_VARIABLE, family)
        cpu.kernel.cache_clear()
        assert cpu.kernel().instruction_set == next(name for name in SETS if name.partition("-")[0] == family)


def test_none_leaves_all_to_torch_and_another_name_is_refused() -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, refused in (("none", False), ("avx", True), ("sse9", True), ("avx512-", True)):
            patch.setenv(cpu.KERNEL_VARIABLE, name)
            cpu.kernel.cache_clear()
            if refused:
                with pytest.raises(UsageError, match=name):
                    cpu.kernel()
            else:
                assert not cpu.kernel_supports(CPU, torch.float32)
    cpu.kernel.cache_clear()
