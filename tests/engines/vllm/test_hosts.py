"""Several machines with the real vLLM on CPUs: two network namespaces, each with its home, joined by a veth pair."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.vllm.cluster.test_cluster import TOKEN, looks_like_vllm
from tests.engines.vllm.namespaces import Host, Running, two_hosts
from tests.server.processes import ROOT, pixtral, until

pytestmark = pytest.mark.slow

PROGRAM = ROOT / ".venv-vllm" / "bin" / "vllm"
VLLM = (
    "--model", "demo", "--dtype", "float32", "--engine", "vllm", "--nodes", "2", "--coordinator", "10.77.0.1:8790",
    "--vllm-args", "--enforce-eager --max-model-len 2048",
)  # fmt: skip
ROWS = 200
FAULT_SECONDS = 30  # in which the first machine says what has happened


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Host, Host]]:
    assert PROGRAM.exists(), "make .venv-vllm/ready"
    monkeypatch.setenv("PIXTRAL_VLLM", str(PROGRAM))
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    monkeypatch.setenv("PIXTRAL_JOIN_TOKEN", TOKEN)
    cores = sorted(os.sched_getaffinity(0))
    with two_hosts(tmp_path) as (first, second):
        for number, host in enumerate((first, second)):
            host.env["VLLM_CPU_OMP_THREADS_BIND"] = str(cores[number % len(cores)])
        yield first, second


def join(host: Host) -> Running:
    return host.start("join", "10.77.0.1:8790", "--rank", "1", "--wait", "5m")


def test_two_machines_that_share_each_layer_answer_as_one(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    question = ("ask", "What is in the image?", "--image", str(ROOT / "examples" / "shapes.png"))
    question = (*question, "--temperature", "0", "--no-log", "--no-stdin")
    joined = join(second)
    done = first.run(*question, *VLLM, "--tensor-parallel-size", "2", seconds=600)
    assert done.returncode == 0, (done.stderr, joined.said)
    assert "On machine 2 of 2: pixtral join 10.77.0.1:8790 --rank 1\n" in done.stderr
    assert "Rank 1 has joined" in done.stderr
    assert joined.process.wait(60) == 0
    assert f"by {second.interface} with 10.77.0.2" in joined.said
    assert "The first machine has ended, and this one with it" in joined.said
    (log,) = (second.home / "state" / "vllm").glob("*.log")
    assert "TP1" in log.read_text(encoding="utf-8", errors="replace")
    here = pixtral(*question, "--model", "demo", "--dtype", "float32")
    assert done.stdout == here.stdout
    assert "red circle" in here.stdout


def test_two_replicas_share_a_batch_and_the_loss_of_either_loses_no_row(
    hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    first, second = hosts
    join(second)
    serving = first.start("serve", *VLLM, "--port", "8000")
    serving.says("demo answers at", 400)
    (tmp_path / "examples").symlink_to(ROOT / "examples")

    before = answers(first)
    batch = first.start("batch", str(rows(tmp_path)), "-o", str(tmp_path / "killed.jsonl"), *asking())
    until(lambda: answers(first)["1"] > before["1"], 120)
    for pid in second.pids("VLLM::"):
        os.kill(pid, signal.SIGKILL)
    serving.says("Replica 1 has ended on rank 1", FAULT_SECONDS)
    assert "replica 0 goes on" in serving.said
    until(lambda: health(first) == {"replicas": 2, "up": 1}, FAULT_SECONDS)
    assert batch.process.wait(240) == 0, batch.said
    check_rows(tmp_path / "killed.jsonl")
    serving.says("Replica 1 (rank 1) answers again", 300)

    before = answers(first)
    batch = first.start("batch", str(rows(tmp_path)), "-o", str(tmp_path / "cut.jsonl"), *asking())
    until(lambda: answers(first)["1"] > before["1"], 120)
    second.link("down")
    serving.says("is lost: not a word for 10 s", FAULT_SECONDS)
    assert batch.process.wait(240) == 0, batch.said
    check_rows(tmp_path / "cut.jsonl")
    second.link("up")
    serving.says("is back", 60)
    until(lambda: health(first) == {"replicas": 2, "up": 2}, 60)
    assert answers(first)["0"] > before["0"]


def test_a_cable_that_is_cut_under_two_halves_of_a_model_is_said_and_survived(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    join(second)
    serving = first.start("serve", *VLLM, "--tensor-parallel-size", "2", "--port", "8000")
    serving.says("demo answers at", 400)
    assert is_up(first)
    check_ports(first, second)
    before = first.run(*ask("What is in the image?", "shapes.png"))
    assert before.returncode == 0, before.stderr

    waiting = first.start(*ask("Write HTML code to create a website like this", "sketch.png"))
    until(lambda: "html" in waiting.said, 120)
    second.link("down")
    serving.says("is lost: not a word for 10 s", FAULT_SECONDS)
    until(lambda: not is_up(first), FAULT_SECONDS)
    assert waiting.process.wait(60) == 5, waiting.said
    assert "was lost in the middle of the answer" in waiting.said
    second.link("up")
    serving.says("is back", 60)
    serving.says("Replica 0 (rank 0 and 1) answers again", 300)
    until(lambda: is_up(first), FAULT_SECONDS)
    after = first.run(*ask("What is in the image?", "shapes.png"))
    assert (after.returncode, after.stdout) == (0, before.stdout)


def ask(question: str, picture: str) -> tuple[str, ...]:
    """A question about an example to what is served on the machine."""
    words = (
        "ask",
        question,
        "--image",
        str(ROOT / "examples" / picture),
        "--temperature",
        "0",
        "--no-log",
        "--no-stdin",
    )
    return (*words, "--base-url", "http://127.0.0.1:8000/v1")


def check_ports(first: Host, second: Host) -> None:
    """Other machines can connect to the ports that docs/scale.md lists for a model over two machines, and to no other."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split())
    listed = {
        *range(low, high + 1),
        8790,
        8791,
    }  # the coordinator, torch's rendezvous, the connections between the parts
    assert first.open_ports() <= listed
    assert {8790, 8791} <= first.open_ports()
    assert second.open_ports() <= listed - {8790, 8791}


