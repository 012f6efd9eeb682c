"""The real vLLM, on a CPU, in its own environment: the same answers as the local engine's, and the same scores.

One vLLM is kept for most of these; spreading over two processes starts another.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pixtral_cli import config
from pixtral_cli.chat.engine import Engine, Sampling, engine_versions
from pixtral_cli.chat.message import Message, assistant, system, tool_result, user
from pixtral_cli.chat.tools import NamedTool, Tool, ToolCall, ToolCallCollector
from pixtral_cli.cli.common.engine_setup import choose_engine
from pixtral_cli.config import Config
from pixtral_cli.engines import resident
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import parse_endpoint
from pixtral_cli.engines.resident_engine import ResidentEngine
from pixtral_cli.engines.vllm.command import VllmOptions
from pixtral_cli.engines.vllm.engine import VllmEngine
from pixtral_cli.evals import task_registry
from pixtral_cli.images.image import load
from pixtral_cli.models.names import demo_folder
from tests.cli.calling import pixtral
from tests.engines.local.checkpoints import SPECIALS, Sizes, build
from tests.engines.local.test_engine import successor
from tests.evals.answering import Answering
from tests.evals.running import JUDGED, alike, rating, run
from tests.server.processes import ROOT, launched
from tests.server.serving import serving
from tests.terminal.repl.chatting import Chat

pytestmark = pytest.mark.slow

PROGRAM = ROOT / ".venv-vllm" / "bin" / "vllm"
ARGUMENTS = "--enforce-eager --max-model-len 4096"  # compiling takes minutes on a CPU
LIKE = ("--model", "demo", "--dtype", "float32")
VLLM = (*LIKE, "--engine", "vllm", "--vllm-args", ARGUMENTS)
ONCE = ("--no-log", "--no-stdin")
SHAPES, BARS = str(ROOT / "examples" / "shapes.png"), str(ROOT / "examples" / "bars.png")
GREEDY = Sampling(temperature=0, max_tokens=60)


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vllm")


@pytest.fixture(autouse=True)
def _same_home(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One home for all of these, so that each finds the vLLM that the first has started."""
    assert PROGRAM.exists(), "make .venv-vllm/ready"
    monkeypatch.setenv("PIXTRAL_HOME", str(own_home))
    monkeypatch.setenv("PIXTRAL_VLLM", str(PROGRAM))
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")


@pytest.fixture
def kept(_same_home: None) -> None:
    """A vLLM that is kept for the next question."""
    done = pixtral("ask", "Hello?", *VLLM, *ONCE, "--keep-alive", "30m")
    assert done.status == 0, done.stderr


@pytest.fixture(scope="module", autouse=True)
def _stopped(own_home: Path) -> Iterator[None]:
    yield
    environment = {**os.environ, "PIXTRAL_HOME": str(own_home)}
    subprocess.run([sys.executable, "-m", "pixtral_cli", "stop"], env=environment, cwd=ROOT, check=True)
    room = resident.socket_folder(own_home / "state")
    for left in room.iterdir():
        left.unlink()
    room.rmdir()


def test_ask_answers_as_the_local_engine(kept: None) -> None:
    question = ("ask", "What is in the image?", "--image", SHAPES, "--format", "json", *ONCE)
    there, here = (json.loads(pixtral(*question, *like).stdout) for like in (VLLM, LIKE))
    assert there["answer"] == here["answer"]
    assert "red circle" in there["answer"]
    for count in ("prompt_tokens", "completion_tokens", "image_tokens"):
        assert abs(there["usage"][count] - here["usage"][count]) <= (count == "completion_tokens")  # it counts the end


def conversations() -> list[list[Message]]:
    shapes, bars = load(SHAPES), load(BARS)
    return [
        [user("Hello?")],
        [Message("system", "Answer in one word."), user("What colour is the circle?", [shapes])],
        [user("What is the difference between them?", [shapes, bars])],
        [user("What is the difference between them?", [bars, shapes])],
        [Message("user", ("Here is one: ", shapes, " and here another: ", bars, " Which is a chart?"))],
        [user("What is in the image?", [shapes]), assistant("A circle."), user("And in this one?", [bars])],
    ]


@pytest.mark.parametrize("number", range(len(conversations())))
def test_greedy_answers_are_the_local_engines(kept: None, number: int) -> None:
    chosen, _ = choose_engine("demo", Config(engine="vllm", dtype="float32", vllm=str(PROGRAM), vllm_args=ARGUMENTS))
    there, here = chosen.open(), LocalEngine(demo_folder(), name="demo", dtype="float32")
    assert isinstance(there, ResidentEngine)
    messages = conversations()[number]
    assert there.measure(messages).prompt_tokens == here.measure(messages).prompt_tokens
    said = ["".join(chunk.text for chunk in engine.stream(messages, GREEDY)) for engine in (there, here)]
    assert said[0] == said[1]
    there.close()


