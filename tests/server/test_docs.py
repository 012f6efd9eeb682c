"""docs/serve.md names what there is: every route, error and metric, and its requests work as they stand."""

import json
import re
import subprocess

from pixtral_cli.api.errors import API_ERRORS
from pixtral_cli.server import metrics
from pixtral_cli.server.openai.openapi import description
from tests.fakes import FakeEngine
from tests.server.processes import ROOT
from tests.server.serving import serving

TEXT = (ROOT / "docs" / "serve.md").read_text()
SOURCES = (ROOT / "pixtral_cli" / "server").glob("*.py")


def fenced(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found[1]


def test_every_route_is_named() -> None:
    for path in description()["paths"]:
        assert path.replace("{name}", "NAME") in TEXT


def test_every_error_is_named() -> None:
    codes = {code for _, _, code in API_ERRORS.values()}
    for file in SOURCES:
        codes |= set(re.findall(r'code="([a-z_]+)"', file.read_text()))
    assert not {code for code in codes if f"`{code}`" not in TEXT}


def test_every_metric_is_named_and_none_that_is_not_there() -> None:
    named = set(re.findall(r"`([a-z_]+(?:_total|_sum|_up|_running|_waiting|_bytes))(?:{[a-z]+})?`", TEXT))
    assert named == {*metrics.COUNTERS, *metrics.GAUGES, *metrics.CACHES}


def test_the_request_of_the_shell_works_as_printed() -> None:
    engine = FakeEngine(["A circle."])
    with serving(engine, model="demo", aliases=("pixtral-12b-2409",)) as running:
        command = fenced("sh").replace("http://127.0.0.1:8000", running.url)
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "A circle."
    assert engine.seen[0][0][0].images[0].size == (640, 480)


def test_the_program_works_as_printed() -> None:
    with serving(FakeEngine(["I am a fake."]), model="demo", aliases=("pixtral-12b-2409",)) as running:
        said: list[str] = []
        program = fenced("python").replace("http://127.0.0.1:8000", running.url)
        exec(program, {"print": lambda text, end: said.append(text)})
    assert "".join(said) == "I am a fake."
