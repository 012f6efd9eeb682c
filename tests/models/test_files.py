"""Downloaded files: on the disk before they have their name, continued only where they were, verified by any list of sums."""

import hashlib
import os
from pathlib import Path

import httpx2
import pytest

from pixtral_cli.models import names, pull, verify
from pixtral_cli.models.hub import Hub, _resumes_at
from tests.hub import FakeHub, model_files


def test_a_downloaded_file_is_on_the_disk_before_it_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str]] = []
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        calls.append(("sync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        calls.append(("rename", str(self)))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    with FakeHub({"mistralai/Pixtral-12B-2409": {"main": model_files(names.demo_folder())}}) as fake:
        list(pull.pull(names.parse("pixtral-12b"), Hub(names.hub_cache(), fake.url)))
    parts = [file for what, file in calls if what == "rename" and file.endswith(".incomplete")]
    assert len(parts) >= 3
    assert all(calls.index(("sync", part)) < calls.index(("rename", part)) for part in parts)


@pytest.mark.parametrize(
    ("status", "told", "resumes"),
    [(206, "bytes 5-9/10", True), (206, "bytes 0-9/10", False), (206, "", False), (200, "bytes 5-9/10", False), (206, "bytes 50-59/60", False)],
)  # fmt: skip
def test_a_download_goes_on_only_where_it_was(status: int, told: str, resumes: bool) -> None:
    assert _resumes_at(httpx2.Response(status, headers={"content-range": told}), 5) is resumes


@pytest.mark.parametrize("mark", ["  ", " *", "\t"])
def test_a_list_of_sums_is_read_with_and_without_the_mark_of_binary_mode(tmp_path: Path, mark: str) -> None:
    (tmp_path / "params.json").write_text("{}")
    digest = hashlib.sha256(b"{}").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}{mark}other.json\n{digest}{mark}params.json\n")
    assert verify.recorded_hash(tmp_path / "params.json") == digest


def test_of_several_snapshots_the_newest_comes_first(tmp_path: Path) -> None:
    for age, letter in enumerate("abc"):
        folder = tmp_path / "snapshots" / (letter * 40)
        folder.mkdir(parents=True)
        os.utime(folder, (age, age))
    assert [path.name[0] for path in names.snapshots(tmp_path, None)] == ["c", "b", "a"]
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "main").write_text("b" * 40)
    assert next(iter(names.snapshots(tmp_path, None))).name[0] == "b"
