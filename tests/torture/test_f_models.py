"""F 59 and 60: downloads that are killed or refused, and weights that are not what they should be."""

import io
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixtral_cli.engines.factory import open_engine
from pixtral_cli.engines.options import EngineOptions
from pixtral_cli.errors import ModelError
from pixtral_cli.models import layout, names
from pixtral_cli.terminal.output.output import Output
from pixtral_cli.terminal.views.models import verify_model
from tests.hub import FakeHub, Fault, Forever, commit, digest, gated, model_files, pixtral, running, until

REPO = "mistralai/Pixtral-12B-2409"
WEIGHTS = layout.WEIGHTS_FILE
BUFFERED = 1 << 13  # bytes that a killed process may have had in hand
PULL = ("pull", "pixtral-12b")


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    return model_files(names.demo_folder())


@pytest.fixture
def fake(files: dict[str, bytes]) -> Iterator[FakeHub]:
    with FakeHub({REPO: {"main": files}}) as hub:
        yield hub


def test_59_a_download_killed_at_ten_points_goes_on_from_each(fake: FakeHub, files: dict[str, bytes]) -> None:
    """SIGKILL before the listing's answer, in a small file, and at eight places of the weights up to the last byte but one."""
    size = len(files[WEIGHTS])
    weights = [(size - 1) * n // 7 for n in range(8)]
    for name, at in [("api", 0), ("params.json", 100), *((WEIGHTS, at) for at in weights)]:
        fault = Fault(gate=at)
        fake.faults[name] = [fault]
        with running(fake, PULL) as process:
            assert fault.reached.wait(120), f"never came to {name} {at}"
            if name == WEIGHTS:
                until(lambda: _here(files[WEIGHTS]) >= at - BUFFERED)  # noqa: B023
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        fault.open.set()
        with pytest.raises(ModelError, match=r"partly downloaded|not on this machine"):
            names.resolve("pixtral-12b")
    fake.faults.clear()
    done = pixtral(fake, *PULL)
    assert done.returncode == 0
    assert model_files(names.resolve("pixtral-12b").folder) == files
    starts = [request.start for request in fake.gets(WEIGHTS)]
    assert len(starts) > len(weights), starts
    assert all(start >= at - BUFFERED for start, at in zip(starts[1:], weights, strict=False)), starts


def _here(data: bytes) -> int:
    """How many bytes of a file a download has brought."""
    blob = names.hub_cache() / names.repo_folder(REPO) / "blobs" / digest(data)
    return max((file.stat().st_size for file in blob.parent.glob(f"{blob.name}*")), default=0)


def test_59_a_short_disk_is_reported_with_the_sizes_before_a_byte_comes(fake: FakeHub) -> None:
    """The listing claims 10 PB of weights: more than any disk this runs on has free."""
    huge = b'{"id": "a/b", "sha": "%s", "siblings": [%s]}' % (
        commit(fake.repos[REPO]["main"]).encode(),
        b", ".join(
            b'{"rfilename": "%s", "size": %d, "blobId": "%s"}' % (name.encode(), size, b"b" * 40)
            for name, size in (("params.json", 1), ("tekken.json", 1), (WEIGHTS, 10**16))
        ),
    )
    fake.faults["api"] = [Fault(body=huge)]
    done = pixtral(fake, *PULL)
    assert done.returncode == 4
    assert "Not enough disk space" in done.stderr
    assert "need 9094.9 TiB, have " in done.stderr
    assert "HF_HOME" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {one.file for one in fake.gets()} <= {"params.json"}, "the configuration alone, which may refuse the model"


@pytest.mark.parametrize("status", [401, 403])
def test_59_a_gated_model_says_where_to_accept_its_terms(fake: FakeHub, status: int) -> None:
    fake.faults["params.json"] = Forever([gated(status)])
    done = pixtral(fake, *PULL)
    assert done.returncode == 4
    assert f"{fake.url}/{REPO}" in done.stderr
    assert "Traceback" not in done.stderr


def test_59_offline_names_the_remedy(fake: FakeHub) -> None:
    done = pixtral(fake, *PULL, HF_ENDPOINT="http://127.0.0.1:1")
    assert done.returncode == 5
    assert "cannot be reached" in done.stderr
    assert done.stderr.count("\n") == 1
    assert pixtral(fake, *PULL, "--offline").returncode == 5
    assert not fake.log


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


BAD: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda data: data[: len(data) // 2],
    "truncated in its header": lambda data: data[:100],
    "empty": lambda data: b"",
    "a Git LFS pointer": lambda data: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
    "a web page": lambda data: b"\n<!doctype html>\n<title>Sign in</title>",
    "noise": lambda data: bytes(range(256)) * 8,
    "longer": lambda data: data + b"\0",
}


CASES = [(name, bad) for name in (WEIGHTS, "tekken.json", "params.json") for bad in BAD]


@pytest.mark.parametrize(("name", "bad"), CASES)
def test_60_a_file_that_is_not_itself_is_named_when_the_model_is_loaded(
    files: dict[str, bytes], name: str, bad: str
) -> None:
    folder = _installed({**files, name: BAD[bad](files[name])})
    with pytest.raises(ModelError, match=name) as caught:
        open_engine(EngineOptions(), folder, name="pixtral-12b").load()  # type: ignore[attr-defined]
    assert caught.value.status == 4
    assert "pixtral models verify pixtral-12b" in caught.value.hint


@pytest.mark.parametrize(("name", "bad"), CASES)
def test_60_verify_names_the_file_and_the_command_that_mends_it(files: dict[str, bytes], name: str, bad: str) -> None:
    folder = _installed({**files, name: BAD[bad](files[name])}, hashes=files)
    with pytest.raises(ModelError, match=f"{name} (is|has)") as caught:
        verify_model("pixtral-12b", Output(stdout=io.StringIO(), stderr=io.StringIO()))
    assert str(folder) in caught.value.message
    assert caught.value.status == 4
    assert caught.value.hint == "Fetch it again: pixtral pull pixtral-12b"


def test_60_flipped_bits_are_caught_by_verify_and_mended_by_pull(fake: FakeHub, files: dict[str, bytes]) -> None:
    folder = _installed(files)
    (folder / WEIGHTS).resolve().write_bytes(flipped(files[WEIGHTS]))
    found = pixtral(fake, "models", "verify", "pixtral-12b")
    assert found.returncode == 4
    assert WEIGHTS in found.stderr
    assert "pixtral pull pixtral-12b" in found.stderr
    assert pixtral(fake, *PULL).returncode == 0
    assert model_files(names.resolve("pixtral-12b").folder) == files


def test_60_a_truncated_file_is_seen_in_the_list_and_by_verify(fake: FakeHub, files: dict[str, bytes]) -> None:
    folder = _installed(files)
    (folder / WEIGHTS).resolve().write_bytes(files[WEIGHTS][:5000])
    assert f"damaged: {WEIGHTS} is cut short" in pixtral(fake, "models").stdout
    found = pixtral(fake, "models", "verify", "pixtral-12b")
    assert found.returncode == 4
    assert f"{WEIGHTS} is cut short" in found.stderr


def _installed(files: dict[str, bytes], hashes: dict[str, bytes] | None = None) -> Path:
    """The model as a download leaves it in the hub's cache; `hashes` are the bytes that the blobs are named for."""
    home = names.hub_cache() / names.repo_folder(REPO)
    folder = home / "snapshots" / ("a" * 40)
    for made in (folder, home / "blobs", home / "refs"):
        made.mkdir(parents=True)
    (home / "refs" / "main").write_text(folder.name)
    for name, data in files.items():
        blob = digest((hashes or files)[name])
        (home / "blobs" / blob).write_bytes(data)
        (folder / name).symlink_to(Path("..", "..", "blobs", blob))
    return folder
