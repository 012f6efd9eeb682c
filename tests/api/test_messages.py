"""Messages as JSON: OpenAI's shape and Mistral's come in, both as ours go out, and every error names its field."""

import base64
import json
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.api import messages
from pixtral_cli.chat.message import Message, assistant, system, user
from pixtral_cli.errors import ImageError, NetworkError, UsageError
from pixtral_cli.images.transform import Box
from tests.images.colours import GREEN, RED, picture

URL = messages.data_url(RED)


def one(content: Any, role: str = "user") -> Message:
    (message,) = messages.messages([{"role": role, "content": content}])
    return message


def test_the_vendors_example_is_understood() -> None:
    body = {
        "messages": [
            {"role": "system", "content": "You are brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What’s in this image?"},
                    {"type": "image_url", "image_url": URL},
                    {"type": "image_url", "image_url": {"url": URL, "detail": "high"}},
                ],
            },
            {"role": "assistant", "content": "A red square.", "prefix": False, "tool_calls": None},
            {"role": "user", "content": "Sure?", "name": "ann"},
        ]
    }
    first, question, answer, last = messages.messages(messages.parse(json.dumps(body))["messages"])
    assert (first, answer, last) == (system("You are brief."), assistant("A red square."), user("Sure?"))
    assert question.parts[0] == "What’s in this image?"
    assert [image.sha256 for image in question.images] == [RED.sha256] * 2


def test_what_goes_out_comes_back() -> None:
    said = [system("be brief"), Message("user", ("is ", RED, " left of ", GREEN)), assistant("yes"), user("", [GREEN])]
    again = messages.messages(json.loads(json.dumps(messages.to_wire(said))))
    assert [[getattr(part, "key", part) for part in message.parts] for message in again] == [
        ["be brief"],
        ["is ", RED.key, " left of ", GREEN.key],
        ["yes"],
        [GREEN.key],
    ]


def test_text_alone_goes_out_as_a_string() -> None:
    assert messages.to_wire([user("hello"), assistant("hi")]) == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
    ]


def test_a_crop_goes_out_as_its_pixels_and_a_picture_as_its_own_bytes() -> None:
    jpeg = picture("red", kind="JPEG")
    assert messages.data_url(jpeg) == "data:image/jpeg;base64," + base64.b64encode(jpeg.data).decode()
    media, data = messages.encode_image(RED.cropped(Box(1, 2, 3, 4)))
    assert media == "image/png"
    with PIL.Image.open(__import__("io").BytesIO(data)) as shown:
        assert (shown.size, shown.convert("RGB").getpixel((0, 0))) == ((3, 4), (255, 0, 0))


def test_an_encoder_of_ones_own_makes_the_image_objects() -> None:
    (message,) = messages.to_wire([user("?", [RED])], lambda image: {"url": f"https://cdn/{image.name}"})
    assert message["content"][0] == {"type": "image_url", "image_url": {"url": "https://cdn/red.png"}}


def test_developer_is_system_and_an_empty_answer_is_an_answer() -> None:
    assert one("be brief", "developer") == system("be brief")
    assert one(None, "assistant") == assistant("")
    assert one([]) == user("")


WRONG: list[tuple[Any, str, str]] = [
    ("hello", "messages", "must be an array, not a text"),
    (None, "messages", "is missing"),
    ([], "messages", "is empty"),
    ([7], "messages[0]", "must be an object, not a number"),
    ([{"content": "x"}], "messages[0].role", "is missing"),
    ([{"role": ["user"], "content": "x"}], "messages[0].role", "must be a text, not an array"),
    ([{"role": "robot", "content": "x"}], "messages[0].role", "is 'robot', not one of"),
    ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id", "is missing"),
    ([{"role": "user"}], "messages[0].content", "must be a text or an array of parts, not null"),
    ([{"role": "user", "content": True}], "messages[0].content", "not true or false"),
    ([{"role": "user", "content": ["x"]}], "messages[0].content[0]", "must be an object, not a text"),
    ([{"role": "user", "content": [{"text": "x"}]}], "messages[0].content[0].type", "is missing"),
    ([{"role": "user", "content": [{"type": "video"}]}], "messages[0].content[0].type", "is 'video'"),
    ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "messages[0].content[0].text", "not a number"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content[0].image_url", "is missing"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": 3}}]}], "messages[0].content[0].image_url.url", "must be a text"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc/passwd"}]}], "messages[0].content[0].image_url", "must be a data:"),
    ([{"role": "user", "content": [{"type": "image_url", "image_url": "/etc/passwd"}]}], "messages[0].content[0].image_url", "must be a data:"),
    ([{"role": "assistant", "content": [{"type": "image_url", "image_url": URL}]}], "messages[0].content[0].type", "only a user shows images"),
    ([{"role": "assistant", "content": "x", "tool_calls": [{}]}], "messages[0].tool_calls[0].function", "is missing"),
    ([{"role": "user", "content": "x", "interrupted": "yes"}], "messages[0].interrupted", "must be true or false"),
    ([{"role": "user", "content": "half \ud83d"}], "messages[0].content", "surrogate"),
    ([{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "text", "text": "\udc00"}]}], "messages[1].content[0].text", "surrogate"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "field", "why"), WRONG, ids=[f"{field} {why}" for _, field, why in WRONG])
