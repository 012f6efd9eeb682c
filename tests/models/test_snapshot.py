"""The hub's client does the download, and what a kill or a fault left of it is gone on from."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from pixtral_cli.errors import ModelError, NetworkError
from pixtral_cli.models import layout, names, pull, snapshot
from pixtral_cli.models.hub import DownloadPlan, Hub, RemoteFile
from pixtral_cli.models.pull import PullResult
from pixtral_cli.models.verify import Progress
from tests.hub import FakeHub, Fault, Forever, environment, model_files, until

REPO = "mistralai/Pixtral-12B-2409"
WEIGHTS = layout.WEIGHTS_FILE
SIZE = 48 << 20


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return model_files(names.demo_folder())


@pytest.fixture(scope="module")
def large(files: dict[str, bytes]) -> dict[str, bytes]:
    """A model whose weights come in several pieces of the client."""
    return files | {WEIGHTS: os.urandom(SIZE)}


@pytest.fixture
def fake(files: dict[str, bytes]) -> Iterator[FakeHub]:
    with FakeHub({REPO: {"main": files}}) as fake:
        yield fake


def fetch(fake: FakeHub, client_min_bytes: int = 0) -> tuple[PullResult, list[Progress]]:
    hub = Hub(names.hub_cache(), fake.url)
    steps = list(pull.pull(names.parse(REPO), hub, client_min_bytes=client_min_bytes, retry_delays=(0.01,) * 8))
    assert isinstance(steps[-1], PullResult)
    return steps[-1], [step for step in steps if isinstance(step, Progress)]


def ranges(fake: FakeHub, name: str = WEIGHTS) -> list[bool]:
    """Of each request for a file's bytes, whether it asked for a part."""
    return [bool(one.start) for one in fake.gets(name)]


def test_the_client_brings_the_needed_files_and_no_others(fake: FakeHub, files: dict[str, bytes]) -> None:
    done, seen = fetch(fake)
    needed = {"params.json", "tekken.json", WEIGHTS}
    assert {one.file for one in fake.gets()} == needed
    assert fake.sent(WEIGHTS) == len(files[WEIGHTS])
    assert {path.name for path in done.folder.iterdir()} == needed
    assert done.size == done.fetched == sum(len(files[name]) for name in needed)
    shown = [step for step in seen if step.phase == "Downloading"]
    assert [step.done for step in shown] == sorted(step.done for step in shown)
    assert shown[-1].done == done.size
    assert names.resolve(REPO).folder == done.folder
    fake.log.clear()
    assert fetch(fake)[0].fetched == 0
    assert not fake.gets()


