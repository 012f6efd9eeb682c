"""The process that keeps a model: private, shared, leaving when idle, replaced when it dies."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from socket import AF_UNIX
from socket import socket as Socket
from typing import Any, cast

import pytest

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, user
from pixtral_cli.engines import resident
from pixtral_cli.engines.remote.client import MAX_TRIES, ApiClient
from pixtral_cli.engines.remote.engine import AnswerStream, RemoteEngine
from pixtral_cli.engines.remote.errors import Endpoint, ServerQueueFull, parse_endpoint
from pixtral_cli.engines.resident import ModelSpec
from pixtral_cli.engines.resident_engine import ResidentEngine
from pixtral_cli.errors import ModelError, NetworkError, OutOfMemory, PixtralError, UsageError
from tests.fakes import FakeEngine
from tests.server.processes import ROOT, gone, pixtral, until
from tests.server.serving import serving
from tests.torture.test_c_server import Endless

FAKE = (sys.executable, "-m", "tests.server.fake_child")
WANTED = ModelSpec("fake", "/nowhere", keep_alive=60)
ASKED = [user("count")]
SHORT = Sampling(max_tokens=3)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(ROOT)
    folder = resident.socket_folder(tmp_path)
    yield folder
    for socket, status in resident.running_workers(folder):
        resident.stop_worker(socket, status)
    shutil.rmtree(folder, ignore_errors=True)  # what ends may just be removing a file of its own


def started(folder: Path, what: ModelSpec = WANTED) -> RemoteEngine:
    engine = resident.find_or_start(what, folder, command=FAKE)
    assert engine
    return engine


def said(engine: RemoteEngine | ResidentEngine) -> str:
    return "".join(chunk.text for chunk in engine.stream(ASKED, SHORT))


def pids(folder: Path) -> list[int]:
    return [status["pid"] for _, status in resident.running_workers(folder)]


def test_one_process_serves_all_who_want_its_model(folder: Path) -> None:
    assert resident.find_worker(WANTED, folder) is None
    assert resident.find_or_start(replace(WANTED, keep_alive=None), folder) is None
    with ThreadPoolExecutor(3) as threads:
        engines = list(threads.map(lambda n: started(folder), range(3)))
    assert [said(engine) for engine in engines] == ["0 1 2 "] * 3
    assert len(pids(folder)) == 1
    assert resident.find_worker(replace(WANTED, keep_alive=None), folder)
    assert resident.find_worker(replace(WANTED, folder="/elsewhere"), folder) is None
    assert resident.find_worker(replace(WANTED, dtype="fp32"), folder) is None


def test_those_who_find_none_at_the_same_time_start_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find, spawn = resident.find_worker, resident.spawn_worker
    all_have_looked = threading.Barrier(3)
    looked: set[int] = set()
    processes: list[resident.WorkerProcess] = []

    def find_worker(spec: ModelSpec, folder: Path) -> RemoteEngine | None:
        found = find(spec, folder)
        if threading.get_ident() not in looked:
            looked.add(threading.get_ident())
            all_have_looked.wait(120)
        return found

    def spawn_worker(*what: Any, **how: Any) -> resident.WorkerProcess:
        processes.append(spawn(*what, **how))
        return processes[-1]

    monkeypatch.setattr(resident, "find_worker", find_worker)
    monkeypatch.setattr(resident, "spawn_worker", spawn_worker)
    with ThreadPoolExecutor(3) as threads:
        engines = list(threads.map(lambda n: started(folder), range(3)))
    assert [said(engine) for engine in engines] == ["0 1 2 "] * 3
    extra = processes[1:]
    for process in extra:
        process.kill()
    assert not extra


def test_its_socket_is_its_owners_alone(folder: Path) -> None:
    started(folder)
    (socket,) = folder.glob("*.sock")
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    room = resident.socket_folder(tmp_path)
    room.rmdir()
    room.symlink_to(tmp_path)
    with pytest.raises(PixtralError, match="belongs to another user"):
        resident.socket_folder(tmp_path)
    room.unlink()


def test_a_long_path_gets_a_short_room(tmp_path: Path) -> None:
    room = resident.socket_folder(tmp_path / ("x" * 120))
    assert len(os.fsencode(room)) < 60
    assert stat.S_IMODE(room.stat().st_mode) == 0o700
    assert room == resident.socket_folder(tmp_path / ("x" * 120))
    room.rmdir()


def test_it_leaves_after_idling_and_removes_its_socket(folder: Path) -> None:
    engine = started(folder, replace(WANTED, keep_alive=6))
    (pid,) = pids(folder)
    assert said(engine)
    until(lambda: gone(pid))
    assert not list(folder.glob("*.sock"))


def test_what_loading_raises_is_raised_here_and_nothing_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_LOAD_ERROR", "OutOfMemory")
    with pytest.raises(OutOfMemory, match="it does not load") as caught:
        started(folder)
    assert caught.value.hint == "Do something else"
    assert not list(folder.glob("*.sock"))


def test_the_starter_of_a_process_is_shown_how_far_it_has_loaded(folder: Path) -> None:
    heard: list[tuple[int, str]] = []
    assert resident.find_or_start(WANTED, folder, on_progress=lambda *far: heard.append(far), command=FAKE)
    assert heard == [(25, ""), (50, "")]
    assert resident.find_or_start(WANTED, folder, on_progress=lambda *far: heard.append(far), command=FAKE)
    assert len(heard) == 2


def test_a_process_reports_how_far_it_has_loaded(folder: Path) -> None:
    process = resident.spawn_worker(WANTED, folder / "fake.sock", attached=True, command=FAKE)
    assert process.wait_until_loaded()["window"] == 4321
    assert process.loaded == 50
    process.end()


def test_a_process_that_dies_while_loading_is_one_error(folder: Path) -> None:
    command = (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(ModelError, match="killed by signal 9") as caught:
        resident.find_or_start(WANTED, folder, command=command)
    assert str(folder / f"{WANTED.key}.log") in caught.value.hint


def test_its_errors_keep_their_kind_and_words(folder: Path) -> None:
    engine = started(folder)
    for kind in (ModelError, OutOfMemory, UsageError, PixtralError):
        with pytest.raises(kind) as caught:
            list(engine.stream([user(kind.__name__)], SHORT))
        assert type(caught.value) is kind
        assert (caught.value.message, caught.value.hint) == ("it went wrong in /secret/place", "Do something else")


def test_it_counts_tokens(folder: Path) -> None:
    cost = started(folder).measure([user("12345")])
    assert (cost.prompt_tokens, cost.context_window) == (5, 4321)


def test_when_it_has_ended_the_next_answer_comes_from_here(folder: Path) -> None:
    told: list[str] = []
    engine = ResidentEngine(started(folder), lambda: FakeEngine(["from here", "again"]), told.append)
    assert said(engine) == "0 1 2 "
    os.kill(pids(folder)[0], signal.SIGKILL)
    assert said(engine) == "from here"
    assert said(engine) == "again"
    assert told == ["The resident process has ended; loading the model here."]
    assert not pids(folder)
    assert not list(folder.glob("*.sock"))


def test_when_it_dies_in_the_middle_the_answer_is_not_begun_again(folder: Path) -> None:
    here = FakeEngine(["from here"])
    engine = ResidentEngine(started(folder), lambda: here, lambda note: None)
    answer = engine.stream(ASKED, Sampling(max_tokens=100))
    assert next(answer).text == "0 "
    os.kill(pids(folder)[0], signal.SIGKILL)
    with pytest.raises(NetworkError, match="The resident process broke off"):
        list(answer)
    assert not here.seen
    assert said(engine) == "from here"


def test_when_it_has_ended_under_several_threads_one_engine_here_answers_them_all(folder: Path) -> None:
    told: list[str] = []
    here: list[FakeEngine] = []
    asked = threading.Barrier(8)

    class Together(RemoteEngine):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> AnswerStream:
            asked.wait(30)
            return super().stream(messages, sampling)

    def otherwise() -> FakeEngine:
        time.sleep(0.1)  # stands for opening an engine
        here.append(FakeEngine(["from here"] * 8))
        return here[-1]

    started(folder)
    ((socket, status),) = resident.running_workers(folder)
    engine = ResidentEngine(Together(resident.connect_client(socket), "fake"), otherwise, told.append)
    os.kill(status["pid"], signal.SIGKILL)
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda n: said(engine), range(8))) == ["from here"] * 8
    assert len(here) == len(told) == 1
    engine.close()


def test_one_that_is_there_is_not_replaced_whatever_it_answers(folder: Path) -> None:
    started(folder)
    ((socket, _),) = resident.running_workers(folder)
    asked = ApiClient(
        Endpoint("http://localhost/v1", socket=socket), sleep=lambda done, seconds: False, read_timeout=None
    )
    here = FakeEngine(["from here"])
    engine = ResidentEngine(RemoteEngine(asked, "fake"), lambda: here, lambda note: None)
    with pytest.raises(NetworkError, match="it went wrong"):
        list(engine.stream([user("NetworkError")], SHORT))
    assert said(engine) == "0 1 2 "
    assert not here.seen


def test_one_whose_queue_is_full_is_asked_until_it_has_room() -> None:
    gate, waits = threading.Event(), list[float]()

    def wait(done: threading.Event, seconds: float) -> bool:
        waits.append(seconds)
        if len(waits) == MAX_TRIES:  # it was given up once
            gate.set()
        return done.wait(0.1)

    here = FakeEngine(["from here"])
    with serving(Endless(gate=gate), running=1, waiting=0) as running, ThreadPoolExecutor(1) as other:
        first = other.submit(running.ask, max_tokens=3)
        until(lambda: running.app.state.queue.pending == 1)
        engine = ResidentEngine(
            RemoteEngine(ApiClient(parse_endpoint(running.url), sleep=wait)), lambda: here, lambda note: None
        )
        assert said(engine)
        assert first.result().status_code == 200
    assert len(waits) >= MAX_TRIES
    assert not here.seen


def pulled(answer: AnswerStream, asked: Callable[[], object]) -> list[str]:
    """What a thread is given by an answer that another closes once it has been `asked`."""
    with ThreadPoolExecutor(1) as other:
        pulling = other.submit(lambda: [chunk.text for chunk in answer])
        until(lambda: bool(asked()))
        answer.close()
        return pulling.result(120)


def test_an_answer_that_is_waited_for_can_be_closed_from_another_thread() -> None:
    gate = threading.Event()
    with serving(Endless(gate=gate), running=1) as running:
        engine = ResidentEngine(RemoteEngine(ApiClient(parse_endpoint(running.url))), FakeEngine, lambda note: None)
        assert pulled(engine.stream(ASKED, SHORT), lambda: running.app.state.queue.pending) == []
        gate.set()


def test_one_that_waits_for_room_can_be_closed_from_another_thread() -> None:
    full = FakeEngine([ServerQueueFull("full", 600.0)])
    engine = ResidentEngine(cast(RemoteEngine, full), FakeEngine, lambda note: None)
    assert pulled(engine.stream(ASKED, SHORT), lambda: full.seen) == []
    engine.stream(ASKED, SHORT).close()  # one that nobody has pulled yet


INTERRUPTED = """
import sys
from pathlib import Path
from pixtral_cli.engines import resident
slow = (sys.executable, "-c", "import sys, time; print(file=sys.stderr, flush=True); time.sleep(600)")
folder = Path(sys.argv[1])
resident.find_or_start(resident.ModelSpec("fake", "/x", keep_alive=9), folder, command=slow)
"""


def test_an_interrupted_start_leaves_no_process(folder: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, str(folder)], stderr=subprocess.DEVNULL)
    until(lambda: [log.read_bytes() for log in folder.glob("*.log")] == [b"\n"])
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGINT)
    process.wait(120)
    try:
        until(lambda: gone(int(child)))
    finally:
        if not gone(int(child)):
            os.kill(int(child), signal.SIGKILL)


def test_stopping_lets_it_finish(folder: Path) -> None:
    engine = started(folder)
    answer = engine.stream(ASKED, Sampling(max_tokens=30))
    next(answer)
    ((socket, status),) = resident.running_workers(folder)
    stopping = threading.Thread(target=resident.stop_worker, args=(socket, status))
    stopping.start()
    assert [chunk.text for chunk in answer][-2] == "29 "
    stopping.join(120)
    assert not list(folder.glob("*.sock"))


# The commands


def test_ps_and_stop_without_a_process() -> None:
    for command in ("ps", "stop"):
        result = pixtral(command)
        assert (result.returncode, result.stdout) == (0, "")
        assert result.stderr == "No process keeps a model.\n"
    missing = pixtral("stop", "nothing")
    assert missing.returncode == 4
    assert missing.stderr.count("\n") == 1


def test_a_process_that_leaves_does_not_take_its_successors_socket(folder: Path) -> None:
    path = folder / "a.sock"
    process = resident.spawn_worker(WANTED, path, command=FAKE)
    process.wait_until_loaded()
    (pid,) = pids(folder)
    path.unlink()
    with Socket(AF_UNIX) as successor:
        successor.bind(str(path))
        os.kill(pid, signal.SIGTERM)
        assert process.wait(120) is not None
        assert path.exists()
        path.unlink()


STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"


@pytest.fixture
def stubborn() -> Iterator[subprocess.Popen[bytes]]:
    """A process that takes no notice of SIGTERM and of the end of its stdin."""
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_one_that_does_not_end_is_killed(stubborn: subprocess.Popen[bytes]) -> None:
    worker = resident.WorkerProcess(stubborn)
    assert worker.wait(0) is None
    worker.end(0)
    assert worker.wait(0) == -signal.SIGKILL


def test_one_that_does_not_stop_is_named_with_the_way_to_end_it(
    tmp_path: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    socket = tmp_path / "worker.sock"
    socket.touch()
    with pytest.raises(PixtralError, match=f"Process {stubborn.pid} does not stop") as error:
        resident.stop_worker(socket, {"stop": stubborn.pid}, 0)
    assert error.value.hint == f"kill -9 {stubborn.pid}"
    assert stubborn.poll() is None


def test_one_that_does_not_answer_has_no_caches(tmp_path: Path) -> None:
    client = resident.connect_client(tmp_path / "none.sock", read_timeout=1)
    assert resident.cache_sizes(client) == {}
    assert not resident.is_responding(client)
    client.close()


@pytest.mark.parametrize(("length", "stays"), [(60, True), (61, False)])
def test_a_socket_has_room_for_its_name_within_what_systems_allow(length: int, stays: bool) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as base:
        state = Path(base) / ("s" * (length - len(base) - len("//run")))
        folder = resident.socket_folder(state)
        assert (folder == state / "run") is stays
        assert len(str(folder / f"{WANTED.key}.sock")) <= 100
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        if not stays:
            folder.rmdir()
