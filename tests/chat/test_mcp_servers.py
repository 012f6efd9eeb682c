"""Tools of MCP servers: listed, called over stdin and stdout, and what a server that fails looks like."""

import shlex
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Response

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.toolbox import mcp_servers
from pixtral_cli.chat.toolbox.engine import RunnableTool, ToolEngine, ToolRun
from pixtral_cli.chat.toolbox.mcp_servers import open_servers
from pixtral_cli.errors import PixtralError, UsageError
from tests.chat.test_tool_engine import Scripted
from tests.server.mcp.test_mcp import served
from tests.server.processes import ROOT
from tests.server.serving import png

PYTHON = shlex.quote(sys.executable)
FAILING = f"{PYTHON} -m tests.chat.failing_mcp_server"
PIXTRAL = f"{PYTHON} -m pixtral_cli mcp --model demo --keep-alive 0 --root {shlex.quote(str(ROOT / 'examples'))}"


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def named(tools: list[RunnableTool]) -> dict[str, RunnableTool]:
    return {each.tool.name: each for each in tools}


def test_pixtral_mcp_lends_its_eyes() -> None:
    with open_servers([PIXTRAL]) as offered:
        tools = named(offered[PIXTRAL])
        assert list(tools) == ["look", "read_text", "chart_to_table", "compare", "crop"]
        assert tools["look"].tool.parameters["required"] == ["question", "images"]
        seen = tools["look"].run({"question": "What is in the image?", "images": ["shapes.png"]}, ())
        assert (seen.text, seen.images) == ("A red circle, a blue star and a green triangle.", ())
        part = {"image": "shapes.png", "left": 0, "top": 0, "width": 32, "height": 24}
        shown = tools["crop"].run(part, ())
        assert [image.size for image in shown.images] == [(32, 24)]
        with pytest.raises(PixtralError, match="outside"):
            tools["read_text"].run({"image": "../README.md"}, ())


def test_texts_and_pictures_come_back_and_names_are_what_engines_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_SHELL", "yes")
    with open_servers([FAILING]) as offered:
        tools = named(offered[FAILING])
        result = tools["say_it"].run({"text": "a"}, ())
        assert (result.text, [image.size for image in result.images]) == ("a\na", [(6, 4)])
        assert tools["say_it"].tool.description == "Says it twice, and shows a picture."
        assert tools["environment"].run({"name": "OF_THE_SHELL"}, ()).text == "yes"


def test_a_call_that_fails_is_said_to_the_model_in_a_line_and_the_answer_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mcp_servers, "CALL_TIMEOUT", 1.0)
    calls: list[tuple[str, Any]] = [
        ("refuse", {"reason": "too dark"}), ("refuse", {}), ("damaged", {}), ("hang", {}), ("end", {}),
        ("say_it", {"text": "a"}),
    ]  # fmt: skip
    engine, runs = Scripted(*([call] for call in calls)), list[ToolRun]()
    with open_servers([FAILING]) as offered:
        asked = ToolEngine(engine, offered[FAILING], lambda call: True, runs.append)  # type: ignore[arg-type]
        assert "".join(chunk.text for chunk in asked.stream([], Sampling())).endswith("Done.")
    assert all(run.error for run in runs)
    for run, words in zip(
        runs,
        ["No: too dark", "reason", "picture", "did not reply within 1 s", "ended: the disk is gone", "ended"],
        strict=True,
    ):
        assert words in run.summary(), run.summary()
        assert "\n" not in run.summary()


