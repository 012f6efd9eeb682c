"""Keys, hosts, origins, limits and the rules about pictures hold for the paths of every API."""

from base64 import b64encode
from typing import Any

import pytest

from pixtral_cli.server.http.access import AccessRules
from pixtral_cli.server.openai.requests import make_image_loader
from tests.fakes import FakeEngine
from tests.server.serving import data_url, png, serving

KEY = "the-key"
POSTS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/messages/count_tokens", "/api/chat",
         "/api/generate"]  # fmt: skip
PATHS = [*POSTS, "/v1/models", "/api/tags", "/api/ps", "/api/version"]


def asking(path: str, source: str) -> dict[str, Any]:
    """A request of the path's API about one picture, by URL or data URL."""
    data = source.partition(",")[2] if source.startswith("data:image") else source
    if path == "/v1/completions":
        return {"prompt": source}
    if path == "/api/generate":
        return {"model": "fake", "images": [data]}
    if path == "/api/chat":
        return {"model": "fake", "messages": [{"role": "user", "images": [data]}]}
    if path.startswith("/v1/messages"):
        content = [{"type": "image", "source": {"type": "url", "url": source}}]
        limit = {"max_tokens": 9} if path == "/v1/messages" else {}
        return {"model": "fake", "messages": [{"role": "user", "content": content}], **limit}
    if path == "/v1/responses":
        content = [{"type": "input_image", "image_url": source}]
        return {"input": [{"role": "user", "content": content}]}
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": source}]}]}


WITH_IMAGE_URLS = [path for path in POSTS if path.startswith("/v1/") and path != "/v1/completions"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
def test_a_key_is_required(path: str, headers: dict[str, str]) -> None:
    with serving(FakeEngine(["yes"]), rules=AccessRules(api_key=KEY)) as running, running.client as client:
        method = "POST" if path in POSTS else "GET"
        body = asking(path, data_url()) if path in POSTS else None
        for wrong in ({}, {"x-api-key": "no"}, {"Authorization": "Bearer no"}, {"x-api-key": ""}):
            assert client.request(method, path, json=body, headers=wrong).status_code == 401
        assert client.request(method, path, json=body, headers=headers).status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_other_hosts_and_origins_are_refused(path: str) -> None:
    with serving(FakeEngine([])) as running, running.client as client:
        method = "POST" if path in POSTS else "GET"
        assert client.request(method, path, headers={"Host": "evil.example"}).status_code == 403
        assert client.request(method, path, headers={"Origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("path", POSTS)
def test_a_body_over_the_limit_and_one_that_is_no_json_are_refused(path: str) -> None:
    with serving(FakeEngine([]), body_limit=2000) as running, running.client as client:
        assert client.post(path, json=asking(path, "data:," + "x" * 3000)).status_code == 413
        for body in (b"{", b"[]", b"null", b'"text"', b"\xff", b'{"a":' * 300, b'{"messages": NaN}'):
            response = client.post(path, content=body, headers={"Content-Type": "application/json"})
            assert response.status_code == 400
            assert response.json()["error"]


@pytest.mark.parametrize("path", WITH_IMAGE_URLS)
@pytest.mark.parametrize(
    "source", ["http://127.0.0.1:1/x.png", "http://[::1]/x.png", "http://169.254.169.254/", "file:///etc/passwd",
               "/etc/passwd", "ftp://example.com/x.png", b64encode(png(40, 40)).decode()],
)  # fmt: skip
def test_private_addresses_and_files_are_not_read(path: str, source: str) -> None:
    with serving(FakeEngine([]), load=make_image_loader(urls=True)) as running, running.client as client:
        response = client.post(path, json=asking(path, source))
    assert response.status_code == 400


@pytest.mark.parametrize("path", WITH_IMAGE_URLS)
def test_a_server_that_takes_no_urls_takes_none(path: str) -> None:
    with serving(FakeEngine(["yes"]), load=make_image_loader(urls=False)) as running, running.client as client:
        assert client.post(path, json=asking(path, "https://example.com/x.png")).status_code == 400
        assert client.post(path, json=asking(path, data_url())).status_code == 200


@pytest.mark.parametrize("path", POSTS)
def test_a_full_queue_says_when_to_come_again(path: str) -> None:
    with serving(FakeEngine([]), running=1, waiting=-1) as running, running.client as client:
        response = client.post(path, json=asking(path, data_url()))
    assert response.status_code in (503, 529)
    assert response.headers["Retry-After"]


def test_an_unknown_path_lists_every_api() -> None:
    with serving(FakeEngine([])) as running, running.client as client:
        message = client.get("/v1/nothing").json()["error"]["message"]
    assert all(path in message for path in PATHS)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize(
    "source", ["http://127.0.0.1:1/x.png", "http://[::1]/x.png", "file:///etc/passwd", "/etc/passwd"]
)
def test_ollamas_pictures_are_no_files_and_no_private_addresses(path: str, source: str) -> None:
    with serving(FakeEngine([]), load=make_image_loader(urls=True)) as running, running.client as client:
        response = client.post(path, json=asking(path, source))
    assert response.status_code == 400
