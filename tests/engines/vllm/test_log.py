"""Why a vLLM ended, from its log: lines that vLLM 0.32 wrote on a CPU, and for GPUs what its source would write."""

from pathlib import Path

import pytest

from pixtral_cli.engines.vllm.log import explain_failure, parse_progress
from pixtral_cli.errors import ModelError, NetworkError, OutOfMemory, PixtralError, UsageError

LOGS = Path(__file__).parent / "vllm_logs"

WRITTEN: dict[str, tuple[type[PixtralError], str, str]] = {
    "unknown_flag": (UsageError, "vLLM does not know --no-such-flag 3", "--help"),
    "bad_value": (UsageError, "vLLM refuses: argument --max-model-len: invalid", "--help"),
    "broken_weights": (ModelError, "cannot load this checkpoint: Error while deserializing header", ""),
    "wrong_shapes": (ModelError, "cannot load this checkpoint: start (0) + length (520) exceeds", ""),
    "no_tokenizer": (ModelError, "cannot load this checkpoint: No tokenizer file found", ""),
    "window_too_large": (
        OutOfMemory,
        "a window of 1,000,000 tokens takes 5.72 GiB, and 1.0 are left",
        "--max-model-len 174592",
    ),
    "heads_do_not_divide": (UsageError, "6 attention heads do not divide among 4 GPUs", "--tensor-parallel-size"),
    "no_ray": (UsageError, "Ray is not installed beside vLLM", "pip install"),
}

LINES: list[tuple[str, type[PixtralError], str]] = [
    (
        (
            "(Worker_TP1 pid=9) ERROR 11-23 14:10:51 [multiproc_executor.py:953] torch.OutOfMemoryError: CUDA out of memory. "
            "Tried to allocate 170.00 MiB. GPU 1 has a total capacity of 23.5 GiB of which 20.00 MiB is free."
        ),
        OutOfMemory,
        "ran out of memory",
    ),
    (
        (
            "ValueError: Free memory on device cuda:0 (3.2/23.5 GiB) on startup is less than desired GPU memory utilization "
            "(0.92, 21.6 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
        ),
        OutOfMemory,
        "Of the GPU's 23.5 GiB only 3.2 are free",
    ),
    (
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing",
        OutOfMemory,
        "no memory for vLLM's KV cache",
    ),
    (
        "  Value error, World size (4) is larger than the number of available GPUs (2) in this node. If this is [type=",
        UsageError,
        "over 4 GPUs, and this machine has 2",
    ),
    (
        "(Worker_TP0 pid=9) ERROR 11-23 14:27:38 [multiproc_executor.py:953] AssertionError: 5 is not divisible by 2",
        UsageError,
        "5 vision heads do not divide among 2 GPUs",
    ),
    ("RuntimeError: Failed to infer device type, please set the environment variable", PixtralError, "finds no GPU"),
    (
        "ConnectionError: Could not find any running Ray instance. Please specify the one to connect to",
        NetworkError,
        "cannot reach the Ray cluster",
    ),
    ("OSError: [Errno 98] Address already in use", PixtralError, "taken by another program"),
    ("ZeroDivisionError: something nobody has foreseen", PixtralError, "vLLM failed: something nobody has foreseen"),
]


@pytest.mark.parametrize("name", WRITTEN)
def test_the_reason_is_found_in_what_vllm_wrote(name: str) -> None:
    kind, message, hint = WRITTEN[name]
    error = explain_failure((LOGS / f"{name}.log").read_text(encoding="utf-8"), 1)
    assert type(error) is kind
    assert message in error.message
    assert hint in error.hint
    assert len(error.message) <= 120


@pytest.mark.parametrize(("line", "kind", "message"), LINES)
def test_the_reason_is_found_before_the_lines_that_only_report_it(
    line: str, kind: type[PixtralError], message: str
) -> None:
    later = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
    error = explain_failure(f"INFO 11-23 14:02:44 [core.py:1] all is well\n{line}\n{later}\n", 1)
    assert type(error) is kind
    assert message in error.message


def test_a_warning_is_no_reason() -> None:
    text = "(APIServer pid=2) WARNING 11-23 14:01:32 [config.py:1437] ValueError: Unrecognized model in /models/demo.\n"
    assert explain_failure(text, 3).message == "vLLM ended with status 3"


def test_a_signal_is_reported() -> None:
    assert "signal 9" in explain_failure("", 137).message


def test_a_log_reports_how_far_it_has_come() -> None:
    assert parse_progress(
        "(EngineCore pid=7) INFO 11-23 14:02:18 [core.py:133] Initializing a V1 LLM engine (v0.32.0)"
    ) == (
        "starting the engine",
        None,
    )
    assert parse_progress(
        "(Worker pid=1) Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:01<00:01]\n"
    ) == (
        "loading the weights",
        0.5,
    )
    assert parse_progress("Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  10%|") == (
        "capturing graphs",
        None,
    )
    assert parse_progress("something else") == ("", None)
