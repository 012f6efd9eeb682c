"""`pixtral serve` and `login` as a user meets them; the demo model behind the whole of it."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from pixtral_cli import images
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.engines.remote.engine import connect
from pixtral_cli.errors import NetworkError
from pixtral_cli.extras import install_command
from pixtral_cli.models.names import demo_folder
from pixtral_cli.server.http.access import AccessRules
from tests.fakes import FakeEngine
from tests.server.processes import ROOT, launched, pixtral
from tests.server.serving import data_url, picture, serving

KEYS = Path("pixtral") / "keys.json"


@pytest.fixture
def demo() -> Iterator[tuple["subprocess.Popen[str]", httpx2.Client]]:
    with launched("pixtral_cli", "serve", "--model", "demo", "--port", "0") as process:
        assert process.stderr
        assert process.stderr.readline().startswith("Loading demo …")
        line = next(line for line in process.stderr if not line.startswith("Loading"))  # told more than once if slow
        assert line.startswith("demo answers at http://127.0.0.1:"), line + process.stderr.read()
        with httpx2.Client(base_url=line.split()[3], timeout=120, trust_env=False) as client:
            yield process, client
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        assert process.stdout
        assert (process.stdout.read(), process.stderr.read()) == ("", "")


def test_the_demo_model_answers_over_http_as_it_does_here(
    demo: tuple["subprocess.Popen[str]", httpx2.Client], tmp_path: Path
) -> None:
    process, client = demo
    drawing = draw(tmp_path / "x.png")
    question = "What is in the image?"
    asked = [user(question, [images.load(str(drawing))])]
    here = "".join(chunk.text for chunk in LocalEngine(demo_folder()).stream(asked, Sampling(0.0)))
    content = [picture(data_url(drawing.read_bytes())), {"type": "text", "text": question}]
    body = {"model": "pixtral-12b-2409", "messages": [{"role": "user", "content": content}]}
    first = client.post("/chat/completions", json=body).json()
    assert first["choices"][0]["message"]["content"] == here
    assert "red" in here

    talk = [*body["messages"], first["choices"][0]["message"], {"role": "user", "content": "What colour is it?"}]
    second = client.post("/chat/completions", json={"messages": talk}).json()
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] > first["usage"]["prompt_tokens"] / 2

    other = {"messages": [{"role": "user", "content": "Who are you?"}]}
    assert client.post("/chat/completions", json=other).status_code == 200
    talk += [second["choices"][0]["message"], {"role": "user", "content": "How many shapes are there?"}]
    third = client.post("/chat/completions", json={"messages": talk}).json()
    assert third["usage"]["prompt_tokens_details"]["cached_tokens"] >= second["usage"]["prompt_tokens"]

    listed = pixtral("ps").stdout
    assert "demo" in listed
    assert str(process.pid) in listed.split()
    assert client.get("/models/demo").json()["max_context_length"] > 1000
    lines = client.get(client.base_url.join("/metrics")).text.splitlines()
    sizes = {name: int(value) for name, value in (line.rsplit(" ", 1) for line in lines if "_bytes{" in line)}
    for cache in ("image_features", "idle_kv"):
        assert (
            0
            < sizes[f'pixtral_cache_bytes{{cache="{cache}"}}']
            <= sizes[f'pixtral_cache_limit_bytes{{cache="{cache}"}}']
        )


def draw(file: Path) -> Path:
    from PIL import Image, ImageDraw

    drawing = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(drawing).ellipse((30, 30, 100, 100), fill=(220, 30, 30))
    drawing.save(file)
    return file


def test_strangers_need_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        result = pixtral("serve", "--model", "demo", "--host", host)
        assert result.returncode == 2
        assert "needs an API key" in result.stderr
        assert result.stderr.count("\n") == 1


def test_a_model_that_does_not_load_ends_the_server_with_its_error(tmp_path: Path) -> None:
    shutil.copytree(demo_folder(), tmp_path / "cut")
    weights = tmp_path / "cut" / "consolidated.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    result = pixtral("serve", "--model", str(tmp_path / "cut"), "--port", "0")
    assert result.returncode == 4
    *loading, error = result.stderr.splitlines()
    assert {line.split()[0] for line in loading} == {"Loading"}  # told more than once if slow
    assert "consolidated.safetensors" in error


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['starlette'] = None; from pixtral_cli.__main__ import main; main(['serve'])"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr == f"pixtral: The server needs two more packages. Get them: {install_command('serve')}\n"


# login


def test_a_key_is_tried_and_stored_for_its_server_alone(home: Path) -> None:
    with serving(FakeEngine(["hello"]), rules=AccessRules(api_key="right")) as running:
        wrong = pixtral("login", "--base-url", running.url, given="wrong-key\n")
        assert wrong.returncode == 5
        assert "refuses" in wrong.stderr
        assert "wrong-key" not in wrong.stderr + wrong.stdout
        assert not (home / KEYS).exists()

        stored = pixtral("login", "--base-url", running.url, given="right\n")
        assert stored.returncode == 0
        assert json.loads((home / KEYS).read_text()) == {running.url: "right"}
        assert (home / KEYS).stat().st_mode & 0o777 == 0o600

        engine = connect(running.url, None, home / KEYS)
        assert "".join(chunk.text for chunk in engine.stream([user("?")], Sampling())) == "hello"

    assert pixtral("login", "--base-url", running.url, "--remove").returncode == 0
    assert json.loads((home / KEYS).read_text()) == {}


def test_a_key_that_cannot_be_tried_is_stored_and_that_is_reported(home: Path) -> None:
    result = pixtral("login", "--base-url", "http://127.0.0.1:9", given="some-key")
    assert result.returncode == 0
    assert "not tried" in result.stderr
    assert "some-key" in (home / KEYS).read_text()


def test_an_empty_key_is_none(home: Path) -> None:
    result = pixtral("login", "--base-url", "http://127.0.0.1:9", given="\n")
    assert (result.returncode, result.stderr) == (2, "pixtral: What was entered is empty. Copy the key again\n")
    assert not (home / KEYS).exists()


def test_la_plateforme_without_a_key_says_how_to_get_one_in(home: Path) -> None:
    with pytest.raises(NetworkError, match="no API key") as caught:
        connect(None, None, home / KEYS)
    assert "pixtral login" in caught.value.hint
