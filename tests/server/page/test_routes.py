"""The page's files and their headers: strict, offline, and nothing else of the package."""

import re
from collections.abc import Iterator

import httpx2
import pytest

from pixtral_cli.server.http.access import AccessRules
from pixtral_cli.server.page.routes import FOLDER
from tests.fakes import FakeEngine
from tests.server.serving import serving


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with serving(FakeEngine(), rules=AccessRules(api_key="k")) as running, running.client as client:
        yield client


def test_every_file_is_served_without_a_key_and_under_a_policy(client: httpx2.Client) -> None:
    files = [path for path in FOLDER.rglob("*") if path.suffix in (".html", ".js", ".mjs", ".css", ".svg")]
    assert len(files) >= 8
    for path in ("/", *(f"/page/{file.relative_to(FOLDER).as_posix()}" for file in files)):
        response = client.get(path)
        assert response.status_code == 200, path
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-eval" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "preview" in path or "unsafe-inline" not in policy
        assert "preview" not in path or "sandbox allow-scripts;" in policy


@pytest.mark.parametrize(
    "path", ["/page/", "/page/nothing.js", "/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/app.py", "/page//etc/passwd",
             "/page/vendor", "/page/vendor/../../app.py", "/page/vendor/README.md"]
)  # fmt: skip
def test_nothing_else_is_served(client: httpx2.Client, path: str) -> None:
    assert client.get(path).status_code in (401, 404)


def test_the_page_makes_no_other_request() -> None:
    for file in FOLDER.glob("*.*"):
        addresses = re.findall(r"https?://[\w.]+", file.read_text())
        assert set(addresses) <= {"http://www.w3.org"}, file
