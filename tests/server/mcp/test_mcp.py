"""`pixtral mcp` by the protocol's own client, over stdin and stdout and over HTTP, with the demo model behind it."""

import asyncio
import base64
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from pixtral_cli import command_line as main
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import ModelError
from pixtral_cli.extras import install_command
from pixtral_cli.server.mcp.pictures import PictureRules
from pixtral_cli.server.mcp.tools import VisionTools, create_server
from tests.fakes import FakeEngine
from tests.server.processes import ROOT, pixtral
from tests.server.serving import data_url, png

EXAMPLES = ROOT / "examples"
TOOLS = ["look", "read_text", "chart_to_table", "compare", "crop"]


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 240))  # type: ignore[arg-type]


def said(result: Any) -> str:
    assert not result.is_error, result.content
    return "".join(content.text for content in result.content)


def refused(result: Any) -> str:
    assert result.is_error, result.content
    return "".join(content.text for content in result.content)


@asynccontextmanager
async def by_stdio(*arguments: str) -> AsyncIterator[Client]:
    """A client of `pixtral mcp` as agents start it."""
    command = ["-m", "pixtral_cli", "mcp", "--model", "demo", "--keep-alive", "0", *arguments]
    async with Client(StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))) as client:
        yield client


@contextmanager
def served(*arguments: str, key: str = "") -> Iterator[str]:
    """The address of `pixtral mcp --http`."""
    command = [
        sys.executable,
        "-m",
        "pixtral_cli",
        "mcp",
        "--model",
        "demo",
        "--keep-alive",
        "0",
        "--http",
        "--port",
        "0",
    ]
    environment = {**os.environ, "PIXTRAL_API_KEY": key} if key else dict(os.environ)
    with subprocess.Popen([*command, *arguments], stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr
        line = process.stderr.readline()
        assert "http://127.0.0.1:" in line, line + process.stderr.read()
        try:
            yield line.split()[-1]
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0
        finally:
            process.kill()


async def check_tools(client: Client) -> None:
    assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
    seen = await client.call_tool("look", {"question": "What is in the image?", "images": ["shapes.png"]})
    assert said(seen) == "A red circle, a blue star and a green triangle."
    table = await client.call_tool("chart_to_table", {"image": "bars.png", "fields": "[color, value:int]"})
    assert said(table).splitlines() == ['"color","value"', '"red","7"', '"blue","4"', '"green","9"', '"orange","2"']
    part = {"image": "shapes.png", "left": 0, "top": 0, "width": 320, "height": 240}
    shown: Any = (await client.call_tool("crop", part)).content[0]
    assert shown.type == "image" and shown.mime_type == "image/png"
    assert base64.b64decode(shown.data).startswith(b"\x89PNG")
    assert said(await client.call_tool("crop", {**part, "question": "What is in the image?"}))
    both = {"images": ["shapes.png", "bars.png"]}
    assert said(await client.call_tool("compare", both))
    assert said(await client.call_tool("read_text", {"image": data_url((EXAMPLES / "sketch.png").read_bytes())}))
    assert "outside" in refused(await client.call_tool("read_text", {"image": "../README.md"}))


def test_an_agent_sees_over_stdio() -> None:
    async def work() -> None:
        async with by_stdio("--root", str(EXAMPLES)) as client:
            await check_tools(client)

    run(work)


def test_an_agent_sees_over_http() -> None:
    with served("--root", str(EXAMPLES)) as url:

        async def work() -> None:
            async with Client(url) as client:
                await check_tools(client)

        run(work)
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            assert httpx2.post(url, json={}, headers=headers, trust_env=False).status_code == 403


def test_over_http_a_key_is_wanted_where_there_is_one() -> None:
    with served("--root", str(EXAMPLES), key="the-key") as url:
        assert httpx2.post(url, json={}, trust_env=False).status_code == 401

        async def work() -> None:
            async with (
                httpx2.AsyncClient(headers={"Authorization": "Bearer the-key"}, trust_env=False) as http,
                Client(streamable_http_client(url, http_client=http)) as client,
            ):
                assert len((await client.list_tools()).tools) == 5

        run(work)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--root", "/no/such/folder"], "--root /no/such/folder is not a folder"),
        (["--http", "--host", "0.0.0.0"], "needs an API key"),
        (["--model", "no-such-model"], "no-such-model"),
    ],
)
def test_what_cannot_be_served_is_one_line_and_a_status(arguments: list[str], why: str) -> None:
    done = pixtral("mcp", "--model", "demo", *arguments)
    assert done.returncode != 0
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


