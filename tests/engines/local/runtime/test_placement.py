"""Where a model is put, on machines that are not here: torch's answers about GPUs are the test's."""

from dataclasses import dataclass

import pytest
import torch

from pixtral_cli.engines.local.runtime import placement, transfer
from pixtral_cli.errors import UsageError

GIB = 1 << 30


@dataclass(frozen=True)
class Gpu:
    capability: tuple[int, int]
    free: int
    name: str = "a card"


def with_gpus(
    monkeypatch: pytest.MonkeyPatch, *gpus: Gpu, built: str = "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120 compute_120"
) -> None:
    def index(device: object) -> int:
        return device if isinstance(device, int) else torch.device(str(device)).index or 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(gpus))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(gpus))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built.split())
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: gpus[index(device)].capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpus[index(device)].name)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (gpus[index(device)].free, 24 * GIB))


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_the_card_with_the_most_free_memory_is_taken(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with_gpus(monkeypatch, Gpu((8, 6), 3 * GIB), Gpu((8, 9), 20 * GIB), Gpu((7, 0), 30 * GIB))
    assert placement.choose_device(name) == torch.device("cuda:1")
    assert placement.choose_device("cuda:0") == torch.device("cuda:0")


def test_a_card_that_torch_has_no_code_for_is_left_out_or_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, Gpu((7, 0), 30 * GIB, "Tesla V100"))
    assert placement.choose_device("auto").type == "cpu"
    with pytest.raises(UsageError, match="no code for Tesla V100"):
        placement.choose_device("cuda:0")
    for name in ("cuda", "cuda:1"):
        with pytest.raises(UsageError, match="no device"):
            placement.choose_device(name)


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [((8, 9), "sm_80", True), ((8, 0), "sm_86", False), ((12, 1), "sm_90 compute_90", True), ((12, 0), "sm_90", False),
     ((10, 3), "sm_100a sm_120a", True), ((9, 0), "", True)],
)  # fmt: skip
def test_machine_code_runs_within_its_major_version(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], built: str, runs: bool
) -> None:
    with_gpus(monkeypatch, Gpu(capability, GIB), built=built)
    assert placement.usable_gpus() == ([0] if runs else [])


def test_the_dtype_is_that_of_the_chosen_card(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, Gpu((8, 0), GIB), Gpu((7, 5), GIB))
    assert placement.choose_dtype("auto", torch.device("cuda:0"), 1, 1) == torch.bfloat16
    assert placement.choose_dtype("auto", torch.device("cuda:1"), 1, 1) == torch.float16


@pytest.mark.parametrize(
    ("version", "device"), [("2.10.1", "cpu"), ("2.12.0+x", "cpu"), ("2.13.0", "mps"), ("3.0.0a1", "mps")]
)
def test_an_apple_gpu_wants_a_torch_that_masks_rightly(
    monkeypatch: pytest.MonkeyPatch, version: str, device: str
) -> None:
    with_gpus(monkeypatch)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "__version__", version)
    assert placement.choose_device("auto").type == device
    if device == "cpu":
        with pytest.raises(UsageError, match=version.replace("+", r"\+")):
            placement.choose_device("mps")


def test_a_gpu_is_prepared_before_anything_is_put_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr(torch.cuda, "set_device", calls.append)
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", calls.append)
    placement.prepare_device(torch.device("cpu"))
    assert calls == []
    placement.prepare_device(torch.device("cuda:1"))
    assert calls == [torch.device("cuda:1"), False]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int8])
def test_weights_arrive_whole_through_pieces(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    monkeypatch.setattr(transfer, "PIECE_BYTES", 1 << 10)
    source = torch.randint(-90, 90, (33, 77)).to(torch.bfloat16 if dtype == torch.float32 else dtype)
    copy = transfer.Transfer(torch.device("cpu"))
    assert torch.equal(copy._in_pieces(source, dtype), source.to(dtype))
    assert torch.equal(copy._in_pieces(source[:1], dtype), source[:1].to(dtype))
    copy.finish()
    assert copy._buffers == []
    mapped = torch.zeros(4, 4)
    assert copy(mapped, torch.float32) is mapped
