"""What is on this machine, and that removing a model takes all of it and nothing else."""

from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download

from pixtral_cli import config
from pixtral_cli.errors import ModelError, PixtralError, UsageError
from pixtral_cli.models import layout, names, quantized_files, store
from pixtral_cli.models.hub import Hub
from pixtral_cli.models.pull import pull
from pixtral_cli.models.removal import plan_removal
from tests.hub import FakeHub, Fault, Forever, commit
from tests.models.conftest import REPO

WEIGHTS = layout.WEIGHTS_FILE


def listed() -> dict[str, store.InstalledModel]:
    return {model.name: model for model in store.installed_models()}


def fetch(hub: Hub, name: str = "pixtral-12b") -> None:
    list(pull(names.parse(name), hub, retry_delays=()))


def bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def test_the_demo_is_always_there() -> None:
    assert {name: model.state for name, model in listed().items()} == {"demo": "built in"}


def test_whole_partial_and_damaged_models_are_distinguished(
    hub: Hub, fake: FakeHub, files: dict[str, bytes], home: Path
) -> None:
    fake.faults[WEIGHTS] = Forever([Fault(cut=1_000_000)])
    with pytest.raises(Exception, match="broke the connection off"):
        fetch(hub)
    half = listed()["pixtral-12b"]
    small = sum(len(data) for name, data in files.items() if name in ("params.json", "tekken.json"))
    assert (half.state, half.detail) == ("incomplete", f"{WEIGHTS} is missing")
    assert half.size == 1_000_000 + small
    fake.faults.clear()
    fetch(hub)
    assert listed()["pixtral-12b"].state == "complete"
    vendor = home / "mistral_models" / "Pixtral"
    vendor.mkdir(parents=True)
    for name in ("params.json", "tekken.json"):
        (vendor / name).write_bytes(files[name])
    (vendor / WEIGHTS).write_bytes(files[WEIGHTS][:-1])
    assert listed()[str(vendor)].state == "damaged"
    assert "is cut short" in listed()[str(vendor)].detail


def test_other_peoples_models_in_the_cache_are_not_listed(hub: Hub, fake: FakeHub) -> None:
    snapshot_download(REPO, cache_dir=hub.cache, endpoint=fake.url, allow_patterns=["config.json", "model-*"])
    (hub.cache / "models--broken").mkdir()
    (hub.cache / "file").write_text("")
    assert set(listed()) == {"demo"}


def test_each_revision_is_listed_under_a_name_that_finds_it(files: dict[str, bytes]) -> None:
    old = {**files, "params.json": files["params.json"] + b"\n"}
    with FakeHub({REPO: {"main": files, "v1": old}}) as fake:
        hub = Hub(names.hub_cache(), fake.url)
        fetch(hub)
        fetch(hub, "pixtral-12b@v1")
    assert set(listed()) == {"demo", "pixtral-12b", f"pixtral-12b@{commit(old)[:8]}"}
    for name, model in listed().items():
        assert names.resolve(name).folder == model.folder


def test_removing_a_model_frees_what_it_says(hub: Hub, fake: FakeHub) -> None:
    fetch(hub)
    before = bytes_in(hub.home(REPO))
    removal = plan_removal(names.parse("pixtral-12b"))
    assert bytes_in(hub.home(REPO)) == before, "nothing goes before it is asked to"
    assert removal.size == before
    removal.run()
    assert not hub.home(REPO).exists()
    assert set(listed()) == {"demo"}


def test_what_is_being_downloaded_is_not_removed(hub: Hub) -> None:
    fetch(hub)
    before = bytes_in(hub.home(REPO))
    removal = plan_removal(names.parse("pixtral-12b"))
    with hub.lock(REPO), pytest.raises(PixtralError, match=f"Another process is downloading {REPO}"):
        removal.run()
    assert bytes_in(hub.home(REPO)) == before


def test_removing_one_revision_leaves_the_files_that_the_other_shares(files: dict[str, bytes]) -> None:
    old = {**files, "params.json": files["params.json"] + b"\n"}
    with FakeHub({REPO: {"main": files, "v1": old}}) as fake:
        hub = Hub(names.hub_cache(), fake.url)
        fetch(hub)
        fetch(hub, "pixtral-12b@v1")
        removal = plan_removal(names.parse("pixtral-12b@v1"))
        assert removal.size == len(old["params.json"]) + 40  # and the ref
        removal.run()
        assert set(listed()) == {"demo", "pixtral-12b"}
        assert scan_cache_dir(hub.cache).size_on_disk == sum(map(len, files.values()))
        assert not scan_cache_dir(hub.cache).warnings


def test_removing_half_a_download_frees_it_too(hub: Hub, fake: FakeHub) -> None:
    fake.faults[WEIGHTS] = Forever([Fault(cut=1_000_000)])
    with pytest.raises(Exception, match="broke the connection off"):
        fetch(hub)
    removal = plan_removal(names.parse(REPO))
    assert removal.size > 1_000_000
    removal.run()
    assert not hub.home(REPO).exists()


