"""Running out of memory, in whatever words torch says it, is one error with a hint; any other error stays what it is."""

import pytest
import torch

from pixtral_cli.engines.local.runtime.oom import OOM_HINT, translate_oom
from pixtral_cli.errors import OutOfMemory

LINUX = "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8000 bytes. Error code 12 (Cannot allocate memory)"
WINDOWS = "[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried to allocate 8000 bytes."


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError(LINUX),
        RuntimeError(WINDOWS),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB, max allowed: 9.07 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
    ids=["python", "cuda", "linux", "windows", "mps", "cublas"],
)
def test_memory_that_ran_out_is_one_error_with_a_hint(error: Exception) -> None:
    with pytest.raises(OutOfMemory, match="Memory ran out while loading x") as told, translate_oom("loading x"):
        raise error
    assert told.value.hint == OOM_HINT
    assert told.value.__cause__ is error


def test_an_allocation_that_torch_refuses_is_recognised() -> None:
    with pytest.raises(OutOfMemory), translate_oom("trying"):
        torch.empty(1 << 60, dtype=torch.uint8)


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), ValueError("out of memory")])
def test_any_other_error_stays_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as told, translate_oom("loading x"):
        raise error
    assert told.value is error