@pytest.mark.parametrize("whole_process", [True, False])
def test_a_kill_in_the_middle_loses_little(large: dict[str, bytes], whole_process: bool) -> None:
    """At most a piece of 1 MB and what was on its way is fetched twice."""
    with FakeHub({REPO: {"main": large}}) as fake:
        fake.faults[WEIGHTS] = [Fault(gate=SIZE * 3 // 4)]
        code = (
            "from pixtral_cli.models import names, pull; from pixtral_cli.models.hub import Hub\n"
            f"for step in pull.pull(names.parse({REPO!r}), Hub.of(), client_min_bytes=0): print(step.done, flush=True)"
        )
        first = subprocess.Popen([sys.executable, "-c", code], env=environment(fake), stdout=subprocess.DEVNULL)
        until(lambda: fake.sent(WEIGHTS) >= SIZE * 3 // 4)
        blobs = Hub(names.hub_cache(), fake.url).home(REPO) / "blobs"
        until(lambda: sum(path.stat().st_size for path in blobs.glob("*.incomplete")) >= 32 << 20)
        first.send_signal(signal.SIGKILL if whole_process else signal.SIGINT)
        first.wait(120)
        done, _ = fetch(fake)
        assert (done.folder / WEIGHTS).read_bytes() == large[WEIGHTS]
        assert ranges(fake)[-1]
        assert fake.sent(WEIGHTS) < SIZE + (8 << 20)
        assert not list(blobs.glob("*.incomplete"))


def test_only_large_files_are_the_clients(
    fake: FakeHub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards below the size are fetched one after another, however many they are: a kill costs one connection's bytes."""
    by_client: list[str] = []
    whole = snapshot.fetch

    def fetch_recorded(plan: DownloadPlan, files: list[RemoteFile], hub: Hub) -> Generator[int, None, bool]:
        by_client.extend(file.name for file in files)
        return whole(plan, files, hub)

    monkeypatch.setattr(snapshot, "fetch", fetch_recorded)
    shards = {f"consolidated-{n:05}-of-00004.safetensors": os.urandom(1 << 20) for n in range(1, 5)}
    small = {name: data for name, data in files.items() if name != WEIGHTS}
    index = {"weight_map": {name: name for name in shards}}
    sharded = {**small, layout.INDEX: json.dumps(index).encode(), **shards}
    with FakeHub({REPO: {"main": sharded}}) as hub:
        fetch(hub, client_min_bytes=1 + (1 << 20))
        assert {name for name in sharded if hub.gets(name)} >= set(shards)
    assert by_client == []
    fetch(fake, client_min_bytes=len(files[WEIGHTS]))
    assert by_client == [WEIGHTS]


def test_stopping_in_the_middle_keeps_what_came_under_one_name(large: dict[str, bytes]) -> None:
    with FakeHub({REPO: {"main": large}}) as fake:
        hub = Hub(names.hub_cache(), fake.url)
        steps = pull.pull(names.parse(REPO), hub, client_min_bytes=0)
        for step in steps:
            if isinstance(step, Progress) and step.phase == "Downloading" and step.done > 20 << 20:
                break
        steps.close()
        (left,) = (hub.home(REPO) / "blobs").glob("*.incomplete")
        assert len(left.name.split(".")) == 2
        assert left.stat().st_size >= 16 << 20
        assert (fetch(fake)[0].folder / WEIGHTS).read_bytes() == large[WEIGHTS]


def test_what_the_client_cannot_do_is_done_without_it(fake: FakeHub, files: dict[str, bytes]) -> None:
    fake.faults[WEIGHTS] = [Fault(500), Fault(cut=1000)]
    done, _ = fetch(fake)
    assert (done.folder / WEIGHTS).read_bytes() == files[WEIGHTS]


@pytest.mark.parametrize(
    ("fault", "error", "says"),
    [
        (Fault(403, {"X-Error-Code": "GatedRepo"}), ModelError, "gated"),
        (Fault(404, {"X-Error-Code": "EntryNotFound"}), ModelError, "no longer on the hub"),
        (Fault(418), NetworkError, "HTTP status 418"),
    ],
)
def test_a_refusal_is_told_as_without_the_client(
    fake: FakeHub, fault: Fault, error: type[Exception], says: str
) -> None:
    fake.faults[WEIGHTS] = Forever([fault])
    with pytest.raises(error, match=says):
        fetch(fake)


def test_wrong_bytes_are_found_whoever_brought_them(fake: FakeHub, files: dict[str, bytes]) -> None:
    wrong = bytes([files[WEIGHTS][0] ^ 1]) + files[WEIGHTS][1:]
    fake.faults[WEIGHTS] = [Fault(body=wrong)]
    done, _ = fetch(fake)
    assert (done.folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_a_kept_part_that_was_wrong_is_fetched_anew(fake: FakeHub, files: dict[str, bytes]) -> None:
    from tests.hub import digest

    blobs = Hub(names.hub_cache(), fake.url).home(REPO) / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{digest(files[WEIGHTS])}.abcd1234.incomplete").write_bytes(b"\0" * 1000)
    done, _ = fetch(fake)
    assert (done.folder / WEIGHTS).read_bytes() == files[WEIGHTS]


def test_a_file_that_another_program_is_writing_is_left_to_it(
    fake: FakeHub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub.utils import WeakFileLock  # type: ignore[attr-defined]

    from tests.hub import digest

    hub = Hub(names.hub_cache(), fake.url)
    name = digest(files[WEIGHTS])
    blobs = hub.home(REPO) / "blobs"
    blobs.mkdir(parents=True)
    theirs = blobs / f"{name}.abcd1234.incomplete"
    theirs.write_bytes(files[WEIGHTS][:1000])
    lock: Path = hub.cache / ".locks" / names.repo_folder(REPO) / f"{name}.lock"
    lock.parent.mkdir(parents=True)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with WeakFileLock(lock):
            held.set()
            free.wait(120)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(120)
    monkeypatch.setattr(snapshot, "LOCK_TIMEOUT", 0.1)
    snapshot.adopt(hub.plan(REPO, None), hub)
    assert theirs.exists()
    free.set()
    holder.join()
    snapshot.adopt(hub.plan(REPO, None), hub)
    assert (blobs / f"{name}.incomplete").read_bytes() == files[WEIGHTS][:1000]


@pytest.mark.parametrize(("ours", "theirs"), [(10, [100, 50]), (100, [10]), (0, [1, 2, 100]), (None, [100, 3])])
def test_of_several_parts_of_a_file_the_longest_is_kept(tmp_path: Path, ours: int | None, theirs: list[int]) -> None:
    hub, digest = Hub(tmp_path, "http://127.0.0.1:9"), "b" * 64
    plan = DownloadPlan("org/name", None, "a" * 40, (RemoteFile("x", 1000, digest),))
    blobs, locks = hub.home("org/name") / "blobs", tmp_path / ".locks" / "models--org--name"
    for folder in (blobs, locks):
        folder.mkdir(parents=True)
    if ours is not None:
        (blobs / f"{digest}.incomplete").write_bytes(bytes(ours))
    for number, size in enumerate(theirs):
        (blobs / f"{digest}.{number:08x}.incomplete").write_bytes(bytes(size))
    snapshot.adopt(plan, hub)
    assert [(file.name, file.stat().st_size) for file in blobs.iterdir()] == [(f"{digest}.incomplete", 100)]