def test_a_server_that_runs_already_is_reached_by_its_url() -> None:
    with served("--root", str(ROOT / "examples")) as url, open_servers([f"{url}?secret=1"]) as offered:
        [tools] = offered.values()
        seen = named(tools)["look"].run({"question": "What is in the image?", "images": ["shapes.png"]}, ())
        assert seen.text == "A red circle, a blue star and a green triangle."


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, "text/html"), (404, "Not Found"), (401, "wants a key"), (302, "not followed"), (0, "connect")],
)
def test_a_url_where_no_server_is_is_one_line_without_its_secret(
    httpserver: HTTPServer, capfd: pytest.CaptureFixture[str], status: int, said: str
) -> None:
    page = Response("<html>", status or 200, {"location": "http://127.0.0.1:1/"}, content_type="text/html")
    httpserver.expect_request("/mcp").respond_with_response(page)
    url = httpserver.url_for("/mcp") if status else "http://127.0.0.1:1/mcp"
    with pytest.raises(PixtralError) as raised, open_servers([f"{url}?key=secret"]):
        pass
    assert said in raised.value.message
    assert url in raised.value.message
    assert "secret" not in raised.value.message
    assert "\n" not in raised.value.message
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("command", "said", "kind"),
    [
        ("", "--mcp is empty", UsageError),
        ("no-such-command --x", "there is no command no-such-command", UsageError),
        ("'x", "no closing quotation", UsageError),
        ("http://", "no URL", UsageError),
        ("http://[::1", "no URL", UsageError),
        ("https://host:99999/mcp", "no URL", UsageError),
        ("ftp://host/mcp", "no URL", UsageError),
        ("true", "ended", PixtralError),
        ("sh -c 'echo first >&2; echo no key >&2; exit 3'", "ended: no key", PixtralError),
        ("cat", "Method not found", PixtralError),
        ("sleep 30", "did not reply within 0.5 s", PixtralError),
    ],
)
def test_a_server_that_does_not_start_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: str, said: str, kind: type
) -> None:
    if command == "sleep 30":
        monkeypatch.setattr(mcp_servers, "START_TIMEOUT", 0.5)
    with pytest.raises(kind) as raised, open_servers([command]):
        pass
    assert said in raised.value.message
    assert "\n" not in raised.value.message
    assert capfd.readouterr() == ("", "")


def test_what_a_server_prints_beside_the_protocol_does_not_hinder_it(tmp_path: Path) -> None:
    chatty = f"sh -c 'echo hello; echo warning >&2; exec {FAILING}'"
    with open_servers([chatty]) as offered:
        assert "refuse" in named(offered[chatty])


def test_an_error_while_servers_run_is_raised_as_it_is() -> None:
    with pytest.raises(UsageError, match="mine"), open_servers([FAILING]):
        raise UsageError("mine")


def test_what_is_neither_text_nor_picture_is_said_in_words() -> None:
    link = types.ResourceLink(type="resource_link", name="a report", uri="file:///report.txt")
    note = types.TextResourceContents(uri="file:///note.txt", text="a note")
    blob = types.BlobResourceContents(uri="file:///blob", blob="AAAA")
    given = mcp_servers._result(
        types.CallToolResult(
            content=[
                types.EmbeddedResource(type="resource", resource=note),
                types.EmbeddedResource(type="resource", resource=blob),
                link,
                types.AudioContent(type="audio", data="AAAA", mime_type="audio/wav"),
            ]
        )
    )
    assert given.text.splitlines() == [
        "a note", "[resource was left out]", "a report: file:///report.txt", "[audio was left out]",
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "said"), [(1, "The picture is shown next."), (2, "2 pictures are shown next.")])
def test_pictures_alone_are_announced_and_data_alone_is_json(count: int, said: str) -> None:
    picture = types.ImageContent(type="image", data=b64encode(png(6, 4)).decode(), mime_type="image/png")
    given = mcp_servers._result(types.CallToolResult(content=[picture] * count))
    assert (given.text, len(given.images)) == (said, count)
    data = mcp_servers._result(types.CallToolResult(content=[], structured_content={"größe": 1}))
    assert data.text == '{"größe": 1}'


def test_a_picture_that_is_no_base64_is_an_error_of_the_tool() -> None:
    picture = types.ImageContent(type="image", data="not base64!", mime_type="image/png")
    with pytest.raises(PixtralError, match="The tool's picture is no base64"):
        mcp_servers._result(types.CallToolResult(content=[picture]))
