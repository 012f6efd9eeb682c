"""Whether a checkpoint is sound: hashes recorded by the hub's client, by a SHA256SUMS, or not at all."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from huggingface_hub import snapshot_download

from pixtral_cli.models import layout, names, verify
from pixtral_cli.models.hub import Hub
from pixtral_cli.models.verify import FileCheck, Progress, full_check, quick_check
from tests.hub import FakeHub
from tests.models.conftest import REPO

WEIGHTS = layout.WEIGHTS_FILE


def place(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def findings(folder: Path) -> dict[str, FileCheck]:
    return {step.file: step for step in full_check(folder) if isinstance(step, FileCheck)}


def states(folder: Path) -> dict[str, str]:
    return {name: finding.state for name, finding in findings(folder).items()}


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def test_the_demo_is_sound() -> None:
    assert quick_check(names.demo_folder()) is None
    assert "damaged" not in states(names.demo_folder()).values()


def test_the_vendors_folder_is_compared_with_what_the_hubs_client_noted(home: Path, hub: Hub, fake: FakeHub) -> None:
    """`snapshot_download(local_dir=~/mistral_models/Pixtral)`, as the vendor's instructions say."""
    folder = home / "mistral_models" / "Pixtral"
    patterns = ["params.json", "tekken.json", WEIGHTS]
    snapshot_download(REPO, local_dir=folder, endpoint=fake.url, allow_patterns=patterns)
    assert set(states(folder).values()) == {"ok"}
    flip(folder / WEIGHTS)
    assert quick_check(folder) is None
    assert states(folder)[WEIGHTS] == "damaged"
    assert names.repair_hint(folder) == "Get an intact copy: pixtral pull pixtral-12b"


def test_a_folder_may_bring_its_hashes(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = place(tmp_path / "m", files)
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in files.items()]
    (folder / "SHA256SUMS").write_text("\n".join(["", "# ours", *sums, ""]))
    assert set(states(folder).values()) == {"ok"}
    flip(folder / WEIGHTS)
    assert states(folder)[WEIGHTS] == "damaged"


def test_where_no_hash_was_recorded_the_form_is_checked_and_reported_to_be_all(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    found = findings(place(tmp_path / "m", {name: files[name] for name in files if name != "SHA256SUMS"}))
    assert {finding.state for finding in found.values()} == {"unknown"}
    assert "no hash was recorded" in found[WEIGHTS].detail


def test_a_missing_file_is_a_finding(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = place(tmp_path / "m", {name: data for name, data in files.items() if name != WEIGHTS})
    assert findings(folder)[WEIGHTS] == FileCheck(WEIGHTS, 0, "missing", "is missing") == quick_check(folder)


def test_json_cut_and_mended_in_form_is_found_by_reading_it_all(tmp_path: Path, files: dict[str, bytes]) -> None:
    folder = place(tmp_path / "m", files)
    (folder / "SHA256SUMS").unlink(missing_ok=True)
    (folder / "tekken.json").write_bytes(files["tekken.json"][:5000] + b"}")
    assert quick_check(folder) is None
    assert findings(folder)["tekken.json"].detail == "is not valid JSON"


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b'{"a": 1}',
        b'{"a": {"data_offsets": 5}}',
        b'{"a": {"data_offsets": [0, "x"]}}',
        b"\xff\xff",
        b"[" * 90_000,
    ],
    ids=["a list", "no tensor", "no offsets", "no number", "no text", "endless"],
)
def test_a_header_of_nonsense_is_refused_and_never_crashes(
    tmp_path: Path, files: dict[str, bytes], header: bytes
) -> None:
    weights = len(header).to_bytes(8, "little") + header
    folder = place(tmp_path / "m", {**files, WEIGHTS: weights})
    found = quick_check(folder)
    assert found
    assert (found.file, found.detail.split(":")[0]) == (WEIGHTS, "is not a safetensors file")


def test_a_pickle_is_known_by_its_form(tmp_path: Path, files: dict[str, bytes]) -> None:
    import torch

    folder = place(tmp_path / "m", {name: data for name, data in files.items() if name != WEIGHTS})
    weights = folder / "consolidated.00.pth"
    torch.save({"a": torch.zeros(10_000)}, weights)
    assert quick_check(folder) is None
    weights.write_bytes(weights.read_bytes()[:-500])
    found = quick_check(folder)
    assert found
    assert "not a PyTorch file" in found.detail


def test_progress_counts_every_byte(files: dict[str, bytes]) -> None:
    seen = [step for step in full_check(names.demo_folder()) if isinstance(step, Progress)]
    assert seen[-1].done == seen[-1].total == sum(file.stat().st_size for file in layout.files(names.demo_folder()))


def test_a_quick_look_is_quick(tmp_path: Path, files: dict[str, bytes]) -> None:
    """Of a file with 20 GB of holes behind its header nothing but the header is read."""
    import json
    import time

    header = json.dumps({"a": {"dtype": "BF16", "shape": [10**10], "data_offsets": [0, 2 * 10**10]}}).encode()
    folder = place(tmp_path / "m", {**files, WEIGHTS: len(header).to_bytes(8, "little") + header})
    with (folder / WEIGHTS).open("ab") as out:
        out.truncate(8 + len(header) + 2 * 10**10)
    begin = time.process_time()
    assert quick_check(folder) is None
    assert time.process_time() - begin < 0.5
    assert verify.format_problem(folder / WEIGHTS) is None
