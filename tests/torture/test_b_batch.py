"""TORTURE 22, the half of batches: URLs in a batch file lead nowhere inside, in whichever shape they stand; nor do its requests name files."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.batch.calling import batch, read, request, write
from tests.server.serving import picture
from tests.torture import pictures
from tests.torture.servers import redirect, remembering, reply, serve
from tests.torture.test_b_urls import SPELLINGS

PICTURE = pictures.encoded(pictures.corners(), "PNG")


def shapes(url: str) -> list[Any]:
    """A row for each place where a URL may stand."""
    plain_string = [{"type": "image_url", "image_url": url}]
    return [request("object", [picture(url)]), request("string", plain_string), {"prompt": "?", "images": [url]}]


def test_22_private_addresses_in_a_batch_file_are_refused_in_any_spelling_and_shape(tmp_path: Path) -> None:
    heads: list[str] = []
    with serve(remembering(heads, reply(PICTURE))) as port:
        rows = [row for host in SPELLINGS for row in shapes(f"http://{host}:{port}/cat.png?token=secret")]
        result = batch(write(tmp_path / "in.jsonl", rows))
    lines = read(result.stdout)
    assert (result.status, len(lines), heads) == (8, 3 * len(SPELLINGS), [])
    assert {line["error"]["code"] for line in lines} == {"image_unreachable"}
    assert all("a private address" in line["error"]["message"] for line in lines)
    assert "secret" not in result.stdout + result.stderr


def test_22_allow_private_opts_in(tmp_path: Path) -> None:
    with serve(reply(PICTURE)) as port:
        rows = write(tmp_path / "in.jsonl", shapes(f"http://127.0.0.1:{port}/cat.png"))
        assert batch(rows, "--dry-run").status == 8
        result = batch(rows, "--allow-private")
    assert result.status == 0
    assert [line["error"] for line in read(result.stdout)] == [None] * 3


def test_22_one_drip_and_one_bomb_fail_their_rows_alone(tmp_path: Path) -> None:
    def endless(connection: socket.socket, request: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n\r\n")
        while True:
            connection.sendall(bytes(65536))

    with serve(endless) as bomb, serve(redirect("/again")) as circle:
        urls = [
            f"http://127.0.0.1:{bomb}/",
            f"http://127.0.0.1:{circle}/",
            "http://ok\\@evil/",
            "data:image/png;base64",
        ]
        rows = [{"prompt": "?", "images": [url]} for url in urls]
        result = batch(write(tmp_path / "in.jsonl", [*rows, {"prompt": "fine"}]), "--allow-private")
    *failed, fine = read(result.stdout)
    assert [line["error"]["message"].partition(": ")[2][:20] for line in failed] == [
        "larger than 20 MB. S", "more than 3 redirect", "a backslash, space o", "malformed, the comma",
    ]  # fmt: skip
    assert (result.status, fine["error"]) == (8, None)


@pytest.mark.parametrize("source", ["/dev/zero", "/etc/passwd", ".", "pipe", "\x1b]52;c;x\x07.png"])
def test_a_file_that_is_no_picture_fails_its_row_alone_and_shows_nothing_of_itself(tmp_path: Path, source: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    rows = [{"prompt": "?", "images": [source]}, {"prompt": "fine"}]
    result = batch(write(tmp_path / "in.jsonl", rows))
    refused, fine = read(result.stdout)
    assert (result.status, fine["error"], refused["error"]["code"]) == (8, None, "invalid_image")
    assert "root:" not in result.stdout
    assert "\x1b" not in result.stdout + result.stderr


@pytest.mark.parametrize("url", ["/etc/hostname", "file:///etc/hostname", "a.png"])
def test_a_request_in_a_batch_names_no_file_of_this_machine(tmp_path: Path, url: str) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    result = batch(write(tmp_path / "in.jsonl", [request("a", [picture(url)])]))
    [line] = read(result.stdout)
    assert (result.status, line["response"]["status_code"]) == (8, 400)
    assert line["error"]["message"].endswith("must be a data:, http: or https: URL")
