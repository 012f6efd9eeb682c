"""CSV in and CSV out: columns are questions and pictures, answers stand beside what the rows held, a stop loses nothing."""

import csv
import io
from pathlib import Path

import pytest

from pixtral_cli.batch.csv_rows import CsvRows, answers_as_csv
from pixtral_cli.errors import UsageError
from tests.batch.calling import batch, read, request, write
from tests.server.serving import png


def table(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(file.read_text())))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b c.png"):
        (tmp_path / name).write_bytes(png())
    return tmp_path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_answers_stand_beside_the_columns_of_their_rows(folder: Path, delimiter: str) -> None:
    rows = [
        ["Nr", "Prompt", "Images", "note"],
        ["1", "what, is; this?", "a.png; b c.png", "x\ny"],
        ["2", "and?", "gone.png", ""],
    ]
    with (folder / "rows.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    result = batch(folder / "rows.csv", "-o", folder / "out.csv")
    assert result.status == 8, result.stderr
    one, two = table(folder / "out.csv")
    assert list(one) == ["Nr", "Prompt", "Images", "note", "answer", "error"]
    assert (one["Prompt"], one["note"], one["error"]) == ("what, is; this?", "x\ny", "")
    assert one["answer"]
    assert (two["Nr"], two["answer"]) == ("2", "")
    assert "gone.png" in two["error"]
    (folder / "gone.png").write_bytes(png())
    mended = batch(folder / "rows.csv", "-o", folder / "out.csv", "--retry-failed")
    assert mended.status == 0, mended.stderr
    assert [row["error"] for row in table(folder / "out.csv")] == ["", ""]
    assert not (folder / "out.csv.jsonl").exists()  # nothing is left to ask


def test_lines_of_json_carry_the_columns_along(folder: Path) -> None:
    (folder / "rows.tsv").write_text("id\tquestion\tyear\n7\thow?\t1999\n\t\t\n8\twhy?\t\n")
    result = batch(folder / "rows.tsv", "-o", folder / "out.jsonl")
    assert result.status == 0, result.stderr
    one, two = read(folder / "out.jsonl")
    assert (one["id"], one["metadata"]) == ("7", {"id": "7", "question": "how?", "year": "1999"})
    assert two["row"] == 2


def test_any_rows_can_be_answered_into_a_table(folder: Path) -> None:
    rows = [{"prompt": "one", "id": 5}, request("five", "what?")]
    assert batch(write(folder / "in.jsonl", rows), "-o", folder / "out.csv").status == 0
    one, five = table(folder / "out.csv")
    assert one["id"] == "5"
    assert five["custom_id"] == "five"
    assert one["answer"]
    assert five["answer"]


def test_a_table_that_is_there_is_no_output_and_no_input_is_written_over(folder: Path) -> None:
    (folder / "rows.csv").write_text("prompt\nhello\n")
    (folder / "kept.csv").write_text("a,b\n")
    for target in ("kept.csv", "rows.csv"):
        before = (folder / target).read_text()
        assert batch(folder / "rows.csv", "-o", folder / target).status == 2
        assert (folder / target).read_text() == before
    assert batch(folder / "rows.csv", "-o", folder / "kept.csv", "--fresh").status == 0
    assert table(folder / "kept.csv")[0]["prompt"] == "hello"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a,b\n1,2\n", "has no column prompt or image, but a, b"), (b"", "has no column prompt or image, but nothing"),
        (b"prompt,Prompt\n1,2\n", "two columns prompt"), (b"prompt\n\xff\xfe\n", "is not CSV in UTF-8"),
    ],
)  # fmt: skip
def test_what_is_no_table_of_questions_is_one_line(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "rows.csv").write_bytes(content)
    with pytest.raises(UsageError, match=why):
        list(CsvRows(tmp_path / "rows.csv").rows())


def test_an_answer_under_a_schema_has_its_fields_in_columns_and_formulas_are_guarded() -> None:
    lines = [
        b'{"row": 1, "key": "k", "metadata": {"price": "7"}, "answer": "{}", "value": {"price": 8, "name": "=cmd()"}, "error": null}\n',
        b'{"row": 2, "key": "k", "metadata": {"price": "9"}, "answer": null, "value": null, "error": {"message": "no"}}\n',
    ]  # fmt: skip
    text, guarded = answers_as_csv(lines)
    one, two = csv.DictReader(io.StringIO(text))
    assert (one["price"], one["price_answer"], one["name"], guarded) == ("7", "8", "'=cmd()", 1)
    assert (two["price"], two["error"]) == ("9", "no")


def test_every_row_of_a_file_has_the_same_fields_whatever_fails(folder: Path) -> None:
    rows = [
        "not JSON",
        {"prompt": ""},
        {"prompt": "fine"},
        "[1]",
        {"prompt": "x", "images": ["none.png"]},
        '{"other": 1}',
    ]
    batch(write(folder / "in.jsonl", rows), "-o", folder / "out.jsonl")
    assert {tuple(line) for line in read(folder / "out.jsonl")} == {
        ("row", "key", "answer", "model", "finish_reason", "usage", "error")
    }
    rows = ["not JSON", request("a", "hello"), '{"other": 1}', {"custom_id": "b", "body": {}}]
    batch(write(folder / "in2.jsonl", rows), "-o", folder / "out2.jsonl")
    assert {tuple(line) for line in read(folder / "out2.jsonl")} == {("id", "custom_id", "response", "error")}


def test_a_byte_order_mark_is_no_part_of_the_first_column(folder: Path) -> None:
    (folder / "rows.csv").write_bytes(b"\xef\xbb\xbfprompt,note\r\nWhat is this?,x\r\n")
    result = batch(folder / "rows.csv", "-o", folder / "out.csv")
    assert result.status == 0, result.stderr
    (row,) = table(folder / "out.csv")
    assert (list(row)[:2], row["prompt"]) == (["prompt", "note"], "What is this?")