def test_chat_answers_about_pictures(kept: None) -> None:
    with Chat() as chat:
        chat.start(*VLLM, "--image", SHAPES)
        chat.say("What is in the image?", "red circle")
        chat.say("What colour is the star?", "lue")
        chat.type(b"\x04")
        assert chat.process.wait(120) == 0


def test_an_answer_holds_to_a_schema(kept: None) -> None:
    chosen, _ = choose_engine("demo", Config(engine="vllm", dtype="float32", vllm=str(PROGRAM), vllm_args=ARGUMENTS))
    engine = chosen.open()
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}, "count": {"type": "integer", "maximum": 9, "minimum": 1}},
        "required": ["colour", "count"],
        "additionalProperties": False,
    }
    asked = [user("What is in the image?", [load(SHAPES)])]
    sampling = Sampling(temperature=0, max_tokens=100, schema=schema)
    answer = json.loads("".join(chunk.text for chunk in engine.stream(asked, sampling)))
    assert answer["colour"] in ("red", "blue")
    assert 1 <= answer["count"] <= 9
    engine.close()


def test_every_task_scores_the_same_through_all_three_engines(kept: None, tmp_path: Path) -> None:
    chosen, _ = choose_engine("demo", Config(engine="vllm", dtype="float32", vllm=str(PROGRAM), vllm_args=ARGUMENTS))
    with launched("pixtral_cli", "serve", *LIKE, "--port", "0") as process, serving(Answering(rating)) as judging:
        assert process.stderr
        url = next(line for line in process.stderr if "answers at" in line).split("answers at ")[1].split()[0]
        judge = RemoteEngine(ApiClient(parse_endpoint(f"{judging.url}/v1")), "fake")
        engines: dict[str, Engine] = {
            "local": LocalEngine(demo_folder(), name="demo", dtype="float32"),
            "serve": RemoteEngine(ApiClient(parse_endpoint(url)), "demo"),
            "vllm": chosen.open(),
        }
        for name in task_registry.task_names():
            asking = judge if name in JUDGED else None
            told = {way: alike(run(name, tmp_path / way / name, one, asking, 24, 4)) for way, one in engines.items()}
            assert told["local"] == told["serve"] == told["vllm"], name
            assert all(record["scores"] and record["answers"][-1] for record in told["local"]), name
        assert engine_versions(engines["vllm"])["vllm"][0].isdigit()
        for one in (*engines.values(), judge):
            one.close()


def test_eval_says_which_vllm_answered(kept: None, tmp_path: Path) -> None:
    done = pixtral("eval", "demo-charts", *VLLM, "--limit", "3", "--concurrency", "3", "-o", str(tmp_path))
    assert done.status == 0, done.stderr
    (ran,) = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["versions"]
    assert ran["server"]["vllm"][0].isdigit()
    assert ran["server"]["pixtral"] == ran["pixtral"]


def test_two_processes_that_share_each_layer_answer_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "model", Sizes(dim=128, layers=3, head_dim=32), seed=3)
    cores = [*sorted(os.sched_getaffinity(0)), *sorted(os.sched_getaffinity(0))][:2]
    monkeypatch.setenv("VLLM_CPU_OMP_THREADS_BIND", "|".join(map(str, cores)))
    question = ("ask", "What differs between {1} and {2}?", "--image", SHAPES, "--image", BARS, *ONCE)
    question = (*question, "--temperature", "0", "--max-tokens", "30", "--model", str(folder), "--dtype", "float32")
    there = pixtral(*question, "--engine", "vllm", "--tensor-parallel-size", "2", "--vllm-args", ARGUMENTS)
    here = pixtral(*question)
    assert there.status == here.status == 0, there.stderr
    assert there.stdout == here.stdout
    assert len(there.stdout) > 20
    newest = max((config.paths().state / "vllm").glob("*.log"))
    assert "Worker_TP1" in newest.read_text(encoding="utf-8")


def test_what_vllm_itself_refuses_is_one_line(_same_home: None) -> None:
    done = pixtral("ask", "Hello?", *LIKE, *ONCE, "--engine", "vllm", "--vllm-args", "--no-such-flag 3")
    assert done.status == 2
    assert done.stderr.count("\n") == 1
    assert "vLLM does not know --no-such-flag 3. See: vllm serve --help=all. Its log: " in done.stderr