def test_an_error_names_its_field(value: Any, field: str, why: str) -> None:
    with pytest.raises(messages.FieldError) as error:
        messages.messages(value)
    assert error.value.field == field
    assert error.value.message.startswith(f"{field}: ")
    assert why in error.value.message
    assert len(error.value.message) <= 120
    assert isinstance(error.value, UsageError)


@pytest.mark.parametrize("url", ["data:image/png;base64,!!!!", "data:image/png", "data:text/plain;base64,aGk="])
def test_a_data_url_that_is_no_image_is_an_image_error(url: str) -> None:
    with pytest.raises(ImageError):
        one([{"type": "image_url", "image_url": url}])


def test_a_private_address_is_refused_and_so_is_any_where_none_is_allowed() -> None:
    part = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/x.png"}}]
    with pytest.raises(NetworkError):
        one(part)
    with pytest.raises(messages.FieldError, match=r"image_url\.url: must be a data: URL"):
        messages.messages([{"role": "user", "content": part}], load=messages.loader(allow_urls=False))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "not valid JSON: Expecting property name"),
        (b"", "not valid JSON: Expecting value at character 0"),
        (b'{"a": NaN}', "NaN is no number there"),
        (b'{"a": -Infinity}', "-Infinity is no number"),
        (b'"\xff"', "not valid UTF-8 at byte 1"),
        (b"[" * 10_000, "nested deeper than 64"),
        (b"[" * 10_000 + b"]" * 10_000, "nested deeper than 64"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "nested deeper than 64"),
        (b"9" * 5000, "a huge number"),
        (b'{"a": ["\\ud800"]}', "a[0]: holds a lone surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_is_strict(body: bytes, why: str) -> None:
    with pytest.raises(messages.FieldError) as error:
        messages.parse(body)
    assert why in error.value.message
    assert len(error.value.message) <= 120


def test_a_surrogate_pair_is_a_character() -> None:
    assert messages.parse(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_a_field_with_an_endless_name_is_cut() -> None:
    for body in ({"x" * 5000: "\ud800"}, [{"role": "user", "content": "x", "y" * 5000: 1}]):
        with pytest.raises(messages.FieldError) as error:
            messages.messages(messages.parse(json.dumps(body)) if isinstance(body, dict) else body)
        assert len(error.value.message) <= 120


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "text", "image_url", "url", "user", "name"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(JSON)
def test_no_json_at_all_is_more_than_a_field_error(value: Any) -> None:
    try:
        said = messages.messages(value)
    except UsageError as error:
        assert len(error.message) <= 120
    else:
        assert all(isinstance(message, Message) for message in said)


def test_a_question_neither_thinks_nor_calls_and_calls_have_ids_of_their_own() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"role": "user", "content": "q", "reasoning_content": "t"}, "only an assistant thinks"),
        ({"role": "user", "content": "q", "tool_calls": [call]}, "only an assistant calls tools"),
        ({"role": "assistant", "content": "", "tool_calls": [call, call]}, "two calls of one id"),
    ]
    for item, says in wrong:
        with pytest.raises(UsageError, match=says) as refused:
            messages.messages([item])
        assert refused.value.field.startswith("messages[0]." + ("reasoning" if "thinks" in says else "tool_calls"))


@pytest.mark.parametrize(("depth", "taken"), [(65, True), (66, False)])
def test_json_holds_64_levels_below_its_value_and_no_more(depth: int, taken: bool) -> None:
    text = "[" * depth + "]" * depth
    if taken:
        assert messages.parse(text) is not None
    else:
        with pytest.raises(UsageError, match="nested deeper than 64 levels"):
            messages.parse(text)
    with pytest.raises(UsageError, match="nested deeper than 64 levels"):
        messages.parse("[" * 100_000)
