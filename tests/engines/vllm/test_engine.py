"""`--engine vllm` over a program that looks like vLLM: started, watched, talked to and ended, whatever happens."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import httpx2
import numpy as np
import pytest
from PIL import Image

from pixtral_cli import config
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, system, user
from pixtral_cli.chat.tools import NamedTool, Tool, ToolCallCollector
from pixtral_cli.engines import resident
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.vllm.checkpoint_folder import prepare_checkpoint
from pixtral_cli.engines.vllm.client_engine import (
    TOOL_FLAGS,
    ThinkingSplitter,
    encode_exact,
    has_parser,
    parser_arguments,
)
from pixtral_cli.engines.vllm.command import VllmOptions, build_environment, find_executable, parse_arguments
from pixtral_cli.engines.vllm.engine import VllmEngine
from pixtral_cli.errors import ContextError, NetworkError, OutOfMemory, PixtralError, UsageError
from pixtral_cli.extras import install_command
from pixtral_cli.images.image import load as load_image
from pixtral_cli.models.names import demo_folder
from tests.cli.calling import Result, pixtral
from tests.engines.local.checkpoints import Sizes, build
from tests.server.processes import ROOT, gone, launched, until
from tests.terminal.emulator import Terminal
from tests.terminal.repl.chatting import Chat

PROGRAM = Path(__file__).with_name("fake_vllm.py")
SHAPES = ROOT / "examples" / "shapes.png"
USUAL = Sampling()
ASK = ("ask", "How many?", "--model", "demo", "--engine", "vllm", "--no-log", "--no-stdin")


@pytest.fixture
def vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], dict[str, Any]]]:
    """A fake vLLM that PIXTRAL_VLLM names; called, it tells how it was called. Afterwards nothing of it runs."""
    told = tmp_path / "told.json"
    script = tmp_path / "vllm"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{PROGRAM}" "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setenv("PIXTRAL_VLLM", str(script))
    monkeypatch.setenv("FAKE_VLLM_TOLD", str(told))
    monkeypatch.setenv("FAKE_VLLM", "")
    yield lambda: dict(json.loads(told.read_text(encoding="utf-8")))
    if told.exists():
        pids = json.loads(told.read_text(encoding="utf-8"))
        until(lambda: gone(pids["pid"]) and gone(pids["worker"]))
    run = resident.socket_folder(config.paths().state)
    until(lambda: not list(run.glob("*.vllm")))
    run.rmdir()


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """While this file exists, a fake vLLM that is slow, silent or deaf does not go on."""
    monkeypatch.setenv("FAKE_VLLM_GATE", str(tmp_path / "gate"))
    (tmp_path / "gate").touch()
    return tmp_path / "gate"


def engine(tmp_path: Path, patience: float = 60) -> VllmEngine:
    launch = VllmOptions(str(config.paths().state), str(tmp_path / "cache"), os.environ["PIXTRAL_VLLM"])
    return VllmEngine(demo_folder(), name="demo", options=launch, max_silence=patience)


def words(answering: VllmEngine, *messages: Message, sampling: Sampling = USUAL) -> str:
    return "".join(chunk.text for chunk in answering.stream(messages or (user("Hello?"),), sampling))


def logs() -> list[Path]:
    return sorted((config.paths().state / "vllm").glob("*.log"))


Called = Callable[[], dict[str, Any]]


def test_a_question_starts_it_asks_it_and_ends_it(vllm: Called) -> None:
    done = pixtral(*ASK, "--image", str(SHAPES), "--format", "json")
    assert (done.status, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["answer"] == "demo sees 1 pictures, schema: False "
    assert answer["usage"]["image_tokens"] == LocalEngine(demo_folder()).measure(asked()).image_tokens
    assert gone(vllm()["pid"])


def asked() -> list[Message]:
    return [user(load_image(str(SHAPES)), "How many?")]


def test_it_is_called_with_the_models_format_and_what_the_user_wants(vllm: Called) -> None:
    more = ("--tensor-parallel-size", "2", "--pipeline-parallel-size", "3", "--ray", "10.0.0.1:6379")
    done = pixtral(*ASK, *more, "--vllm-args", "--max-model-len 4096 --seed '7'", "--dtype", "bfloat16")
    assert done.status == 0
    called = vllm()
    line = " ".join(called["argv"])
    assert line.startswith("serve ")
    for flag in (
        "--tokenizer-mode mistral",
        "--config-format mistral",
        "--load-format mistral",
        "--tensor-parallel-size 2",
        "--pipeline-parallel-size 3",
        "--distributed-executor-backend ray",
        "--max-model-len 4096 --seed 7",
        "--dtype bfloat16",
    ):
        assert flag in line
    assert called["argv"][1] == str(demo_folder().resolve())  # other machines have no folder of ours
    assert called["env"]["RAY_ADDRESS"] == "10.0.0.1:6379"
    assert called["env"]["HF_HUB_OFFLINE"] == "1"
    key = called["env"]["VLLM_API_KEY"]
    assert len(key) > 30
    assert key not in line
    assert key not in logs()[0].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("way", "status", "why"),
    [
        ("oom", 7, "ran out of memory"),
        ("model", 4, "cannot load this checkpoint: Error while deserializing header"),
        ("taken", 1, "address is taken"),
        ("unknown", 2, "does not know --no-such-flag"),
        ("killed", 1, "signal 9"),
        ("mute", 1, "status 3"),
    ],
)
def test_a_start_that_fails_is_one_line_with_the_reason_and_the_log(
    vllm: Called, monkeypatch: pytest.MonkeyPatch, way: str, status: int, why: str
) -> None:
    monkeypatch.setenv("FAKE_VLLM", way)
    done = pixtral(*ASK)
    assert done.status == status
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert why in done.stderr
    assert f"Its log: {logs()[0]}" in done.stderr


def test_a_vllm_that_dies_in_the_middle_of_an_answer_is_reported_and_started_anew(
    vllm: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "crash")
    answering = engine(tmp_path)
    got: list[str] = []
    with pytest.raises(OutOfMemory) as failed:
        got.extend(chunk.text for chunk in answering.stream([user("Hello?")], USUAL))
    assert got == ["demo "]
    assert str(logs()[0]) in failed.value.hint
    monkeypatch.setenv("FAKE_VLLM", "")
    assert words(answering) == "demo sees 0 pictures, schema: False "
    answering.close()


def test_one_that_falls_silent_while_it_starts_is_given_up(
    vllm: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "silent")
    monkeypatch.setenv("FAKE_VLLM_GATE", str(PROGRAM))
    answering = engine(tmp_path, patience=3)
    with pytest.raises(PixtralError, match="printed nothing for 3 s while") as told:
        answering.load()
    assert str(logs()[0]) in told.value.hint


def test_how_far_it_is_can_be_seen(vllm: Called, tmp_path: Path, gate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "slow")
    answering = engine(tmp_path)
    assert answering.doing == ""
    loading = threading.Thread(target=answering.load)
    loading.start()
    until(lambda: answering.doing == "vLLM starts: loading the weights 50%")
    gate.unlink()
    loading.join(120)
    assert answering.doing == ""
    answering.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["starting", "serving"])
def test_however_we_end_nothing_of_it_stays(
    vllm: Called, tmp_path: Path, gate: Path, monkeypatch: pytest.MonkeyPatch, number: int, moment: str
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "slow" if moment == "starting" else "")
    ask = [sys.executable, "-m", "pixtral_cli", *ASK]
    if moment == "serving":
        ask += ["--watch", "--image", str(SHAPES)]
    process = subprocess.Popen(ask, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
    if moment == "serving":
        assert process.stdout
        assert process.stdout.readline().startswith(b"demo sees 1 pictures")
    until((tmp_path / "told.json").exists)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == (-9 if number == signal.SIGKILL else 128 + number)
    assert b"Traceback" not in stderr


def test_ctrl_c_while_it_starts_does_not_wait_for_its_end(
    vllm: Called, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "deaf")
    process = subprocess.Popen([sys.executable, "-m", "pixtral_cli", *ASK], cwd=ROOT, stdin=subprocess.DEVNULL)
    until(lambda: bool(logs()) and b"GPU KV cache" in logs()[0].read_bytes())
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    assert not gone(vllm()["pid"])
    gate.unlink()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_closing_while_it_serves_does_not_wait_for_its_end(
    vllm: Called, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "stubborn")
    ask = [sys.executable, "-m", "pixtral_cli", *ASK, "--watch", "--image", str(SHAPES)]
    process = subprocess.Popen(ask, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    assert process.stdout
    assert process.stdout.readline().startswith(b"demo sees 1 pictures")
    process.send_signal(number)
    assert process.wait(120) == 128 + number
    pid = vllm()["pid"]
    assert not gone(pid)
    os.kill(pid, signal.SIGKILL)  # as its guard would in a while
    process.stdout.close()


def test_a_start_that_was_interrupted_is_begun_anew_once_the_old_one_has_ended(
    vllm: Called, tmp_path: Path, gate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "slow")
    answering = engine(tmp_path)

    def interrupt() -> None:
        if answering.loaded:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answering.load(interrupt)
    gate.unlink()
    first = vllm()["pid"]
    assert words(answering) == "demo sees 0 pictures, schema: False "
    assert gone(first)
    assert vllm()["pid"] != first
    answering.close()


def test_one_that_does_not_listen_to_an_end_is_killed(
    vllm: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_VLLM", "stubborn")
    monkeypatch.setattr("pixtral_cli.engines.vllm.process.STOP_TIMEOUT", 0.2)
    answering = engine(tmp_path)
    words(answering)
    answering.close()
    assert gone(vllm()["pid"])


def test_closing_ends_one_that_is_still_starting(vllm: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_VLLM", "silent")
    monkeypatch.setenv("FAKE_VLLM_GATE", str(PROGRAM))
    answering = engine(tmp_path)
    raised: list[BaseException] = []

    def load() -> None:
        try:
            answering.load()
        except NetworkError as error:
            raised.append(error)

    loading = threading.Thread(target=load)
    loading.start()
    until((tmp_path / "told.json").exists)
    answering.close()
    loading.join(120)
    assert raised


def test_tokens_are_counted_by_the_models_own_tokenizer_without_starting_it(tmp_path: Path, vllm: Called) -> None:
    answering = engine(tmp_path)
    assert answering.measure(asked()) == LocalEngine(demo_folder()).measure(asked())
    done = pixtral(*ASK, "--dry-run", "--image", str(SHAPES))
    assert done.status == 0
    assert "tokens" in done.stdout
    assert not (tmp_path / "told.json").exists()


def test_what_does_not_fit_its_window_is_refused_before_it_is_asked(vllm: Called) -> None:
    done = pixtral(*ASK, "--max-tokens", "4093", "--vllm-args", "--max-model-len 4096")
    assert done.status == 6
    assert "4,096" in done.stderr
    done = pixtral(*ASK, "--max-tokens", "200000")
    assert done.status == 6


def test_what_the_question_says_of_a_schema_takes_room_too(tmp_path: Path, vllm: Called) -> None:
    answering = engine(tmp_path)
    room = answering.measure([user("Hello?")]).tokens_left
    with pytest.raises(ContextError):
        words(answering, sampling=Sampling(schema={"type": "object"}, max_tokens=room))
    assert not (tmp_path / "told.json").exists()


def test_pictures_go_there_without_loss(tmp_path: Path, vllm: Called) -> None:
    import base64
    import io

    from PIL import Image as PILImage

    answering = engine(tmp_path)
    image = load_image(str(SHAPES))
    url = answering._encode(image)
    sent = PILImage.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    assert sent.tobytes() == image.pixels().tobytes()


def test_a_schema_reaches_it(tmp_path: Path, vllm: Called) -> None:
    answering = engine(tmp_path)
    said = words(answering, sampling=Sampling(schema={"type": "object"}))
    assert said == "demo sees 0 pictures, schema: True "
    answering.close()


def test_chat_shows_how_far_it_is_and_answers(vllm: Called, gate: Path) -> None:
    with Chat() as chat:
        chat.start("--model", "demo", "--engine", "vllm", FAKE_VLLM="slow")
        chat.wait_for("vLLM starts: loading the weights 50%")
        gate.unlink()
        chat.say("Hello?", "demo sees 0 pictures")
        chat.say("And now?", "demo sees 0 pictures")
        chat.type(b"\x04")
        assert chat.process.wait(120) == 0
    assert gone(vllm()["pid"])


def test_another_model_in_chat_ends_one_that_is_still_starting_first(vllm: Called, gate: Path) -> None:
    with Chat() as chat:
        chat.start("--model", "demo", "--engine", "vllm", FAKE_VLLM="slow")
        chat.wait_for("vLLM starts: loading the weights 50%")
        first = vllm()["pid"]
        chat.type(b"/model demo\r")
        until(lambda: gone(first))
        gate.unlink()
        chat.say("Hello?", "demo sees 0 pictures")
        assert vllm()["pid"] != first
        chat.end()


def test_ask_shows_how_far_it_is_on_one_line_and_leaves_no_trace(vllm: Called, gate: Path) -> None:
    environment = {**os.environ, "FAKE_VLLM": "slow", "TERM": "xterm"}
    with Terminal(60) as terminal:
        process = terminal.run(sys.executable, "-m", "pixtral_cli", *ASK, env=environment, cwd=ROOT)
        terminal.wait_for("vLLM starts: loading the weights 50%")
        gate.unlink()
        assert process.wait(120) == 0
        terminal.wait_for("demo sees 0 pictures")
        assert terminal.lines == ["demo sees 0 pictures, schema: False"]


def test_serve_shows_how_far_it_is(vllm: Called, gate: Path) -> None:
    environment = {**os.environ, "FAKE_VLLM": "slow", "TERM": "xterm"}
    with Terminal(80) as terminal:
        serve = ("serve", "--model", "demo", "--engine", "vllm", "--port", "0")
        process = terminal.run(sys.executable, "-m", "pixtral_cli", *serve, env=environment, cwd=ROOT)
        terminal.wait_for("vLLM starts: loading the weights 50%")
        gate.unlink()
        terminal.wait_for("answers at")
        process.terminate()
        assert process.wait(120) == 0


def test_a_process_kept_alive_keeps_vllm_for_the_next_question(vllm: Called) -> None:
    first = pixtral(*ASK, "--keep-alive", "5m")
    assert (first.status, first.stderr) == (0, "")
    began = vllm()["pid"]
    second = pixtral(*ASK)
    assert second.stdout == first.stdout
    assert vllm()["pid"] == began
    assert not gone(began)
    assert "demo" in pixtral("ps").stdout
    assert pixtral("stop").status == 0
    until(lambda: gone(began))
    run = resident.socket_folder(config.paths().state)
    for left in run.iterdir():
        left.unlink(missing_ok=True)  # its guard may just be removing its socket


def test_serve_answers_with_it_and_ends_it(vllm: Called) -> None:
    with launched("pixtral_cli", "serve", "--model", "demo", "--engine", "vllm", "--port", "0") as process:
        assert process.stderr
        line = next(line for line in process.stderr if "answers at" in line)
        url = line.split("answers at ")[1].split()[0]
        asked = {"messages": [{"role": "user", "content": "Hello?"}], "model": "demo"}
        answer = httpx2.post(f"{url}/chat/completions", json=asked, timeout=120, trust_env=False).json()
        assert answer["choices"][0]["message"]["content"].strip() == "demo sees 0 pictures, schema: False"
        process.terminate()
        assert process.wait(120) == 0


def test_batch_asks_it_and_what_keeps_it_from_starting_fails_no_row(
    vllm: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, answers = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl"
    rows.write_text('{"prompt": "Hello?"}\n' * 3, encoding="utf-8")
    batch = ("batch", str(rows), "-o", str(answers), "--model", "demo", "--engine", "vllm")
    monkeypatch.setenv("FAKE_VLLM", "oom")
    failed = pixtral(*batch)
    assert failed.status == 7
    assert "ran out of memory" in failed.stderr
    monkeypatch.setenv("FAKE_VLLM", "")
    assert pixtral(*batch).status == 0
    lines = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 3
    assert all("demo sees 0 pictures" in json.dumps(line) for line in lines)


def test_eval_asks_it(vllm: Called) -> None:
    done = pixtral("eval", "demo-shapes", "--limit", "2", "--model", "demo", "--engine", "vllm", "--concurrency", "2")
    assert done.status == 0, done.stderr
    assert "Recorded" in done.stderr
    (about,) = (config.paths().data / "evals").glob("*/run.json")
    (ran,) = json.loads(about.read_text(encoding="utf-8"))["versions"]
    assert ran["server"] == {"vllm": "0.32.0"}


def test_without_vllm_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PIXTRAL_VLLM", str(tmp_path / "none"))
    named = pixtral(*ASK)
    assert named.status == 2
    assert "There is no program" in named.stderr
    assert f"{install_command('vllm')}" in named.stderr
    with pytest.raises(UsageError, match="not installed"):
        find_executable("", {"PATH": str(tmp_path)})
    resident.socket_folder(config.paths().state).rmdir()


def test_it_is_found_on_the_path(tmp_path: Path) -> None:
    program = tmp_path / "vllm"
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)
    assert find_executable("", {"PATH": str(tmp_path)}) == str(program)
    assert find_executable(str(program), {}) == str(program)


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--engine", "vllm", "--vllm-args", "--port 80"), "--port is for pixtral to choose"),
        (("--engine", "vllm", "--vllm-args", "'open"), "--vllm-args cannot be read"),
        (("--engine", "vllm", "--device", "cpu"), "chooses its devices itself"),
        (("--tensor-parallel-size", "2"), "--tensor-parallel-size is for vLLM"),
        (("--engine", "local", "--vllm-args", "-x"), "--vllm-args is for vLLM"),
        (("--engine", "vllm", "--tensor-parallel-size", "0"), "tensor-parallel-size"),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(flags: tuple[str, ...], why: str) -> None:
    done: Result = pixtral("ask", "Hello?", "--model", "demo", "--no-log", "--no-stdin", *flags)
    assert done.status == 2
    assert done.stderr.count("\n") == 1
    assert why in done.stderr


def test_the_users_own_environment_wins_over_ours_but_not_over_the_key() -> None:
    launch = VllmOptions("state", "cache")
    given = build_environment(launch, "key", {"HF_HUB_OFFLINE": "0", "VLLM_API_KEY": "theirs"})
    assert given["HF_HUB_OFFLINE"] == "0"
    assert given["VLLM_API_KEY"] == "key"
    assert "RAY_ADDRESS" not in given
    assert build_environment(replace(launch, ray="auto"), "key", {})["RAY_ADDRESS"] == "auto"
    assert parse_arguments("--a 'b c' --d=1") == ("--a", "b c", "--d=1")


def test_a_checkpoint_is_prepared_beside_it_and_stays_as_it_is(tmp_path: Path) -> None:
    folder, cache = tmp_path / "model", tmp_path / "cache"
    folder.mkdir()
    (folder / "params.json").write_text('{"dim": 8}', encoding="utf-8")
    (folder / "consolidated.safetensors").write_bytes(b"weights")
    (folder / "other").touch()
    ours = prepare_checkpoint(folder, 128_000, cache)
    assert json.loads((ours / "params.json").read_text(encoding="utf-8")) == {
        "dim": 8,
        "max_position_embeddings": 128_000,
    }
    assert (ours / "consolidated.safetensors").resolve() == folder / "consolidated.safetensors"
    assert (folder / "params.json").read_text(encoding="utf-8") == '{"dim": 8}'
    (folder / "other").unlink()
    assert prepare_checkpoint(folder, 128_000, cache) == ours
    assert {file.name for file in ours.iterdir()} == {"params.json", "consolidated.safetensors"}
    (folder / "params.json").write_text('{"max_position_embeddings": 9}', encoding="utf-8")
    assert prepare_checkpoint(folder, 9, cache) == folder


def test_few_logs_are_kept(vllm: Called) -> None:
    folder = config.paths().state / "vllm"
    folder.mkdir(parents=True)
    for number in range(20):
        (folder / f"20200101-0000{number:02}-1-ab.log").touch()
    assert pixtral(*ASK).status == 0
    assert len(logs()) == 10
    assert logs()[-1].stat().st_size


def test_a_long_prompt_is_refused_without_starting_it(vllm: Called, tmp_path: Path) -> None:
    answering = engine(tmp_path)
    with pytest.raises(ContextError):
        words(answering, user("word " * 200_000))
    assert not (tmp_path / "told.json").exists()


def test_pixels_travel_as_they_are_or_in_the_size_that_the_model_sees(tmp_path: Path) -> None:
    counter = LocalEngine(demo_folder())
    rng = np.random.default_rng(3)
    grid = counter.tokenizer.grid
    for size in ((90, 60), (1500, 2000)):
        file = tmp_path / f"{size[0]}.png"
        pixels = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
        pixels.save(file)
        sent = encode_exact(load_image(str(file)), counter).partition(",")[2]
        received = Image.open(io.BytesIO(b64decode(sent)))
        needed = grid(size)
        assert grid(received.size) == needed
        assert received.size == (size if size == (90, 60) else (needed.width, needed.height))
        if size == (90, 60):
            assert (np.asarray(received) == np.asarray(pixels)).all()
        else:
            seen = cv2.resize(np.asarray(pixels, np.float32), received.size, interpolation=cv2.INTER_CUBIC)
            assert np.abs(np.asarray(received, np.float32) - np.clip(seen, 0, 255)).max() <= 0.5


REASONING_PROMPT = "First think.\n[THINK]Your thoughts.[/THINK]Then answer."


def reasoning_model(folder: Path) -> Path:
    build(folder, Sizes(version="v13", vocab=600))
    (folder / "SYSTEM_PROMPT.txt").write_text(REASONING_PROMPT, encoding="utf-8")
    return folder


def test_a_reasoning_models_thinking_comes_apart_and_its_vendors_prompt_is_sent(vllm: Called, tmp_path: Path) -> None:
    model = reasoning_model(tmp_path / "model")
    launch = VllmOptions(str(config.paths().state), str(tmp_path / "cache"), os.environ["PIXTRAL_VLLM"])
    answering = VllmEngine(model, name="model", options=launch)
    try:
        chunks = list(answering.stream([user("Do you think?")], USUAL))
        assert "".join(chunk.reasoning for chunk in chunks) == "Hm."
        assert "".join(chunk.text for chunk in chunks).startswith("model sees")
        assert "--tool-call-parser" not in vllm()["argv"]
        assert sent(tmp_path)[0] == {
            "role": "system",
            "content": [
                {"type": "text", "text": "First think.\n"},
                {"type": "thinking", "thinking": "Your thoughts.", "closed": True},
                {"type": "text", "text": "Then answer."},
            ],
        }
        words(answering, system("Be brief."), user("Hello?"))
        assert sent(tmp_path)[0] == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
        words(answering, system(""), user("Hello?"))
        assert [message["role"] for message in sent(tmp_path)] == ["user"]
    finally:
        answering.close()


def sent(folder: Path) -> list[dict[str, Any]]:
    """The messages that the fake vLLM was asked last."""
    return list(json.loads((folder / "told.asked").read_text(encoding="utf-8"))["messages"])


def test_tools_work_without_further_flags(vllm: Called, tmp_path: Path) -> None:
    answering = engine(tmp_path)
    try:
        offered = Sampling(tools=(Tool("clock", "The time.", {"type": "object", "properties": {}}),))
        assert words(answering, sampling=offered).startswith("demo sees")
    finally:
        answering.close()


@pytest.mark.parametrize("flags", [(), ("--enable-auto-tool-choice", "--tool-call-parser", "mistral")])
def test_calls_of_later_templates_are_read_here_unless_a_parser_is_named(
    vllm: Called, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    model = build(tmp_path / "model", Sizes(version="v13", vocab=600))
    launch = VllmOptions(
        str(config.paths().state), str(tmp_path / "cache"), os.environ["PIXTRAL_VLLM"], arguments=flags
    )  # fmt: skip
    answering = VllmEngine(model, name="model", options=launch)
    clock = Tool("clock", "The time.", {"type": "object", "properties": {}})
    try:
        forced = Sampling(tools=(clock,), tool_choice=NamedTool("clock"))
        chunks = list(answering.stream([user("Hello?")], forced))
        collected = ToolCallCollector()
        for chunk in chunks:
            collected.add(chunk.tool_calls)
        asked = json.loads((tmp_path / "told.asked").read_text(encoding="utf-8"))
        assert [each["function"]["name"] for each in asked["tools"]] == ["clock"]
        if flags:
            assert asked["tool_choice"] == {"type": "function", "function": {"name": "clock"}}
            assert "structured_outputs" not in asked
            return
        assert asked["tool_choice"] == "auto"
        assert '"clock"' in asked["structured_outputs"]["grammar"]
        assert [(call.name, call.arguments) for call in collected.calls] == [("clock", "{}")]
        assert (chunks[-1].finish_reason, "".join(chunk.text for chunk in chunks)) == ("tool_calls", "")
        words(answering, sampling=Sampling(tools=(clock,), tool_choice="none"))
        assert (
            not {"tools", "tool_choice", "structured_outputs"}
            & json.loads((tmp_path / "told.asked").read_text(encoding="utf-8")).keys()
        )
    finally:
        answering.close()


def test_a_models_parsers_follow_its_chat_template_and_the_users_flags_come_last(tmp_path: Path) -> None:
    assert parser_arguments(LocalEngine(build(tmp_path / "v3", Sizes(version="v3", vocab=600)))) == TOOL_FLAGS
    assert parser_arguments(LocalEngine(reasoning_model(tmp_path / "v13"))) == ()
    assert has_parser(("--x", "--tool-call-parser=openai"))
    assert not has_parser(("--tool-call-parser-plugin", "x"))


def test_the_users_own_parser_wins(vllm: Called) -> None:
    assert pixtral(*ASK, "--vllm-args", "--tool-call-parser openai").status == 0
    argv = vllm()["argv"]
    assert [argv[at + 1] for at, word in enumerate(argv) if word == "--tool-call-parser"] == ["mistral", "openai"]


@pytest.mark.parametrize(
    ("said", "thought", "answer"),
    [
        ("[THINK]So.[/THINK]Yes.", "So.", "Yes."), ("No [thought] here[", "", "No [thought] here["),
        ("[THINK]Cut off [/TH", "Cut off [/TH", ""), ("A[THINK]b[/THINK]c[THINK]d", "bd", "Ac"), ("[[THINK][[/THINK][", "[", "[["),
    ],
)  # fmt: skip
def test_thinking_is_split_off_wherever_the_pieces_are_cut(said: str, thought: str, answer: str) -> None:
    for size in range(1, len(said) + 1):
        splitter = ThinkingSplitter()
        parts = [splitter.feed(said[at : at + size]) for at in range(0, len(said), size)] + [splitter.end()]
        assert ("".join(part[0] for part in parts), "".join(part[1] for part in parts)) == (thought, answer)