@pytest.mark.parametrize("direction", ["to the first machine", "from the first machine"])
def test_a_machine_whose_packets_are_lost_one_way_is_lost_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direction: str
) -> None:
    for name, value in looks_like_vllm(tmp_path).items():
        monkeypatch.setenv(name, value)
    with two_hosts(tmp_path) as (first, second):
        sender, receiver = (second, first) if direction.startswith("to") else (first, second)
        join(second)
        serving = first.start("serve", *VLLM, "--port", "8000")
        serving.says("demo answers at", 120)
        sender.lose_packets_to(receiver)
        serving.says("is lost: not a word for 10 s", FAULT_SECONDS)
        until(lambda: health(first) == {"replicas": 2, "up": 1}, FAULT_SECONDS)
        asked = first.run("ask", "Hello?", "--base-url", "http://127.0.0.1:8000/v1", "--no-log", "--no-stdin")
        assert "demo sees 0 pictures" in asked.stdout, asked.stderr
        sender.reach(receiver)
        serving.says("is back", 60)
        until(lambda: health(first) == {"replicas": 2, "up": 2}, 60)


def rows(folder: Path) -> Path:
    """A file of rows about a picture, each with a question of its own."""
    file = folder / "rows.jsonl"
    lines = [{"prompt": f"What is in image {number}?", "images": ["examples/shapes.png"]} for number in range(ROWS)]
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return file


def asking() -> tuple[str, ...]:
    return ("--base-url", "http://127.0.0.1:8000/v1", "--concurrency", "8", "--max-tokens", "24")


def check_rows(file: Path) -> None:
    """Every row has its line, once and in order, and none is an error."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert [line["row"] for line in lines] == list(range(1, ROWS + 1))
    assert not [line for line in lines if line["error"] or not line["answer"]]


def answers(host: Host) -> dict[str, int]:
    """How many answers each replica has finished."""
    text = host.get("http://127.0.0.1:8000/metrics")
    found = re.findall(r'pixtral_replica_answers_total{replica="(\d+)",ranks="\d+"} (\d+)', text)
    return {"0": 0, "1": 0} | {replica: int(count) for replica, count in found}


def health(host: Host) -> dict[str, int]:
    return dict(json.loads(host.get("http://127.0.0.1:8000/health") or "{}"))


def is_up(host: Host) -> bool:
    """Whether /health is 200: of one replica alone it says no more."""
    return host.get("http://127.0.0.1:8000/health") != ""
