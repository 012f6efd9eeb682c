"""Rows become requests: fields have their effect or are refused by name, images come only from allowed sources."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pixtral_cli import images
from pixtral_cli.api.messages import FieldError
from pixtral_cli.batch.input import InputRow
from pixtral_cli.batch.row_reader import RowReader, RowRequest
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import ImageError, NetworkError, PixtralError, UsageError
from tests.batch.calling import request
from tests.server.serving import data_url, picture, png

FLAGS = Sampling(0.5, 0.9, 3, ("END",), 100, {"type": "object"})


def asked(value: Any, **reader: Any) -> RowRequest:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    _, make = RowReader(FLAGS, **reader).json_row(InputRow(1, data, ""))
    return make()


def test_a_line_of_openais_wins_over_the_flags() -> None:
    schema = {"type": "array", "items": {"type": "string"}}
    body = {
        "temperature": 0, "top_p": 1, "seed": 7, "max_tokens": 5, "stop": ["a", "b"], "n": 1, "stream": False, "tools": [],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    }  # fmt: skip
    found = asked(request("a", "hi", **body))
    assert found.sampling == Sampling(0.0, 1.0, 7, ("a", "b"), 5, schema)
    assert found.model == "pixtral-12b-2409"
    assert asked(request("a")).sampling == FLAGS
    assert asked(request("a", max_completion_tokens=6, random_seed=8)).sampling.max_tokens == 6
    assert asked(request("a", response_format={"type": "text"})).sampling.schema is None


def test_penalties_filters_and_biases_of_a_row_are_those_of_its_answer() -> None:
    fields = {"top_k": -1, "min_p": 0.1, "repetition_penalty": 1.2, "frequency_penalty": -1, "presence_penalty": 2,
              "logit_bias": {"7": -100}}  # fmt: skip
    expected = (0, 0.1, 1.2, -1.0, 2.0, {7: -100.0})
    for row in (request("a", **fields), {"prompt": "hi", **fields}):
        found = asked(row).sampling
        assert (
            found.top_k, found.min_p, found.repetition_penalty, found.frequency_penalty, found.presence_penalty,
            found.logit_bias,
        ) == expected  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("top_k", -2), ("top_k", 1.5), ("min_p", 2), ("repetition_penalty", 0), ("frequency_penalty", "much"),
        ("presence_penalty", 2.1), ("logit_bias", {"a": 1}), ("logit_bias", {"5": 101}), ("logit_bias", [1]),
    ],
)  # fmt: skip
def test_a_senseless_parameter_of_a_row_is_named(field: str, value: Any) -> None:
    with pytest.raises(FieldError, match=rf"body\.{field}"):
        asked(request("a", **{field: value}))


def test_a_plain_row_wins_over_the_flags() -> None:
    found = asked({"prompt": "hi", "system": "own", "temperature": 1, "stop": "x", "schema": "name"}, system="flag")
    assert [(one.role, one.text) for one in found.messages] == [("system", "own"), ("user", "hi")]
    assert (found.sampling.temperature, found.sampling.stop) == (1.0, ("x",))
    assert found.sampling.schema
    assert found.sampling.schema["required"] == ["name"]


@pytest.mark.parametrize(
    "names", [("prompt", "images"), ("question", "image"), ("question", "file"), ("prompt", "path")]
)
def test_a_plain_row_takes_the_names_that_a_table_s_columns_have(tmp_path: Path, names: tuple[str, str]) -> None:
    Image.new("RGB", (20, 10), "white").save(tmp_path / "a.png")
    found = asked({names[0]: "what?", names[1]: "a.png"}, folder=tmp_path)
    assert (found.messages[-1].text, len(found.messages[-1].images)) == ("what?", 1)


def test_a_second_name_for_a_field_that_is_there_is_refused_and_a_mistyped_one_guessed() -> None:
    for row, field in (
        ({"prompt": "a", "question": "b"}, "question"),
        ({"prompt": "a", "file": "x", "path": "y"}, "path"),
    ):
        with pytest.raises(FieldError, match=f"{field}: is not known"):
            asked(row)
    with pytest.raises(FieldError) as caught:
        asked({"prompt": "a", "temprature": 1})
    assert caught.value.hint == "Did you mean temperature?"


def test_the_system_prompt_of_the_flags_is_used_where_a_row_has_none() -> None:
    own = {
        "custom_id": "a",
        "body": {"messages": [{"role": "developer", "content": "own"}, {"role": "user", "content": "?"}]},
    }
    assert [one.text for one in asked(own, system="flag").messages] == ["own", "?"]
    assert [one.text for one in asked(request("a"), system="flag").messages] == ["flag", "hello"]
    assert [one.role for one in asked({"prompt": "?"}, system="flag").messages] == ["system", "user"]


def test_an_empty_system_prompt_reaches_the_model_as_one() -> None:
    for row in ({"prompt": "?"}, request("a")):
        assert [(one.role, one.text) for one in asked(row, system="").messages][:1] == [("system", "")]
    assert asked({"prompt": "?", "system": ""}, system="flag").messages[0].text == ""


def test_files_of_rarer_formats_are_read_and_every_page_of_them_that_is_named(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (20 + n, 10), "white") for n in range(3)]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    found = asked({"prompt": "?", "images": ["scan.tif#2-3"]}, folder=tmp_path)
    assert [image.name for image in found.messages[-1].images] == ["scan.tif#2", "scan.tif#3"]
    _, make = RowReader(FLAGS, question="?").image_row(InputRow(1, os.fsencode(tmp_path / "scan.tif"), ""))
    assert [image.width for image in make().messages[-1].images] == [20, 21, 22]


@pytest.mark.parametrize(
    ("folder", "image", "where"),
    [
        ("rows", "no.png", "in rows, as the file is"),
        (".", "no.png", "in the current directory"),
        ("rows", "/no/no.png", ""),
    ],
)
def test_the_hint_about_a_missing_picture_says_where_paths_begin(folder: str, image: str, where: str) -> None:
    with pytest.raises(ImageError, match="no such file") as error:
        asked({"prompt": "?", "images": [image]}, folder=Path(folder))
    assert error.value.hint == (f"Check the name; paths in rows begin {where}" if where else "Check the name")


def test_what_comes_by_url_is_of_a_common_format_unless_all_are_allowed() -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "BMP")
    url = "data:image/bmp;base64," + base64.b64encode(out.getvalue()).decode()
    with pytest.raises(ImageError, match="a BMP file; PNG, JPEG, WebP and GIF are read"):
        asked({"prompt": "?", "images": [url]})
    assert asked({"prompt": "?", "images": [url]}, all_formats=True).messages[-1].images[0].size == (8, 8)


def test_plain_images_are_relative_to_the_batch_and_stand_where_the_prompt_says(tmp_path: Path) -> None:
    for name, width in (("a.png", 1), ("b.png", 2), ("c.png", 3)):
        (tmp_path / name).write_bytes(png(width))
    images = ["a.png", str(tmp_path / "b.png"), (tmp_path / "c.png").as_uri(), data_url()]
    parts = asked({"prompt": "Is {2} like {3}?", "images": images}, folder=tmp_path).messages[0].parts
    assert [part if isinstance(part, str) else part.name for part in parts] == [
        "a.png", "data URL", "Is ", "b.png", " like ", "c.png", "?",
    ]  # fmt: skip
    assert asked({"prompt": "?", "images": "a.png"}, folder=tmp_path).messages[0].images[0].width == 1


@pytest.mark.parametrize(
    "url", ["a.png", "/etc/hostname", "file:///etc/hostname", "~/a.png", "ftp://x/a.png", "FILE:a"]
)
def test_a_request_of_openais_shape_names_no_file(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(png())
    with pytest.raises(FieldError, match="must be a data:, http: or https: URL"):
        asked(request("a", [picture(url)]), folder=tmp_path)


def test_a_templates_code_block_is_of_plain_answers_without_a_schema() -> None:
    free = Sampling()
    for value, extract in (
        ({"prompt": "?"}, "html"),
        ({"prompt": "?", "schema": "name"}, ""),
        (request("a"), ""),
    ):
        _, make = RowReader(free, extract="html").json_row(InputRow(1, json.dumps(value).encode(), ""))
        assert make().extract == extract


def test_offline_fetches_nothing(tmp_path: Path) -> None:
    for row in (
        request("a", [picture("http://example.org/x.png")]),
        {"prompt": "?", "images": ["https://example.org/x"]},
    ):
        with pytest.raises(NetworkError, match="the network is off"):
            asked(row, offline=True)


def test_too_many_images_are_refused_unread() -> None:
    with pytest.raises(FieldError, match="at most 128 images"):
        asked(request("a", [picture()] * 129))
    with pytest.raises(FieldError, match="images: holds more than 128"):
        asked({"prompt": "?", "images": ["missing.png"] * 129})


def test_no_more_than_sixteen_images_of_a_row_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def load(url: str, field: str, beside: Any) -> images.Image:
        fetched.append(url)
        return images.from_bytes(png(), "x.png")

    monkeypatch.setattr("pixtral_cli.batch.row_reader.wire.loader", lambda **_: load)
    urls = [f"https://example.org/{number}.png" for number in range(17)]
    for row in (request("a", [*map(picture, urls), picture()]), {"prompt": "?", "images": urls}):
        fetched.clear()
        with pytest.raises(FieldError, match="16 of them by URL"):
            asked(row)
        assert fetched == urls[:16]
    assert len(asked(request("a", [*map(picture, urls[:16]), *[picture()] * 20])).messages[0].images) == 36


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"nonsense", "not valid JSON"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"prompt": NaN}', "NaN"),
        (b"\xff", "UTF-8"),
        ([], "the line: must be an object, not an array"),
        ({}, "neither a prompt nor a custom_id"),
        ({"custom_id": 5, "body": {}}, "custom_id: must be a text, not a number"),
        ({"body": {"messages": []}}, "custom_id: is missing"),
        ({"custom_id": "a"}, "body: is missing"),
        ({**request("a"), "method": "GET"}, "method: must be POST"),
        ({**request("a"), "url": "/v1/embeddings"}, "url: must be /v1/chat/completions"),
        (request("a", messages="hi"), "body.messages: must be an array"),
        (request("a", messages=[{"role": "assistant", "content": "x"}]), "the last message"),
        (request("a", temperature="hot"), "body.temperature: must be a number"),
        (request("a", temperature=11), "body.temperature: must lie between 0 and 10"),
        (request("a", temperature=10**400), "body.temperature: must lie between 0 and 10"),
        ({"prompt": "?", "top_p": -(10**400)}, "top_p: must lie between 0 and 1"),
        (request("a", max_tokens=-1), "body.max_tokens: must lie between"),
        (request("a", max_tokens=1.5), "body.max_tokens: must be a whole number"),
        (request("a", max_completion_tokens=True), "body.max_completion_tokens: must be a whole number"),
        (request("a", seed=2**70), "body.seed: must lie between"),
        (request("a", stop=[""]), "body.stop: must be a text of 1 to 256"),
        (request("a", tools=[{"type": "function"}]), "body.tools: is not supported"),
        (request("a", n=33), "body.n: must lie between 1 and 32"),
        (request("a", logprobs=3), "body.logprobs: must be true or false"),
        (request("a", top_logprobs=3), "body.top_logprobs: goes with logprobs: true"),
        (request("a", logprobs=True, top_logprobs=21), "body.top_logprobs: must lie between 0 and 20"),
        ({"prompt": "x", "n": 2, "schema": "name"}, "n: makes several answers, and a schema takes one"),
        (request("a", tool_choice="required"), "body.tool_choice: is not supported"),
        (request("a", response_format={"type": "xml"}), "body.response_format.type: must be"),
        (request("a", response_format={"type": "json_schema"}), "body.response_format.json_schema: is missing"),
        ({"prompt": ""}, "prompt: is empty"),
        ({"images": ["a.png"]}, "prompt: is empty"),
        ({"prompt": "?", "label": 5}, "label: is not known"),
        ({"prompt": "?", "images": [5]}, "images[0]: must be a text"),
        ({"prompt": "?", "top_p": 2}, "top_p: must lie between 0 and 1"),
        ({"prompt": "?", "schema": "a,,"}, "schema: "),
        ({"prompt": "?", "schema": 5}, "schema: "),
    ],
)
def test_what_a_row_gets_wrong_is_reported_by_its_field(value: Any, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(value)
    assert said in caught.value.message


@pytest.mark.parametrize("source", ["missing.png", "", "ftp://x/a.png", "data:image/png;base64,AAAA"])
def test_a_plain_image_that_cannot_be_had_is_an_image_error(tmp_path: Path, source: str) -> None:
    with pytest.raises(ImageError):
        asked({"prompt": "?", "images": [source]}, folder=tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["prompt", "images", "system", "schema", "stop", "seed", "temperature", "custom_id", "method", "url", "id"]
BODY = [
    "messages",
    "temperature",
    "max_tokens",
    "n",
    "stop",
    "response_format",
    "tools",
    "model",
    "top_p",
    "logit_bias",
]


@given(
    st.dictionaries(st.sampled_from(FIELDS), JSON)
    | st.dictionaries(st.sampled_from(BODY), JSON).map(lambda body: {"custom_id": "a", "body": body})
    | JSON
)
def test_whatever_a_row_holds_it_is_a_request_or_a_pixtral_error(value: Any) -> None:
    data = json.dumps(value).encode()
    try:
        found = asked(data)
    except PixtralError as error:
        assert 0 < len(error.message) <= 400
    else:
        assert found.messages[-1].role == "user"