def test_files_of_other_formats_in_the_same_snapshot_stay(hub: Hub, fake: FakeHub) -> None:
    snapshot_download(REPO, cache_dir=hub.cache, endpoint=fake.url)
    plan_removal(names.parse("pixtral-12b")).run()
    [repo] = scan_cache_dir(hub.cache).repos
    [revision] = repo.revisions
    left = {file.file_name for file in revision.files}
    assert {"config.json", "model-00001-of-00002.safetensors"} <= left
    assert not left & {"params.json", "tekken.json", WEIGHTS}
    assert set(listed()) == {"demo"}


def test_a_cache_in_disorder_can_be_removed(hub: Hub, fake: FakeHub) -> None:
    fetch(hub)
    (hub.home(REPO) / "refs" / "lost").write_text("f" * 40)
    assert scan_cache_dir(hub.cache).warnings
    plan_removal(names.parse("pixtral-12b")).run()
    assert not hub.home(REPO).exists()


def test_a_folder_that_another_program_filled_is_left_alone(home: Path, fake: FakeHub, hub: Hub) -> None:
    folder = home / "mistral_models" / "Pixtral"
    snapshot_download(REPO, local_dir=folder, endpoint=fake.url, allow_patterns=["params.json", "tekken.json", WEIGHTS])
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for name in ("pixtral-12b", str(folder)):
        with pytest.raises(UsageError, match="pixtral did not put the model into"):
            plan_removal(names.parse(name))
    made = quantized_files.quantized_path(config.paths().cache, folder, "8bit")
    made.parent.mkdir(parents=True)
    made.write_bytes(b"x" * 100)
    removal = plan_removal(names.parse(str(folder)))
    assert removal.files == ((made, 100),)
    removal.run()
    assert not made.exists()
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_every_file_and_its_size_are_named_and_nothing_else_goes(hub: Hub, fake: FakeHub) -> None:
    fetch(hub)
    removal = plan_removal(names.parse("pixtral-12b"))
    there = {file for file in hub.home(REPO).rglob("*") if file.is_symlink() or file.is_file()}
    assert {file for file, _ in removal.files} == there
    assert all(size == (0 if file.is_symlink() else file.stat().st_size) for file, size in removal.files)
    late = hub.home(REPO) / "mine.txt"
    late.write_text("came after the plan")
    removal.run()
    assert [file for file in hub.home(REPO).rglob("*") if file.is_file()] == [late]


@pytest.mark.parametrize("place", ["", "snapshots", "blobs"])
def test_nothing_is_removed_through_a_link_to_a_folder(hub: Hub, fake: FakeHub, tmp_path: Path, place: str) -> None:
    fetch(hub)
    real = hub.home(REPO) / place
    real.rename(tmp_path / "elsewhere")
    real.symlink_to(tmp_path / "elsewhere")
    count = len(list((tmp_path / "elsewhere").rglob("*")))
    with pytest.raises(ModelError, match="is a link"):
        plan_removal(names.parse("pixtral-12b"))
    assert len(list((tmp_path / "elsewhere").rglob("*"))) == count


@pytest.mark.parametrize("name", [WEIGHTS, ".cache", "deep"])
def test_a_link_in_a_snapshot_goes_and_what_it_names_stays(hub: Hub, fake: FakeHub, tmp_path: Path, name: str) -> None:
    fetch(hub)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "token").write_text("secret")
    link = names.resolve("pixtral-12b").folder / name
    link.unlink(missing_ok=True)
    link.symlink_to(mine / "token" if name == WEIGHTS else mine)
    plan_removal(names.parse("pixtral-12b@main" if name == WEIGHTS else "pixtral-12b")).run()
    assert (mine / "token").read_text() == "secret"


def test_what_is_not_there_cannot_be_removed(hub: Hub, fake: FakeHub, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        plan_removal(names.parse("demo"))
    with pytest.raises(ModelError, match="not on this machine"):
        plan_removal(names.parse("org/unknown"))
    with pytest.raises(ModelError, match="no model in this folder"):
        plan_removal(names.parse(str(tmp_path)))
    fetch(hub)
    with pytest.raises(ModelError, match="not on this machine"):
        plan_removal(names.parse("pixtral-12b@v9"))


def test_the_demo_is_its_folder_and_not_its_name(tmp_path: Path, files: dict[str, bytes]) -> None:
    with pytest.raises(UsageError):
        plan_removal(names.parse(str(names.demo_folder())))
    mine = tmp_path / "demo"
    mine.mkdir()
    (mine / WEIGHTS).write_bytes(files[WEIGHTS])
    with pytest.raises(UsageError, match="did not put"):
        plan_removal(names.parse(str(mine)))
