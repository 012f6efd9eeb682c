"""What happens when a replica or a machine is lost under `pixtral serve`: told in a line, survived, and joined again."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.engines.vllm.cluster.test_cluster import (
    Machine,
    Running,
    cluster,
    free_port,
    machines,
    option,
    port,
    started,
    three_machines,
)
from tests.server.processes import gone, until

__all__ = ["machines", "port"]

FAULT_SECONDS = 30


class Served:
    """A front over two replicas, each on a machine."""

    def __init__(self, machines: list[Machine], folder: Path, port: int) -> None:
        self.first, self.second, _ = machines
        self.folder, self.port = folder, port
        self.joined = self.second.join(port, 1)
        self.serving = self.first.start("serve", *cluster(port), "--port", "0")
        self.serving.says("answers at")
        self.url = self.serving.said.split("answers at ")[1].split("/v1")[0]

    def there(self) -> dict[str, Any]:
        """The vLLM on the second machine that was started last."""
        found = [one for one in started(self.folder) if option(one, "--port") and not gone(one["pid"])]
        return found[-1]

    def ask(self, question: str = "Hello?", **more: Any) -> httpx2.Response:
        body = {"messages": [{"role": "user", "content": question}], **more}
        return httpx2.post(f"{self.url}/v1/chat/completions", json=body, timeout=120, trust_env=False)

    def health(self) -> tuple[int, dict[str, int]]:
        response = httpx2.get(f"{self.url}/health", timeout=20, trust_env=False)
        return response.status_code, response.json() if response.content else {}

    def both_up(self) -> None:
        until(lambda: self.health() == (200, {"replicas": 2, "up": 2}))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One front for the tests that end only when both replicas answer again."""
    folder = tmp_path_factory.mktemp("shared")
    with three_machines(folder) as machines:
        yield Served(machines, folder, free_port())


@pytest.fixture
def served(shared: Served) -> Iterator[Served]:
    shared.both_up()
    shared.serving.forget()
    yield shared
    (shared.folder / "gate").unlink(missing_ok=True)


def test_a_vllm_that_dies_is_told_and_survived_and_started_anew(served: Served) -> None:
    os.kill(served.there()["pid"], signal.SIGKILL)
    served.serving.says("Replica 1 has ended on rank 1", FAULT_SECONDS)
    assert "replica 0 goes on; it is started anew" in served.serving.said
    assert served.ask().status_code == 200
    served.serving.says("Replica 1 (rank 1) answers again")
    served.both_up()


def test_an_answer_that_is_lost_in_the_middle_says_so(served: Served) -> None:
    (served.folder / "gate").touch()
    url = f"{served.url}/v1/chat/completions"
    lines: list[list[str]] = [[], []]

    def ask(number: int) -> None:
        body = {"messages": [{"role": "user", "content": f"wait {number}"}], "stream": True}
        with httpx2.stream("POST", url, json=body, timeout=120, trust_env=False) as response:
            lines[number] += response.iter_lines()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    until(lambda: running(served) == [1, 1])
    os.kill(served.there()["pid"], signal.SIGKILL)
    until(lambda: any(lines))
    (served.folder / "gate").unlink()
    for thread in threads:
        thread.join(120)
    (broken,) = [told for told in lines if "data: [DONE]" not in told]
    error = json.loads(broken[-2].removeprefix("data: "))["error"]
    assert error["code"] == "answer_lost"
    assert "Replica 1 was lost in the middle of the answer: its vLLM on rank 1" in error["message"]
    served.serving.says("Replica 1 (rank 1) answers again")


def running(served: Served) -> list[int]:
    """How many answers each replica computes."""
    text = httpx2.get(f"{served.url}/metrics", timeout=20, trust_env=False).text
    return [int(line.split()[-1]) for line in text.splitlines() if line.startswith("pixtral_replica_requests_running{")]


