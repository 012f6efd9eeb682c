"""Tiny models compute fastest on one thread, above all on a busy machine; and a choice of the CPU kernel's instruction set."""

from collections.abc import Iterator

import pytest
import torch

from pixtral_cli.engines.local.kernels import cpu

SETS = [name for name, able in cpu.instruction_sets().items() if able] or [cpu.NONE]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each that this machine has, in turn; where the kernel was not compiled, torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cpu.KERNEL_VARIABLE, request.param)
        cpu.kernel.cache_clear()
        yield request.param
        cpu.kernel.cache_clear()