# In this process, over queued answers


@contextmanager
def asked(engine: FakeEngine, root: Path, **rules: Any) -> Iterator[Callable[..., Any]]:
    """Calls a tool through the protocol; returns its result."""

    @contextmanager
    def opened() -> Iterator[FakeEngine]:
        yield engine

    server = create_server(VisionTools(opened, Sampling(0.0), PictureRules(root, **rules)), "fake")

    def call(tool: str, **arguments: Any) -> Any:
        async def work() -> Any:
            async with Client(server) as client:
                return await client.call_tool(tool, arguments)

        return asyncio.run(asyncio.wait_for(work(), 120))

    yield call


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "inside").mkdir(parents=True)
    (folder / "a.png").write_bytes(png(5, 5))
    (folder / "inside" / "b.png").write_bytes(png(3, 3))
    (tmp_path / "secret.png").write_bytes(png(9, 9))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "own.png").symlink_to(folder / "a.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_pictures_stand_where_the_question_places_them(root: Path) -> None:
    engine = FakeEngine(["yes"])
    with asked(engine, root) as call:
        result = call("look", question="Is {2} in {1}?", images=["a.png", "inside/../inside/b.png"], max_tokens=7)
    assert said(result) == "yes"
    (message,), sampling = engine.seen[0]
    assert [part if isinstance(part, str) else part.size for part in message.parts] == [
        "Is ",
        (3, 3),
        " in ",
        (5, 5),
        "?",
    ]
    assert sampling.max_tokens == 7


@pytest.mark.parametrize("source", ["a.png", "own.png", "inside/b.png", "{root}/a.png", "file://{root}/a.png"])
def test_files_in_the_folder_are_read(root: Path, source: str) -> None:
    with asked(FakeEngine(["yes"]), root) as call:
        assert said(call("read_text", image=source.format(root=root))) == "yes"


@pytest.mark.parametrize(
    "source",
    ["../secret.png", "{root}/../secret.png", "link.png", "linked/secret.png", "inside/../../secret.png", "/etc/passwd",
     "file:///etc/passwd", "~/.bashrc", "linked/report.pdf#2", "file://{root}/../secret.png",
     "file://{root}/%2e%2e/secret.png"],
)  # fmt: skip
def test_no_path_leaves_the_folder(root: Path, source: str) -> None:
    engine = FakeEngine([])
    with asked(engine, root) as call:
        for tool in ("read_text", "chart_to_table"):
            assert "outside" in refused(call(tool, image=source.format(root=root)))
    assert not engine.seen


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("none.png", "none.png"),
        ("notes.txt", "notes.txt"),
        ("inside", "directory"),
        ("", "empty name"),
        ("a\0b.png", "possible file name"),
        ("http://127.0.0.1:1/x.png", "private"),
        ("http://169.254.169.254/x.png", "private"),
        ("ftp://example.com/x.png", "not supported"),
        ("data:image/png;base64,AAAA", ""),
        (base64.b64encode(png(400, 400) * 4).decode(), "data:image/png;base64,"),
    ],
)
def test_what_is_no_picture_is_said(root: Path, source: str, why: str) -> None:
    with asked(FakeEngine([]), root) as call:
        assert why in refused(call("read_text", image=source))


