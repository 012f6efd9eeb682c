"""What fails is named in the report, and the rest goes on."""

from pathlib import Path

import pytest

from benchmarks import apart, conversation
from benchmarks.peers import Entry


def test_a_function_is_called_in_a_process_of_its_own() -> None:
    assert apart.call("json:loads", "[1, 2]") == [1, 2]


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(apart.Failed, match="nothing"):
        apart.call("json:nothing")


def test_a_program_that_fails_is_named_and_not_dropped_in_silence(tmp_path: Path) -> None:
    absent: dict[str, str] = {}
    found = conversation.measure([Entry("nobody")], tmp_path, "short prompt", 64, 2, absent)
    assert found == {}
    assert list(absent) == ["nobody, short prompt"]