def test_a_machine_that_is_killed_is_lost_and_its_next_join_is_welcome(served: Served) -> None:
    pid = served.there()["pid"]
    served.joined.process.kill()
    served.serving.says("is lost: its pixtral join has ended; replica 1 is down, replica 0 goes on", FAULT_SECONDS)
    until(lambda: gone(pid))  # its vLLM does not outlive it
    assert served.ask().status_code == 200
    assert served.health()[0] == 200
    served.joined = served.second.join(served.port, 1)
    served.joined.says("Joined")
    served.serving.says("Rank 1 has joined again")
    served.serving.says("Replica 1 (rank 1) answers again")
    served.both_up()


def test_a_machine_that_stands_still_is_lost_and_comes_back(served: Served) -> None:
    before = len(started(served.folder))
    served.joined.process.send_signal(signal.SIGSTOP)
    served.serving.says("is lost: not a word for 10 s", FAULT_SECONDS)
    until(lambda: served.health() == (200, {"replicas": 2, "up": 1}), FAULT_SECONDS)
    assert served.ask().status_code == 200
    served.joined.process.send_signal(signal.SIGCONT)
    served.serving.says("is back")
    served.both_up()
    assert len(started(served.folder)) == before  # what ran there went on


def test_a_front_that_is_killed_leaves_nothing_on_the_others(
    machines: list[Machine], tmp_path: Path, port: int
) -> None:
    served = Served(machines, tmp_path, port)
    served.serving.process.kill()
    assert "The first machine has ended, and this one with it" in served.joined.ends(0)
    until(lambda: all(gone(one["pid"]) for one in started(served.folder)))


def test_a_first_machine_that_ends_without_a_word_leaves_nothing_on_the_others(
    machines: list[Machine], tmp_path: Path, port: int
) -> None:
    first, second, _ = machines
    (tmp_path / "gate").touch()
    joined = second.join(port, 1)
    asking = first.start("ask", "wait", "--no-log", "--no-stdin", *cluster(port))
    asking.says("demo")
    asking.process.kill()
    assert "The first machine's pixtral has ended without a word" in joined.ends(5)
    until(lambda: all(gone(one["pid"]) for one in started(tmp_path)))


def test_a_batch_survives_the_loss_of_a_replica_with_every_row_once(served: Served, tmp_path: Path) -> None:
    rows, answers = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    gate = served.folder / "gate"
    gate.touch()
    rows.write_text("".join(f'{{"prompt": "wait {number}"}}\n' for number in range(40)), encoding="utf-8")
    batch = served.first.start(
        "batch", str(rows), "-o", str(answers), "--base-url", f"{served.url}/v1", "--concurrency", "8"
    )
    until(lambda: sum(running(served)) >= 8)
    os.kill(served.there()["pid"], signal.SIGKILL)
    served.serving.says("Replica 1 has ended", FAULT_SECONDS)
    gate.unlink()
    batch.ends(0)
    lines = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert [line["row"] for line in lines] == list(range(1, 41))
    assert not [line for line in lines if line["error"]]
    served.serving.says("Replica 1 (rank 1) answers again")


def test_without_any_replica_health_and_questions_say_so_until_one_is_back(
    machines: list[Machine], tmp_path: Path, port: int
) -> None:
    first, second, _ = machines
    second.env["FAKE_VLLM"] = "slow"
    first.env["FAKE_VLLM"] = "slow"
    second.join(port, 1)
    serving: Running = first.start("serve", *cluster(port, "--tensor-parallel-size", "2"), "--port", "0")
    serving.says("answers at")
    url = serving.said.split("answers at ")[1].split("/v1")[0]

    def headless() -> list[dict[str, Any]]:
        return [one for one in started(tmp_path) if "--headless" in one["argv"]]

    until(lambda: bool(headless()))
    (tmp_path / "gate").touch()
    os.kill(headless()[0]["pid"], signal.SIGKILL)
    serving.says("Replica 0 has ended on rank 1", FAULT_SECONDS)
    until(lambda: httpx2.get(f"{url}/health", timeout=20, trust_env=False).status_code == 503, FAULT_SECONDS)
    (tmp_path / "gate").unlink()
    serving.says("Replica 0 (rank 0 and 1) answers again")
    until(lambda: httpx2.get(f"{url}/health", timeout=20, trust_env=False).status_code == 200)
    until(lambda: len(headless()) == 2)
    assert len([one for one in started(tmp_path) if not gone(one["pid"])]) == 2  # both parts were started anew
