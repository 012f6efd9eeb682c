"""JSON is parsed within its limits: at each it is read, beyond it a ValueError says which."""

from pathlib import Path

import pytest

from pixtral_cli.util import bounded_json


def test_a_file_of_so_many_bytes_is_read_and_a_larger_one_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("[1, 2, 3]")
    assert bounded_json.read(file, 9, 100) == [1, 2, 3]
    with pytest.raises(ValueError, match="larger than 8 bytes"):
        bounded_json.read(file, 8, 100)


@pytest.mark.parametrize(("text", "values"), [("[1, 2, 3]", 3), ('{"a": {"b": [1, 2]}}', 4), ("7", 0)])
def test_so_many_values_are_parsed_and_no_more(text: str, values: int) -> None:
    bounded_json.parse(text.encode(), values)
    if values:
        with pytest.raises(ValueError, match=f"more than {values - 1} values"):
            bounded_json.parse(text.encode(), values - 1)


def test_what_nests_too_deep_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        bounded_json.parse(b"[" * 100_000 + b"]" * 100_000, 10**6)
