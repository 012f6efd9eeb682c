"""The stated limits of a batch's rows are exact, and the same for OpenAI's rows and plain ones."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.api.messages import FieldError
from pixtral_cli.batch.csv_rows import CsvRows
from pixtral_cli.batch.input import FileLines, InputRow, StdinLines
from pixtral_cli.batch.report import failure_note
from pixtral_cli.batch.row_reader import RowReader, RowRequest, detect_format
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.errors import UsageError
from tests.batch.calling import request
from tests.server.serving import data_url


def asked(value: Any) -> RowRequest:
    _, make = RowReader(Sampling()).json_row(InputRow(1, json.dumps(value).encode(), ""))
    return make()


# The field, what is taken, what is not.
EXACT: dict[str, tuple[Any, Any]] = {
    "temperature": (10, 10.01),
    "temperature from": (0, -0.01),
    "top_p": (1, 1.01),
    "top_p from": (0, -0.01),
    "min_p": (1, 1.01),
    "top_k": (2**31, 2**31 + 1),
    "top_k from": (-1, -2),
    "repetition_penalty": (100, 100.1),
    "repetition_penalty from": (0.01, 0.009),
    "frequency_penalty": (2, 2.01),
    "frequency_penalty from": (-2, -2.01),
    "presence_penalty": (2, 2.01),
    "presence_penalty from": (-2, -2.01),
    "max_tokens": (10_000_000, 10_000_001),
    "max_tokens from": (1, 0),
    "max_completion_tokens": (10_000_000, 10_000_001),
    "max_completion_tokens from": (1, 0),
    "seed": (2**63 - 1, 2**63),
    "seed from": (-(2**63), -(2**63) - 1),
    "random_seed": (2**63 - 1, 2**63),
    "random_seed from": (-(2**63), -(2**63) - 1),
    "n": (32, 33),
    "n from": (1, 0),
    "stop": ("s" * 256, "s" * 257),
    "stop from": ("s", ""),
    "stop so many": (["s"] * 16, ["s"] * 17),
    "stop of a list": (["s" * 256], ["s" * 257]),
    "logit_bias": ({"5": 100}, {"5": 100.1}),
    "logit_bias from": ({"5": -100}, {"5": -100.1}),
    "logit_bias of a token": ({"9" * 9: 1}, {"9" * 10: 1}),
    "logit_bias so many": ({str(n): 1 for n in range(10_000)}, {str(n): 1 for n in range(10_001)}),
}


# The second names are OpenAI's and La Plateforme's; a plain row has the first ones alone.
PLAIN = [name for name in EXACT if not name.startswith(("max_completion_tokens", "random_seed"))]


@pytest.mark.parametrize(("name", "plain"), [*((name, False) for name in EXACT), *((name, True) for name in PLAIN)])
def test_at_a_limit_a_row_is_taken_and_beyond_it_refused(name: str, plain: bool) -> None:
    field = name.partition(" ")[0]
    for value, taken in zip(EXACT[name], (True, False), strict=True):
        row = {"prompt": "hi", field: value} if plain else request("a", **{field: value})
        if taken:
            assert asked(row)
        else:
            with pytest.raises(FieldError, match=rf"^{'' if plain else 'body.'}{field}"):
                asked(row)


@pytest.mark.parametrize(("count", "taken"), [(20, True), (21, False)])
def test_twenty_likely_tokens_are_told_and_no_more(count: int, taken: bool) -> None:
    row = {"prompt": "hi", "logprobs": True, "top_logprobs": count}
    if taken:
        assert asked(row).sampling.logprobs == 20
    else:
        with pytest.raises(FieldError, match="top_logprobs"):
            asked(row)
    with pytest.raises(FieldError, match="goes with logprobs"):
        asked(row | {"logprobs": False, "top_logprobs": 1})


@pytest.mark.parametrize("plain", [True, False])
def test_128_images_of_a_row_are_read_and_one_more_refused(plain: bool) -> None:
    def row(count: int) -> Any:
        if plain:
            return {"prompt": "hi", "images": [data_url()] * count}
        parts = [{"type": "image_url", "image_url": {"url": data_url()}}] * count
        return request("a") | {"body": {"messages": [{"role": "user", "content": parts}]}}

    assert sum(len(message.images) for message in asked(row(128)).messages) == 128
    with pytest.raises(FieldError, match="128"):
        asked(row(129))


def test_the_format_is_looked_for_in_a_thousand_rows_and_no_further(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    for before, shape in ((999, "openai"), (1_000, "plain")):
        file.write_text("[]\n" * before + json.dumps(request("a")) + "\n")
        assert detect_format(FileLines(file)) == shape


class Repeating(io.RawIOBase):
    """A line of so many bytes, which is never in memory whole unless its reader keeps it."""

    def __init__(self, size: int) -> None:
        self._left = size + 1

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._left)
        buffer[:count] = b"x" * count
        self._left -= count
        if count and not self._left:
            buffer[count - 1 : count] = b"\n"
        return count


@pytest.mark.parametrize(("size", "read"), [(63_999_999, True), (64_000_000, True), (64_000_001, False)])
def test_a_line_of_64_mb_is_read_and_a_longer_one_is_a_row_without_its_data(size: int, read: bool) -> None:
    (row,) = StdinLines(io.BufferedReader(Repeating(size))).rows()
    assert (row.data is not None and len(row.data) == size) is read


def test_a_cell_of_ten_million_characters_is_read_and_a_longer_one_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("prompt\n" + "x" * 10_000_000 + "\n")
    assert len(list(CsvRows(file).rows())) == 1
    file.write_text("prompt\n" + "x" * 10_000_001 + "\n")
    with pytest.raises(UsageError, match="is not CSV in UTF-8: field larger"):
        list(CsvRows(file).rows())


def test_five_failures_are_told_and_then_that_there_are_more() -> None:
    notes = [failure_note(f"Row {row}", "no picture", row) for row in range(1, 9)]
    assert notes[:5] == [f"Row {row} failed: no picture" for row in range(1, 6)]
    assert notes[5:] == ["More rows fail", "", ""]


def test_a_line_that_is_too_long_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(FieldError, match="longer than 64 MB"):
        RowReader(Sampling()).json_row(InputRow(1, None, ""))


def test_a_table_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"rows.csv cannot be read: No such file") as refused:
        list(CsvRows(tmp_path / "rows.csv").rows())
    assert refused.value.hint == "Check the name"
