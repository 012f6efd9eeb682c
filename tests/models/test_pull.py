"""Downloads against a server that speaks the hub's protocol, through the hub's real client."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import scan_cache_dir, snapshot_download

from pixtral_cli.errors import ModelError, NetworkError, PixtralError
from pixtral_cli.models import layout, names, verify
from pixtral_cli.models.hub import Hub
from pixtral_cli.models.hub import offline as hub_offline
from pixtral_cli.models.pull import RETRY_DELAYS, PullResult, check_local, pull
from pixtral_cli.models.verify import Progress
from tests.hub import FakeHub, Fault, Forever, commit, digest, gated, model_files
from tests.models.conftest import REPO

WEIGHTS = layout.WEIGHTS_FILE
AT_ONCE = (0.0, 0.0, 0.0)


def fetch(hub: Hub, name: str = "pixtral-12b", retry_delays: tuple[float, ...] = AT_ONCE) -> PullResult:
    *_, last = pull(names.parse(name), hub, retry_delays=retry_delays)
    assert isinstance(last, PullResult)
    return last


def steps(hub: Hub, name: str = "pixtral-12b") -> list[Progress]:
    return [step for step in pull(names.parse(name), hub, retry_delays=AT_ONCE) if isinstance(step, Progress)]


def partial(hub: Hub, data: bytes) -> Path:
    return hub.home(REPO) / "blobs" / f"{digest(data)}.incomplete"


def test_brings_the_needed_files_and_no_others(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    done = fetch(hub)
    assert model_files(done.folder) == files
    assert done.fetched == done.size == sum(map(len, files.values()))
    assert sorted(request.file for request in fake.gets()) == sorted(files)


def test_what_it_brings_is_found_by_the_hubs_own_client(hub: Hub, fake: FakeHub) -> None:
    done = fetch(hub)
    assert Path(snapshot_download(REPO, cache_dir=hub.cache, local_files_only=True)) == done.folder
    [repo] = scan_cache_dir(hub.cache).repos
    assert (repo.size_on_disk, set(repo.refs)) == (done.size, {"main"})
    assert not scan_cache_dir(hub.cache).warnings


def test_what_the_hubs_own_client_brought_is_not_fetched_again(hub: Hub, fake: FakeHub) -> None:
    snapshot_download(REPO, cache_dir=hub.cache, endpoint=fake.url, allow_patterns=["*.json", WEIGHTS])
    fake.log.clear()
    assert fetch(hub).fetched == 0
    assert not fake.gets()


def test_the_model_that_came_is_the_one_that_runs(hub: Hub, fake: FakeHub) -> None:
    done = fetch(hub)
    model = names.resolve(None)
    assert (model.name, model.folder) == ("pixtral-12b", done.folder)


def test_progress_never_goes_back_and_ends_at_the_whole(hub: Hub, fake: FakeHub) -> None:
    seen = steps(hub)
    assert [step.done for step in seen] == sorted(step.done for step in seen)
    assert seen[-1].done == seen[-1].total
    assert {step.phase for step in seen} == {"Downloading"}
    assert {step.phase for step in steps(hub)} == {"Checking"}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_hub_that_is_busy_is_asked_again(hub: Hub, fake: FakeHub, status: int) -> None:
    fake.faults[WEIGHTS] = [Fault(status=status)]
    assert sum("trying again" in step.note for step in steps(hub)) == 1


def test_a_cut_connection_is_taken_up_where_it_ended(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    fake.faults[WEIGHTS] = [Fault(cut=1_000_000), Fault(cut=1_000_000), Fault(cut=5_000_000), Fault(status=503)]
    seen = steps(hub)
    assert [request.start for request in fake.gets(WEIGHTS)] == [0, 1_000_000, 1_000_000, 0, 5_000_000]
    assert fake.sent(WEIGHTS) == len(files[WEIGHTS])
    assert sum("trying again" in step.note for step in seen) == 4


def test_tries_end_when_nothing_more_comes_and_what_came_is_kept(
    hub: Hub, fake: FakeHub, files: dict[str, bytes]
) -> None:
    fake.faults[WEIGHTS] = Forever([Fault(cut=2_000_000)])
    with pytest.raises(NetworkError, match="broke the connection off") as caught:
        fetch(hub)
    assert "go on with: pixtral pull pixtral-12b" in caught.value.hint
    assert len(fake.gets(WEIGHTS)) == 1 + len(AT_ONCE)
    assert partial(hub, files[WEIGHTS]).stat().st_size == 2_000_000
    fake.faults.clear()
    assert fetch(hub).fetched == len(files[WEIGHTS]) - 2_000_000


def test_a_server_without_ranges_starts_again(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    fake.faults[WEIGHTS] = [Fault(cut=3_000_000), Fault(ranges=False)]
    assert model_files(fetch(hub).folder) == files


def test_a_storage_server_elsewhere_gets_the_range_and_never_the_token(
    hub: Hub, fake: FakeHub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real hub sends large files from another host, by a redirect."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with FakeHub({REPO: {"main": files}}) as storage:
        there = {"Location": f"{storage.url}/{REPO}/resolve/main/{WEIGHTS}"}
        fake.faults[WEIGHTS] = Forever([Fault(302, there)])
        storage.faults[WEIGHTS] = [Fault(cut=3_000_000)]
        assert model_files(fetch(hub).folder) == files
        assert [request.start for request in storage.gets()] == [0, 3_000_000]
        assert not any("authorization" in request.headers for request in storage.log)
    assert all(request.headers["authorization"] == "Bearer hf_secret" for request in fake.log)


def test_a_slow_drip_is_slow_and_whole(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    fake.faults["params.json"] = [Fault(piece=20, pause=0.01)]
    seen = [step.done for step in steps(hub) if step.file == "params.json"]
    assert len(seen) > 5
    assert seen[-1] == len(files["params.json"])


def test_a_silent_server_is_given_up(fake: FakeHub) -> None:
    fake.faults[WEIGHTS] = Forever([Fault(gate=1000)])
    with pytest.raises(NetworkError, match="does not answer in time"):
        fetch(Hub(names.hub_cache(), fake.url, timeout=0.2), retry_delays=())


def test_a_silent_listing_is_given_up(fake: FakeHub) -> None:
    fake.faults["api"] = [Fault(gate=0)]
    with pytest.raises(NetworkError, match="does not answer in time"):
        fetch(Hub(names.hub_cache(), fake.url, timeout=0.2))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda data: data[:4_000_000] + bytes([data[4_000_000] ^ 1]) + data[4_000_001:], "another hash"),
        (lambda data: data + b"more", "another hash"),
        (lambda data: b"<!DOCTYPE html><title>Log in</title>".ljust(len(data)), "web page"),
        (lambda data: b"version https://git-lfs.github.com/spec/v1\n".ljust(len(data)), "Git LFS pointer"),
    ],
    ids=["a bit flipped", "longer", "a web page", "a Git LFS pointer"],
)
def test_wrong_bytes_are_refused_by_name_and_mended_by_the_next_call(
    hub: Hub, fake: FakeHub, files: dict[str, bytes], make: Callable[[bytes], bytes], says: str
) -> None:
    fake.faults[WEIGHTS] = [Fault(body=make(files[WEIGHTS]))]
    with pytest.raises(ModelError, match=f"{WEIGHTS} arrived damaged: .*{says}") as caught:
        fetch(hub)
    assert "pixtral pull pixtral-12b" in caught.value.hint
    assert names.resolve(None).name == "demo"
    assert model_files(fetch(hub).folder) == files
    assert fake.gets(WEIGHTS)[-1].start == 0


def test_a_body_too_short_is_never_taken_for_the_file(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    fake.faults[WEIGHTS] = Forever([Fault(body=b"<html>pay for your wifi</html>", ranges=False)])
    with pytest.raises(NetworkError, match="ended in the middle"):
        fetch(hub)
    assert not (hub.home(REPO) / "blobs" / digest(files[WEIGHTS])).exists()


def test_a_body_that_goes_on_and_on_is_left_soon_after_its_end(
    hub: Hub, fake: FakeHub, files: dict[str, bytes]
) -> None:
    more = 64 << 20
    fake.faults[WEIGHTS] = [Fault(body=files[WEIGHTS] + bytes(more))]
    with pytest.raises(ModelError, match=f"{WEIGHTS} arrived damaged"):
        fetch(hub)
    assert fake.sent(WEIGHTS) < len(files[WEIGHTS]) + more // 2  # what the connection's buffers hold, and no more
    assert model_files(fetch(hub).folder) == files


def test_small_files_are_compared_with_gits_hash(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    fake.faults["params.json"] = [Fault(body=files["params.json"].replace(b"1", b"2", 1))]
    with pytest.raises(ModelError, match=r"params\.json arrived damaged"):
        fetch(hub)


def test_a_file_damaged_on_the_disk_is_found_and_fetched_again(
    hub: Hub, fake: FakeHub, files: dict[str, bytes]
) -> None:
    blob = (fetch(hub).folder / WEIGHTS).resolve()
    data = bytearray(files[WEIGHTS])
    data[5_000_000] ^= 4
    blob.write_bytes(data)
    fake.log.clear()
    assert model_files(fetch(hub).folder) == files
    assert [request.file for request in fake.gets()] == [WEIGHTS]


def test_a_cache_without_symbolic_links_serves_too(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    folder = fetch(hub).folder
    for name in files:
        blob = (folder / name).resolve()
        (folder / name).unlink()
        blob.rename(folder / name)
    fake.log.clear()
    assert fetch(hub).fetched == 0
    (folder / WEIGHTS).write_bytes(files[WEIGHTS][:1000])
    assert model_files(fetch(hub).folder) == files
    assert [request.file for request in fake.gets()] == [WEIGHTS]


def test_revisions_are_fetched_and_found_by_their_names(files: dict[str, bytes]) -> None:
    old = {**files, "params.json": files["params.json"] + b"\n"}
    with FakeHub({REPO: {"main": files, "v1": old, "refs/pr/7": old}}) as fake:
        hub = Hub(names.hub_cache(), fake.url)
        new = fetch(hub).folder
        assert fetch(hub, "pixtral-12b@v1").fetched == len(old["params.json"])
        short = commit(old)[:9]
        for name in ("pixtral-12b@v1", f"{REPO}@v1", f"{REPO}@{commit(old)}", f"{REPO}@{short}"):
            assert names.resolve(name).folder.name == commit(old), name
        assert fetch(hub, f"{REPO}@refs/pr/7").folder == names.resolve(f"{REPO}@refs/pr/7").folder
        assert names.resolve("pixtral-12b").folder == new
        with pytest.raises(ModelError, match="has no revision 'v9'"):
            fetch(hub, "pixtral-12b@v9")


def test_a_moved_branch_brings_only_what_changed(files: dict[str, bytes]) -> None:
    revisions = {"main": files}
    with FakeHub({REPO: revisions}) as fake:
        hub = Hub(names.hub_cache(), fake.url)
        fetch(hub)
        revisions["main"] = {**files, "params.json": files["params.json"] + b" "}
        assert fetch(hub).fetched == len(files["params.json"]) + 1
        assert names.resolve(None).folder.name == commit(revisions["main"])


def test_shards_come_with_their_index(files: dict[str, bytes]) -> None:
    shards = {f"consolidated-0000{n}-of-00003.safetensors": bytes([n]) * 150_000 for n in (1, 2, 3)}
    small = {name: files[name] for name in ("params.json", "tekken.json")}
    model = {**small, **shards, "consolidated.safetensors.index.json": b'{"weight_map": {}}'}
    with FakeHub({"org/large": {"main": {**model, "model-00001-of-00003.safetensors": b"no"}}}) as fake:
        hub = Hub(names.hub_cache(), fake.url)
        assert model_files(fetch(hub, "org/large").folder) == model
        assert names.resolve("org/large").name == "org/large"


@pytest.mark.parametrize(
    ("lost", "says"), [("tekken.json", "tekken.json is missing"), (WEIGHTS, "consolidated.safetensors is missing")]
)
def test_a_repository_in_another_format_is_refused_before_anything_is_fetched(
    files: dict[str, bytes], lost: str, says: str
) -> None:
    left = {name: data for name, data in files.items() if name != lost}
    with FakeHub({"org/other": {"main": {**left, "model.safetensors": b"x"}}}) as fake:
        with pytest.raises(ModelError, match=says):
            fetch(Hub(names.hub_cache(), fake.url), "org/other")
        assert not fake.gets()


def refused(status: int, code: str = "", message: str = "") -> Fault:
    return Fault(status, {"X-Error-Code": code, "X-Error-Message": message})


@pytest.mark.parametrize(
    ("where", "fault", "says", "hint", "exit_status"),
    [
        (WEIGHTS, gated(401), "gated, and you are not logged in", f"accept its terms at .*/{REPO}, then log in", 4),
        ("params.json", gated(403), "gated, and your account has no access", f"accept its terms at .*/{REPO}", 4),
        ("api", gated(401), "gated, and you are not logged in", "hf auth login", 4),
        ("api", refused(401, "RepoNotFound"), "no such repository, or a private one", "hf auth login", 4),
        ("api", refused(404, "RepoNotFound"), "no such repository", "check the name", 4),
        ("api", refused(404), "no such repository", "check the name", 4),
        ("api", refused(401, "", "Invalid credentials in Authorization header"), "refuses your token", "log in", 4),
        ("api", refused(403), "forbids access", "token", 4),
        (WEIGHTS, refused(404, "EntryNotFound"), "no longer on the hub", "/tree/main", 4),
        ("api", refused(429), "HTTP status 429", "few minutes", 5),
        (WEIGHTS, refused(500), "HTTP status 500", "go on with", 5),
        ("api", refused(418), "HTTP status 418", "try again", 5),
        ("api", Fault(body=b"<html>Pay for your wifi</html>"), "not as a model hub does", "proxy", 5),
        ("api", Fault(body=b'["a"]'), "not as a model hub does", "proxy", 5),
        ("api", Fault(body=b'{"id": "a/b", "sha": "../x", "siblings": []}'), "not as a model hub does", "proxy", 5),
    ],
)
def test_each_refusal_says_why_and_what_to_do(
    hub: Hub, fake: FakeHub, where: str, fault: Fault, says: str, hint: str, exit_status: int
) -> None:
    fake.faults[where] = Forever([fault])
    with pytest.raises(PixtralError, match=says) as caught:
        fetch(hub)
    assert caught.value.status == exit_status
    assert len(caught.value.message) <= 120
    assert hint.split(".*")[-1].lower() in caught.value.hint.lower()
    assert names.resolve(None).name == "demo"


def test_hashes_in_a_listing_cannot_name_other_places(hub: Hub, fake: FakeHub) -> None:
    evil = b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "params.json", "size": 1, "blobId": "../../x"}]}'
    fake.faults["api"] = [Fault(body=evil % (b"a" * 40))]
    with pytest.raises(NetworkError, match="not as a model hub does"):
        fetch(hub)


def test_no_server_listening_is_a_network_error() -> None:
    with pytest.raises(NetworkError, match="cannot be reached"):
        fetch(Hub(names.hub_cache(), "http://127.0.0.1:1"))


def test_a_short_disk_is_reported_before_a_byte_is_fetched(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    fake.faults[WEIGHTS] = Forever([Fault(cut=3_000_000)])
    with pytest.raises(NetworkError):
        fetch(hub)
    fake.faults.clear()
    fake.log.clear()
    rest = len(files[WEIGHTS]) - 3_000_000
    with pytest.raises(ModelError, match=rf"need {rest / 2**20:.1f} MiB, have 1\.0 MiB") as caught:
        list(pull(names.parse("pixtral-12b"), hub, free=lambda folder: 2**20))
    assert "HF_HOME" in caught.value.hint
    assert not fake.gets()
    *_, done = pull(names.parse("pixtral-12b"), hub, free=lambda folder: rest)
    assert isinstance(done, PullResult)


def test_a_disk_that_fills_up_keeps_what_came(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    full = partial(hub, files[WEIGHTS])
    full.parent.mkdir(parents=True)
    full.symlink_to("/dev/full")
    with pytest.raises(ModelError, match=r"The disk of .* is full") as caught:
        fetch(hub)
    assert "it goes on" in caught.value.hint
    full.unlink()
    assert fetch(hub).fetched == len(files[WEIGHTS])


def test_a_cache_that_is_a_file_is_reported(tmp_path: Path, fake: FakeHub) -> None:
    (tmp_path / "hub").write_text("")
    with pytest.raises(ModelError, match="Cannot write to") as caught:
        fetch(Hub(tmp_path / "hub", fake.url))
    assert "HF_HOME" in caught.value.hint


def test_two_downloads_of_one_model_do_not_mix(hub: Hub, fake: FakeHub) -> None:
    with hub.lock(REPO), pytest.raises(PixtralError, match="Another process is downloading"):
        fetch(hub)
    assert fetch(hub).fetched


def test_offline_a_whole_model_is_checked_and_a_partial_one_is_a_network_error(
    hub: Hub, fake: FakeHub, files: dict[str, bytes]
) -> None:
    with pytest.raises(NetworkError, match="offline"):
        list(check_local(names.parse("pixtral-12b")))
    folder = fetch(hub).folder
    fake.log.clear()
    *_, done = check_local(names.parse("pixtral-12b"))
    assert done == PullResult(folder, sum(map(len, files.values())), 0)
    blob = (folder / WEIGHTS).resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    with pytest.raises(ModelError, match=f"{WEIGHTS} is damaged"):
        list(check_local(names.parse("pixtral-12b")))
    assert not fake.log


def test_offline_no_unrecorded_hashes_are_claimed(home: Path, files: dict[str, bytes]) -> None:
    folder = home / "mistral_models" / "Pixtral"
    folder.mkdir(parents=True)
    for name in ("params.json", "tekken.json", WEIGHTS):
        (folder / name).write_bytes(files[name])
    *_, done = check_local(names.parse("pixtral-12b"))
    assert isinstance(done, PullResult)
    assert (done.folder, done.compared) == (folder, False)


def test_the_hash_of_what_came_is_taken_while_it_comes(hub: Hub, fake: FakeHub, files: dict[str, bytes]) -> None:
    """Nothing is read twice: a fresh download has no phase of checking, and the blob bears its hash for a name."""
    assert {step.phase for step in steps(hub)} == {"Downloading"}
    blob = (names.resolve(None).folder / WEIGHTS).resolve()
    assert (
        blob.name
        == hashlib.sha256(files[WEIGHTS]).hexdigest()
        == verify.recorded_hash(names.resolve(None).folder / WEIGHTS)
    )


@pytest.mark.parametrize(("size", "taken"), [(10_000_000, True), (10_000_001, False)])
def test_a_configuration_of_ten_megabytes_is_read_and_a_larger_one_is_none(
    hub: Hub, fake: FakeHub, size: int, taken: bool
) -> None:
    seen: list[int] = []

    def check(content: bytes, form: layout.Format, name: str) -> None:
        seen.append(len(content))
        raise PixtralError("enough")

    fake.faults["params.json"] = [Fault(body=b" " * size)]
    with pytest.raises(PixtralError, match="enough" if taken else "params.json .* is larger than any configuration"):
        list(pull(names.parse("pixtral-12b"), hub, check=check))
    assert seen == [size] * taken
    assert not fake.gets(WEIGHTS)


@pytest.mark.parametrize(
    ("env", "off"),
    [
        ({}, False), ({"HF_HUB_OFFLINE": "1"}, True), ({"HF_HUB_OFFLINE": "yes"}, True), ({"HF_HUB_OFFLINE": "on"}, True),
        ({"TRANSFORMERS_OFFLINE": "true"}, True), ({"HF_HUB_OFFLINE": "0"}, False), ({"TRANSFORMERS_OFFLINE": ""}, False),
        ({"HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "1"}, True),
    ],
)  # fmt: skip
def test_the_environment_turns_the_network_off(env: dict[str, str], off: bool) -> None:
    assert hub_offline(env) is off


def test_retries_wait_longer_each_time_and_begin_anew_when_bytes_come(
    hub: Hub, fake: FakeHub, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", lambda seconds: waits.append(seconds) if seconds else None)
    busy = Fault(503)
    fake.faults[WEIGHTS] = [busy, busy, Fault(cut=1_000_000), busy, *[busy] * 2]
    assert model_files(fetch(hub, retry_delays=RETRY_DELAYS).folder) == files
    assert waits == [1.0, 2.0, 1.0, 2.0, 4.0, 8.0]


def test_after_five_retries_without_a_byte_it_is_given_up(
    hub: Hub, fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", lambda seconds: waits.append(seconds) if seconds else None)
    fake.faults[WEIGHTS] = Forever([Fault(503)])
    with pytest.raises(NetworkError, match="status 503") as error:
        fetch(hub, retry_delays=RETRY_DELAYS)
    assert waits == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert error.value.hint == "What came is kept; go on with: pixtral pull pixtral-12b"