def test_a_server_that_takes_no_urls_takes_none(root: Path) -> None:
    with asked(FakeEngine(["yes"]), root, urls=False) as call:
        assert "paths and data URLs" in refused(call("read_text", image="https://example.com/x.png"))
        assert said(call("read_text", image=data_url())) == "yes"


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("look", {"question": "?", "images": []}, "images"),
        ("look", {"question": "", "images": ["a.png"]}, "question"),
        ("look", {"question": "{3}", "images": ["a.png"]}, "{3}"),
        ("look", {"question": "?"}, "images"),
        ("compare", {"images": ["a.png"]}, "images"),
        ("crop", {"image": "a.png", "left": 4, "top": 4, "width": 4, "height": 4}, "not inside"),
        ("crop", {"image": "a.png", "left": -1, "top": 0, "width": 4, "height": 4}, "left"),
        ("chart_to_table", {"image": "a.png", "fields": "[a:nothing]"}, "nothing"),
        ("chart_to_table", {"image": "a.png", "fields": "/etc/passwd"}, "/etc/passwd"),
        ("chart_to_table", {"image": "a.png", "fields": '{"type": "objekt"}'}, "schema"),
    ],
)
def test_wrong_arguments_are_named(root: Path, tool: str, arguments: dict[str, Any], why: str) -> None:
    engine = FakeEngine([])
    with asked(engine, root) as call:
        assert why in refused(call(tool, **arguments))
    assert not engine.seen


def test_errors_of_the_engine_reach_the_agent(root: Path) -> None:
    engine = FakeEngine([ModelError("The checkpoint is damaged", "Pull it again"), "not json"])
    with asked(engine, root) as call:
        assert refused(call("read_text", image="a.png")).endswith("The checkpoint is damaged. Pull it again")
        assert "not valid JSON" in refused(call("chart_to_table", image="a.png"))


def test_one_line_says_how_to_install_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "mcp" else found(name))
    assert main.run(["mcp"]) == 2
    told = f"pixtral: pixtral mcp needs one more package. Get it: {install_command('mcp')}\n"
    assert capsys.readouterr().err == told


def test_the_model_is_kept_by_a_process_that_others_use_and_is_started_anew_when_it_ended() -> None:
    question = {"question": "Who are you?", "images": ["shapes.png"]}

    async def work() -> None:
        command = ["-m", "pixtral_cli", "mcp", "--model", "demo", "--root", str(EXAMPLES)]
        server = StdioServerParameters(command=sys.executable, args=command, env=dict(os.environ))
        async with Client(server) as client:
            first = said(await client.call_tool("look", question))
            assert "demo" in (await asyncio.to_thread(pixtral, "ps")).stdout
            assert (await asyncio.to_thread(pixtral, "stop")).returncode == 0
            assert said(await client.call_tool("look", question)) == first
        assert "demo" in (await asyncio.to_thread(pixtral, "ps")).stdout

    try:
        run(work)
    finally:
        pixtral("stop")


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("look", {}, ["question", "images", "Field required"]),
        ("look", {"question": "", "images": ["a.png"], "max_tokens": "many"}, ["question", "max_tokens"]),
        ("look", {"question": "q", "images": []}, ["images"]),
        ("crop", {"image": 5, "left": -1, "top": None}, ["image", "left", "top", "width", "height"]),
        ("read_text", {"image": "a\nb\r\n.png"}, ["read_text"]),
        ("chart_to_table", {"image": "x.png", "fields": "{\n\n"}, ["schema"]),
        ("nothing\nhere", {}, ["nothing"]),
    ],
)
def test_an_error_is_one_line(root: Path, tool: str, arguments: dict[str, Any], says: list[str]) -> None:
    with asked(FakeEngine([]), root) as call:
        why = refused(call(tool, **arguments))
    assert len(why.splitlines()) == 1
    assert all(word in why for word in says), why
    assert "pydantic" not in why
