"""Data: parquet and JSONL of a folder, images in every form, data sets of a hub."""

import base64
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from pixtral_cli.errors import ImageError, UsageError
from pixtral_cli.evals import datasets
from pixtral_cli.evals.task import HubSource
from tests.evals.sets import picture, png

SOURCE = HubSource("org/set", "data/test-*.parquet")


def jsonl(folder: Path, *values: dict[str, Any]) -> datasets.Dataset:
    (folder / "rows.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    return datasets.open_local(folder)


def parquet(file: Path, values: list[dict[str, Any]], **options: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(values), file, **options)


def test_rows_count_through_all_files_and_only_the_chosen_ones_come(tmp_path: Path) -> None:
    for part in range(3):
        values = [{"n": 10 * part + i, "image": picture()} for i in range(10)]
        parquet(tmp_path / "data" / f"test-{part}.parquet", values, row_group_size=3)
    parquet(tmp_path / "data" / "train-0.parquet", [{"n": -1}])
    data = datasets.open_local(tmp_path, SOURCE)
    assert len(data) == 30
    assert [(row.index, row.values["n"]) for row in data.rows({0, 2, 3, 9, 10, 28})] == [
        (i, i) for i in (0, 2, 3, 9, 10, 28)
    ]
    assert next(data.rows({17})).image("image").size == (32, 32)


@pytest.mark.parametrize(
    "value",
    [
        "a.png", "sub/b.png", {"path": "a.png"}, {"bytes": None, "path": "a.png"},
        "data:image/png;base64," + base64.b64encode(png()).decode(), base64.b64encode(png()).decode(),
    ],
)  # fmt: skip
def test_an_image_may_be_a_path_a_data_url_or_bytes(tmp_path: Path, value: Any) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/b.png"):
        (tmp_path / name).write_bytes(png())
    row = next(jsonl(tmp_path, {"image": value}).rows({0}))
    assert row.image("image").size == (32, 32)


@pytest.mark.parametrize(
    "value", ["../secret.png", "/etc/passwd", "missing.png", "link.png", {"bytes": None, "path": None}, 7]
)
def test_an_image_that_is_not_in_the_folder_is_refused(tmp_path: Path, value: Any) -> None:
    (tmp_path / "secret.png").write_bytes(png())
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    row = next(jsonl(folder, {"image": value}).rows({0}))
    with pytest.raises(ImageError, match="row 0, image"):
        row.image("image")


def test_the_revision_changes_with_any_byte(tmp_path: Path) -> None:
    before = jsonl(tmp_path, {"n": 1}).revision
    assert jsonl(tmp_path, {"n": 1}).revision == before
    assert jsonl(tmp_path, {"n": 2}).revision != before


@pytest.mark.parametrize("line", ["{", "[1]", "[" * 100_000, '"text"'])
def test_a_line_that_is_no_object_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "rows.jsonl").write_text('{"n": 1}\n' + line + "\n")
    with pytest.raises(UsageError, match=r"rows\.jsonl, row 1"):
        list(datasets.open_local(tmp_path).rows({0, 1}))


def test_damaged_parquet_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no parquet and no JSONL"):
        datasets.open_local(tmp_path)
    with pytest.raises(UsageError, match="not a folder"):
        datasets.open_local(tmp_path / "nowhere")
    parquet(tmp_path / "rows.parquet", [{"n": 1}])
    (tmp_path / "rows.parquet").write_bytes((tmp_path / "rows.parquet").read_bytes()[:-9])
    with pytest.raises(UsageError, match="not a valid parquet"):
        len(datasets.open_local(tmp_path))


@pytest.fixture
def hub(httpserver: HTTPServer, tmp_path: Path) -> HTTPServer:
    """A hub with one data set of two files, of which one is wanted."""
    parquet(tmp_path / "wanted", [{"n": 1}, {"n": 2}])
    files = {"data/test-0.parquet": (tmp_path / "wanted").read_bytes(), "data/train-0.parquet": b"never asked for"}
    commit = "c" * 40

    def file(request: Request) -> Response:
        data = files[request.path.removeprefix(f"/datasets/org/set/resolve/{commit}/")]
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": commit,
            "Content-Length": str(len(data)),
        }
        return Response(data, headers=headers)

    siblings = [{"rfilename": name} for name in files]
    tree = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in files.items()]
    api = "/api/datasets/org/set"
    info = {
        "id": "org/set",
        "sha": commit,
        "siblings": siblings,
        "private": False,
        "tags": [],
        "downloads": 0,
        "likes": 0,
    }
    httpserver.expect_request(f"{api}/revision/main").respond_with_json(info)
    httpserver.expect_request(f"{api}/tree/{commit}").respond_with_json(tree)
    httpserver.expect_request("/datasets/org/set/resolve/" + commit + "/data/test-0.parquet").respond_with_handler(file)
    return httpserver


FETCH = """
import sys
from pixtral_cli.errors import PixtralError
from pixtral_cli.evals import datasets
from pixtral_cli.evals.task import HubSource
try:
    data = datasets.open_hub(HubSource(sys.argv[1], "data/test-*.parquet"), offline=len(sys.argv) > 2)
    print(data.name, data.revision, [row.values["n"] for row in data.rows({0, 1})])
except PixtralError as error:
    print(error.status, error.message, error.hint)
"""


def fetched(hub: HTTPServer, tmp_path: Path, *words: str) -> str:
    """What becomes of asking for a data set, in a process that knows this hub alone."""
    named = {"HF_ENDPOINT": hub.url_for("").rstrip("/"), "HF_HUB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, *words], env={**os.environ, **named}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_data_set_of_the_hub_is_fetched_once_and_then_there_without_it(hub: HTTPServer, tmp_path: Path) -> None:
    assert "not on this machine" in fetched(hub, tmp_path, "org/set", "offline")
    assert fetched(hub, tmp_path, "org/set") == f"org/set {'c' * 40} [1, 2]"
    assert fetched(hub, tmp_path, "org/set", "offline") == f"org/set {'c' * 40} [1, 2]"


def test_a_data_set_that_the_hub_refuses_is_an_error_with_a_way_out(hub: HTTPServer, tmp_path: Path) -> None:
    said = fetched(hub, tmp_path, "org/other")
    assert said.startswith("5 ")
    assert "org/other" in said
    assert said.endswith("--data DIR")
