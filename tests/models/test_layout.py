"""Which shards a model has says its index, where one is there; and an index says nothing that could do harm."""

import json
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.errors import ModelError
from pixtral_cli.models import layout, names, verify

SMALL = ("params.json", "tekken.json")
SHARDS = ("large-1.safetensors", "large-2.safetensors")


def folder(home: Path, *files: str, index: Any = SHARDS) -> Path:
    home.mkdir(exist_ok=True)
    for name in (*SMALL, *files):
        (home / name).write_text("{}")
    if isinstance(index, tuple):
        index = {"weight_map": {f"tensor {number}": shard for number, shard in enumerate(index)}}
    (home / layout.INDEX).write_text(index if isinstance(index, str) else json.dumps(index))
    return home


def test_the_shards_that_the_index_names_make_the_model_and_old_ones_do_not(tmp_path: Path) -> None:
    home = folder(tmp_path, *SHARDS, "consolidated-00001-of-00003.safetensors")
    assert layout.missing(home) == []
    assert [file.name for file in layout.files(home)] == [*SMALL, layout.INDEX, *SHARDS]


@pytest.mark.parametrize(("there", "lost"), [(SHARDS[:1], SHARDS[1]), ((), SHARDS[0])])
def test_a_shard_that_the_index_names_and_that_is_missing_is_named(
    tmp_path: Path, there: tuple[str, ...], lost: str
) -> None:
    home = folder(tmp_path, *there)
    with pytest.raises(ModelError, match=f"{lost} is missing"):
        names.resolve(str(home))
    findings = [step for step in verify.full_check(home) if isinstance(step, verify.FileCheck)]
    assert (findings[0].file, findings[0].state) == (lost, "missing")


@pytest.mark.parametrize(
    "index",
    ["", "<html>", "[]", "[" * 5000, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"a": ["b"]}},
     ("../else.safetensors",), ("/else.safetensors",), ("notes.txt",), (".safetensors",), ("a\n.safetensors",)],
)  # fmt: skip
def test_an_index_that_makes_no_sense_counts_for_nothing(tmp_path: Path, index: Any) -> None:
    """What an index names may be read, and removed with the model: no other file must be."""
    numbered = [f"consolidated-0000{number}-of-00002.safetensors" for number in (1, 2)]
    (tmp_path / "else.safetensors").write_text("mine")
    home = folder(tmp_path / "model", *numbered, "notes.txt", index=index)
    assert layout.missing(home) == []
    assert [file.name for file in layout.files(home)] == [*SMALL, layout.INDEX, *numbered]


def test_one_whole_file_needs_no_index(tmp_path: Path) -> None:
    home = folder(tmp_path, layout.WEIGHTS_FILE)
    assert layout.missing(home) == []
    assert layout.files(home)[-1].name == layout.WEIGHTS_FILE
