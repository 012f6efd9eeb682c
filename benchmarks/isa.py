"""Holds every program of a run to one instruction set: ours, torch with oneDNN, and llama.cpp compiled for it."""

import os

HELD = "PIXTRAL_BENCH_ISA"  # in the environment, which the programs that are measured inherit
TORCH: dict[str, dict[str, str]] = {"avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}}


def hold(isa: str) -> None:
    """Before torch is imported: it reads what it is held to then."""
    os.environ.update({HELD: isa, "PIXTRAL_KERNEL": isa, **TORCH[isa]})


def held() -> str:
    """What the run is held to; empty where each program takes what the processor has."""
    return os.environ.get(HELD, "")