def test_a_reasoning_model_thinks_there_as_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vendor's prompt makes the same tokens, and what it thinks comes apart from what it says."""
    folder = tmp_path / "model"
    think, byte = SPECIALS, SPECIALS + 2  # the tokens around thinking, the first of the bytes
    script = [4, think, *(byte + one for one in b"so"), think + 1, *(byte + one for one in b"ye"), 2]
    sizes = Sizes(dim=512, heads=4, kv_heads=2, head_dim=32, layers=1, version="v13")
    successor(folder, dict(pairwise(script)), sizes)
    (folder / "SYSTEM_PROMPT.txt").write_text("Draft.\n[THINK]Thoughts.[/THINK]Answer.", encoding="utf-8")
    launch = VllmOptions(str(tmp_path), str(tmp_path), str(PROGRAM), arguments=tuple(ARGUMENTS.split()))
    there = VllmEngine(folder, name="model", options=launch, dtype="fp32")
    here = LocalEngine(folder, name="model", dtype="float32")
    try:
        for asked in (
            [user("Why?")],
            [system(""), user("Why?")],
            [user("Why?"), assistant("A.", reasoning="B."), user("C?")],
        ):
            said = [list(engine.stream(asked, GREEDY)) for engine in (there, here)]
            for chunks in said:
                assert "".join(chunk.reasoning for chunk in chunks) == "so"
                assert "".join(chunk.text for chunk in chunks) == "ye"
            tokens = [chunks[-1].usage.prompt_tokens for chunks in said if chunks[-1].usage]
            assert tokens == [here.measure(asked).prompt_tokens] * 2
    finally:
        there.close()


TIME = Tool("time", "", {"type": "object", "properties": {}, "additionalProperties": False})
CLOCK = Tool(
    "clock", "The time.",
    {"type": "object", "properties": {"zone": {"enum": ["utc", "cet"]}}, "required": ["zone"], "additionalProperties": False},
)  # fmt: skip


@pytest.mark.parametrize("version", ["v11", "v13"])
def test_tools_of_later_templates_are_called_there_as_here(tmp_path: Path, version: str) -> None:
    """A named and a required call, one that the model makes by itself after a result, text, and the tokens of it all."""
    folder = tmp_path / "model"
    sizes = Sizes(dim=512, heads=4, kv_heads=2, head_dim=32, layers=1, version=version)
    build(folder, sizes)
    tokenizer = LocalEngine(folder).tokenizer
    tokens = tokenizer.tool_tokens
    assert tokens
    assert tokens.args
    of = {tokenizer.bytes_of(token): token for token in range(256 + SPECIALS + 4) if tokenizer.bytes_of(token)}
    answered = tokenizer._tekken.get_special_token("[/TOOL_RESULTS]")
    text = [4, *(of[bytes([one])] for one in b"ok"), 2]
    call = [answered, tokens.tool_calls, *(of[bytes([one])] for one in b"time"), tokens.args, of[b"{"], of[b"}"], 2]
    successor(folder, dict([*pairwise(text), *pairwise(call)]), sizes)
    launch = VllmOptions(str(tmp_path), str(tmp_path), str(PROGRAM), arguments=tuple(ARGUMENTS.split()))
    there = VllmEngine(folder, name="model", options=launch, dtype="fp32")
    here = LocalEngine(folder, name="model", dtype="float32")
    done = ToolCall("abcdefghi", "clock", '{"zone": "utc"}')
    result = [user("Late?"), assistant("", tool_calls=(done,)), tool_result(done, "12:00")]
    asked: dict[str, tuple[list[Message], Sampling]] = {
        "text": ([user("Late?")], replace(GREEDY, tools=(CLOCK, TIME))),
        "none": ([user("Late?")], replace(GREEDY, tools=(CLOCK, TIME), tool_choice="none")),
        "named": ([user("Late?")], replace(GREEDY, tools=(CLOCK, TIME), tool_choice=NamedTool("clock"))),
        "required": ([user("Late?")], replace(GREEDY, tools=(TIME,), tool_choice="required", parallel_tool_calls=False)),
        "result": (result, replace(GREEDY, tools=(CLOCK, TIME))),
    }  # fmt: skip
    try:
        said = {name: [_said(engine, *question) for engine in (there, here)] for name, question in asked.items()}
    finally:
        there.close()
    for name, (far, near) in said.items():
        assert far == near, name
    assert said["text"][0][:3] == said["none"][0][:3] == ("ok", [], "stop")
    ((_, [(name, arguments)], reason, _), _) = said["named"]
    assert (name, json.loads(arguments)["zone"] in ("utc", "cet"), reason) == ("clock", True, "tool_calls")
    assert said["required"][0][:3] == said["result"][0][:3] == ("", [("time", "{}")], "tool_calls")


def _said(engine: Engine, messages: list[Message], sampling: Sampling) -> tuple[str, list[tuple[str, str]], str, int]:
    """Text, calls, reason of the end, and how many tokens the prompt had."""
    collected, chunks = ToolCallCollector(), list(engine.stream(messages, sampling))
    for chunk in chunks:
        collected.add(chunk.tool_calls)
    last = chunks[-1]
    assert last.usage
    calls = [(call.name, call.arguments) for call in collected.calls]
    return "".join(chunk.text for chunk in chunks), calls, last.finish_reason or "", last.usage.prompt_tokens
