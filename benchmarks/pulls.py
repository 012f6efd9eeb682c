"""Downloads two ways, by `pixtral pull` and by the hub client's `snapshot_download`, from a hub on this machine.

    python -m benchmarks.pulls

Throughput with 1 and with 200 ms before each answer of the hub, and the bytes that are fetched twice when the download
is killed half-way and begun again. The hub is `tests/hub.py`: it speaks HTTP with Range, and no Xet.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping

from pixtral_cli.models import layout, names
from tests.hub import FakeHub

REPO = "mistralai/Pixtral-12B-2409"
SIZE = 128 << 20  # bytes of weights
SHARDS = 8
PARAMS = (names.demo_folder() / layout.PARAMS_FILE).read_bytes()
LATENCIES = (0.001, 0.2)  # seconds
WAYS = {
    "pixtral pull": ["-m", "pixtral_cli", "pull", "pixtral-12b", "--quiet"],
    "snapshot_download": [
        "-c", f"import huggingface_hub; huggingface_hub.snapshot_download({REPO!r}, allow_patterns=['*.json', 'consolidated*'])",
    ],
}  # fmt: skip


def main() -> None:
    print("| files | way | MB/s at 1 ms | MB/s at 200 ms | MB fetched twice after a kill at 50 % |")
    print("| --- | --- | ---: | ---: | ---: |")
    for name, files in (("one of 134 MB", _one()), (f"{SHARDS} shards of 17 MB", _shards())):
        for way in WAYS:
            rates = [f"{_rate(files, way, latency):.0f}" for latency in LATENCIES]
            print(f"| {name} | {way} | {' | '.join(rates)} | {_twice(files, way) / 1e6:.0f} |", flush=True)


def _one() -> dict[str, bytes]:
    return {layout.PARAMS_FILE: PARAMS, layout.TOKENIZER_FILE: b"{}", layout.WEIGHTS_FILE: os.urandom(SIZE)}


def _shards() -> dict[str, bytes]:
    names = [f"consolidated-{n:05}-of-{SHARDS:05}.safetensors" for n in range(1, SHARDS + 1)]
    small = {layout.PARAMS_FILE: PARAMS, layout.TOKENIZER_FILE: b"{}", layout.INDEX: b"{}"}
    return small | {name: os.urandom(SIZE // SHARDS) for name in names}


def _rate(files: Mapping[str, bytes], way: str, latency: float) -> float:
    """Megabytes a second of a whole download in a process of its own, its start included."""
    with FakeHub({REPO: {"main": files}}) as hub, tempfile.TemporaryDirectory() as cache:
        hub.latency = latency
        begin = time.perf_counter()
        subprocess.run([sys.executable, *WAYS[way]], env=_environment(hub, cache), check=True, capture_output=True)
        return sum(map(len, files.values())) / (time.perf_counter() - begin) / 1e6


def _twice(files: Mapping[str, bytes], way: str) -> int:
    """Bytes that the hub has sent beyond the model's own, when the first download is killed half-way."""
    size = sum(map(len, files.values()))
    with FakeHub({REPO: {"main": files}}) as hub, tempfile.TemporaryDirectory() as cache:
        first = subprocess.Popen([sys.executable, *WAYS[way]], env=_environment(hub, cache), stderr=subprocess.DEVNULL)
        while _sent(hub) < size // 2 and first.poll() is None:
            time.sleep(0.002)
        first.kill()
        first.wait()
        subprocess.run([sys.executable, *WAYS[way]], env=_environment(hub, cache), check=True, capture_output=True)
        return _sent(hub) - size


def _sent(hub: FakeHub) -> int:
    return sum(request.sent for request in hub.gets())


def _environment(hub: FakeHub, cache: str) -> dict[str, str]:
    def kept() -> Iterator[tuple[str, str]]:
        for key, value in os.environ.items():
            if not key.startswith(("HF_", "PIXTRAL_")):
                yield key, value

    return {**dict(kept()), "HF_ENDPOINT": hub.url, "HF_HOME": cache, "PIXTRAL_HOME": f"{cache}/pixtral", "HOME": cache}


if __name__ == "__main__":
    main()
