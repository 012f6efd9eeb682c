"""Keys of MCP servers: from `pixtral login` or the environment, sent to their server alone, never shown or kept."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pixtral_cli import config
from pixtral_cli.engines.remote import keys
from pixtral_cli.errors import UsageError
from tests.chat.keyed_mcp_server import Keyed, keyed
from tests.chat.test_tool_engine import Scripted
from tests.server.mcp.test_mcp import served
from tests.server.processes import ROOT
from tests.server.serving import Running, serving

KEY = "k-123456"
PIXTRAL = [sys.executable, "-m", "pixtral_cli"]


@pytest.fixture
def server() -> Iterator[Keyed]:
    with keyed(KEY) as running:
        yield running


@pytest.fixture
def running() -> Iterator[Running]:
    with serving(Scripted([("stock", {"item": "shoes"})])) as running:
        yield running


def call(*words: str, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PIXTRAL, *words], capture_output=True, check=False, input=given, encoding="utf-8", timeout=120,
        env={**os.environ, **variables},
    )  # fmt: skip


def ask(running: Running, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    flags = ("--base-url", running.url, "-m", "fake", "--yes-tools", "--no-stdin")
    return call("ask", "How many?", *flags, *words, **variables)


def test_a_key_of_the_environment_opens_the_server(running: Running, server: Keyed) -> None:
    done = ask(running, "--mcp", server.url, PIXTRAL_MCP_KEY=KEY)
    assert (done.returncode, done.stdout) == (0, "Let me see. Done.\n"), done.stderr
    assert "3 of shoes" in done.stderr
    assert set(server.seen) == {f"Bearer {KEY}"}
    kept = b"".join(file.read_bytes() for file in config.paths().data.rglob("*") if file.is_file())
    assert b"3 of shoes" in kept
    assert KEY.encode() not in kept
    assert KEY not in done.stdout + done.stderr


def test_a_key_that_was_stored_opens_the_server(running: Running, server: Keyed) -> None:
    wrong = call("login", "--mcp", server.url, given="k-wrong\n")
    assert (wrong.returncode, "refuses the key" in wrong.stderr, "k-wrong" in wrong.stderr) == (5, True, False)
    assert not config.paths().config_file.with_name("keys.json").exists()
    assert ask(running, "--mcp", server.url).returncode == 1
    stored = call("login", "--mcp", server.url, given=f"{KEY}\n")
    assert (stored.returncode, stored.stdout) == (0, ""), stored.stderr
    done = ask(running, "--mcp", server.url)
    assert (done.returncode, done.stdout) == (0, "Let me see. Done.\n"), done.stderr
    assert call("login", "--mcp", server.url, "--remove").returncode == 0
    assert ask(running, "--mcp", server.url).returncode == 1


@pytest.mark.parametrize(("variables", "said"), [({}, "wants a key"), ({"PIXTRAL_MCP_KEY": "x-9"}, "refuses the key")])
def test_a_server_that_takes_no_other_key_is_one_line(
    running: Running, server: Keyed, variables: dict[str, str], said: str
) -> None:
    done = ask(running, "--mcp", server.url, **variables)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"pixtral: The MCP server {server.url} {said}. Store one: pixtral login --mcp URL; or set PIXTRAL_MCP_KEY\n"
    )


def test_the_key_of_pixtral_mcp_is_taken() -> None:
    with (
        served("--root", str(ROOT / "examples"), key=KEY) as url,
        serving(Scripted([("look", {"question": "What is in the image?", "images": ["shapes.png"]})])) as running,
    ):
        done = ask(running, "--mcp", url, PIXTRAL_MCP_KEY=KEY)
        assert "A red circle" in done.stderr, done.stderr
        assert ask(running, "--mcp", url).returncode == 1


def test_the_key_of_one_server_goes_to_no_other(running: Running, server: Keyed, httpserver: HTTPServer) -> None:
    """Not to another port, and not where a redirect leads."""
    seen: list[str | None] = []

    def page(request: Request) -> Response:
        seen.append(request.headers.get("Authorization"))
        return Response("", 404)

    httpserver.expect_request("/mcp").respond_with_handler(page)
    httpserver.expect_request("/away").respond_with_response(Response("", 307, {"location": server.url}))
    call("login", "--mcp", server.url, given=f"{KEY}\n")
    assert ask(running, "--mcp", httpserver.url_for("/mcp")).returncode == 1
    assert seen
    assert set(seen) == {None}
    server.seen.clear()
    assert ask(running, "--mcp", httpserver.url_for("/away"), PIXTRAL_MCP_KEY=KEY).returncode == 1
    assert server.seen == []


def test_what_is_for_this_machine_goes_through_no_proxy(
    running: Running, server: Keyed, httpserver: HTTPServer
) -> None:
    proxies = {name: httpserver.url_for("/") for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")}
    done = ask(running, "--mcp", server.url, PIXTRAL_MCP_KEY=KEY, **proxies)
    assert done.returncode == 0, done.stderr
    assert httpserver.log == []


@pytest.mark.parametrize("url", ["http://mcp.example/mcp", "http://10.1.2.3:8000/mcp", "http://localhost.example/mcp"])
def test_no_key_leaves_this_machine_unencrypted(running: Running, tmp_path: Path, url: str) -> None:
    done = ask(running, "--mcp", url, PIXTRAL_MCP_KEY=KEY)
    host = url.split("/")[2].split(":")[0]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"pixtral: PIXTRAL_MCP_KEY is not sent unencrypted to {host}. Use https://\n"
    refused = call("login", "--mcp", url, given=f"{KEY}\n")
    assert (refused.returncode, "not sent unencrypted" in refused.stderr) == (2, True)
    file = tmp_path / "keys.json"
    keys.save(url, KEY, file)  # by login --base-url
    with pytest.raises(UsageError, match="The key is not sent unencrypted"):
        keys.find_for_mcp([url], file, {})


def test_a_variable_is_for_one_server(running: Running, server: Keyed) -> None:
    done = ask(running, "--mcp", server.url, "--mcp", "https://other.example/mcp", PIXTRAL_MCP_KEY=KEY)
    assert done.returncode == 2
    assert "PIXTRAL_MCP_KEY is for one server, and several are named" in done.stderr
    assert server.seen == []


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://mcp.example/mcp", True),
        ("https://MCP.example:443/other", True),
        ("https://mcp.example:8443/mcp", False),
        ("https://a.mcp.example/mcp", False),
        ("https://user:word@mcp.example/mcp", False),
    ],
)
def test_a_stored_key_is_found_by_scheme_host_and_port(tmp_path: Path, url: str, found: bool) -> None:
    file = tmp_path / "keys.json"
    keys.save("https://mcp.example/mcp", KEY, file)
    assert keys.find_for_mcp([url], file, {}) == ({url: KEY} if found else {})


@pytest.mark.parametrize("url", ["ftp://host/mcp", "host", "https://user:word@host/mcp", "https://"])
def test_login_takes_the_url_of_a_server(url: str) -> None:
    done = call("login", "--mcp", url, given=f"{KEY}\n")
    assert done.returncode == 2
    assert "--mcp must be the http(s) URL of an MCP server" in done.stderr
    assert len(done.stderr.splitlines()) == 1
