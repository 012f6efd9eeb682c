"""Torture H: models that are removed by somebody who was sent a folder full of links."""

from pathlib import Path

import pytest

from pixtral_cli.models import layout, names
from tests.cli.calling import Result, pixtral

REPO = "mistralai/Pixtral-12B-2409"
COMMIT = "a" * 40
FILES = (layout.PARAMS_FILE, layout.TOKENIZER_FILE, layout.WEIGHTS_FILE)


@pytest.fixture
def mine(home: Path) -> dict[Path, bytes]:
    """What a user has: another model in the hub's cache, the hub's token, and notes; each file with its content."""
    other = names.hub_cache() / "models--org--other"
    for file in (
        other / "snapshots" / COMMIT / "config.json",
        other / "blobs" / "b",
        names.token_file(),
        home / "notes",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"mine: {file.name}")
    return files_below(home)


def files_below(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and not file.is_symlink()}


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes((names.demo_folder() / name).read_bytes())
    return folder


def remove(what: str) -> Result:
    return pixtral("models", "rm", what, "--yes")


def test_a_clone_whose_cache_is_a_link_takes_nothing_with_it(
    home: Path, tmp_path: Path, mine: dict[Path, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = model(tmp_path / "clone")
    (clone / ".cache").symlink_to(names.hub_cache().parent)
    (clone / "huggingface").symlink_to(home)
    before = files_below(clone)
    monkeypatch.chdir(tmp_path)
    for spelling in ("./clone", str(clone), "clone/../clone"):
        assert remove(spelling).status != 0
    assert mine.items() <= files_below(home).items()
    assert files_below(clone) == before
    assert (clone / ".cache").is_symlink()


def snapshot() -> Path:
    """A model in the hub's cache, without links to blobs, as on a disk that has none."""
    home = names.hub_cache() / names.repo_folder(REPO)
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(COMMIT)
    return model(home / "snapshots" / COMMIT)


def test_links_in_a_model_of_the_cache_are_removed_and_not_followed(home: Path, mine: dict[Path, bytes]) -> None:
    folder = snapshot()
    for place in (folder / ".cache", folder / "deep", folder.parents[1] / "blobs"):
        place.symlink_to(home / "nowhere" if place.name == "blobs" else home)
    (folder / "token").symlink_to(names.token_file())
    refused = remove("pixtral-12b")  # the folder of blobs is a link, wherever it leads
    assert (refused.status, "is a link" in refused.stderr) == (4, True)
    assert layout.missing(folder) == []
    (folder.parents[1] / "blobs").unlink()
    assert remove("pixtral-12b").status == 0
    assert mine.items() <= files_below(home).items()
    assert len(layout.missing(folder)) > 1


def test_every_file_that_goes_is_named_with_its_size_and_a_no_keeps_them(mine: dict[Path, bytes]) -> None:
    folder = snapshot()
    asked = pixtral("models", "rm", "pixtral-12b")  # nobody is there to say yes
    assert asked.status == 2
    for name in FILES:
        (line,) = [line for line in asked.stderr.splitlines() if line.endswith(str(folder / name))]
        assert line.split()[1] in ("bytes", "KiB", "MiB")
    assert layout.missing(folder) == []
