"""Torture H: the files of a model that somebody else wrote."""

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.errors import ModelError
from pixtral_cli.models import layout, verify
from pixtral_cli.models.names import demo_folder

Change = Callable[[Any], Any]


def tekken(**config: Any) -> Change:
    return lambda content: {**content, "config": {**content["config"], **config}}


def nested(depth: int) -> bytes:
    return b'{"a": ' + b"[" * depth + b"]" * depth + b"}"


def params(**values: Any) -> Change:
    return lambda content: {**content, **values}


def encoder(**values: Any) -> Change:
    return lambda content: {**content, "vision_encoder": {**content["vision_encoder"], **values}}


def image(**values: Any) -> Change:
    return lambda content: {**content, "image": {**content["image"], **values}}


TEKKEN: dict[str, Change] = {
    "special tokens": tekken(default_num_special_tokens=2_000_000_000),
    "fewer special tokens than none": tekken(default_num_special_tokens=-1),
    "special tokens in words": tekken(default_num_special_tokens="20"),
    "a vocabulary beyond memory": tekken(default_vocab_size=2_000_000_000),
    "no vocabulary": tekken(default_vocab_size=0),
    "a vocabulary of half a token": tekken(default_vocab_size=0.5),
    "an empty pattern": tekken(pattern=""),
    "a pattern that may be empty": tekken(pattern="x*|."),
    "a pattern that only looks ahead": tekken(pattern=r"(?=\p{L})"),
    "a pattern that never ends": tekken(pattern=r"(?:(?=a)a+)+c|[\s\S]"),
    "a pattern that drops letters": tekken(pattern=r"\p{N}+"),
    "a pattern that is none": tekken(pattern="("),
    "a pattern of parentheses": tekken(pattern="(" * 100_000 + ")" * 100_000),
    "a pattern of 20 MB": tekken(pattern="|".join(["ab"] * 7_000_000)),
    "a pattern that counts": tekken(pattern=r"((\p{L}{1000}){1000}){1000}"),
    "no pattern": tekken(pattern=None),
    "an unknown version": tekken(version="v99"),
    "configuration in a list": lambda content: {**content, "config": [1]},
    "ranks that repeat": lambda content: {**content, "vocab": content["vocab"][:1] * len(content["vocab"])},
    "tokens that are numbers": lambda content: {**content, "vocab": [1] * len(content["vocab"])},
    "a token of 40 MB": lambda content: {**content, "vocab": [*content["vocab"][:-1], {**content["vocab"][-1], "token_bytes": "QUJD" * 10_000_000}]},
    "patches of nothing": image(image_patch_size=0),
    "patches in words": image(image_patch_size="16"),
    "images without end": image(max_image_size=10**12),
    "images of nothing": image(max_image_size=0),
    "an image configuration in a list": lambda content: {**content, "image": [1]},
    "nesting": lambda _: nested(10_000),
    "nesting of a million": lambda _: nested(1_000_000),
    "empty arrays": lambda _: b'{"vocab": [' + b"[]," * 6_000_000 + b"[]]}",
    "empty texts": lambda _: b'{"vocab": [' + b'"",' * 6_000_000 + b'""]}',
    "many keys": lambda _: b"{" + b",".join(b'"%d":1' % number for number in range(3_000_000)) + b"}",
    "70 MB of spaces": lambda _: b" " * 70_000_000 + b"{}",
}  # fmt: skip
PARAMS: dict[str, Change] = {
    "nesting": lambda _: nested(100_000),
    "arrays": lambda _: b'{"a": [' + b"[]," * 6_000_000 + b"[]]}",
    "spaces": lambda _: b" " * 70_000_000 + b"{}",
    "digits": lambda _: b'{"dim": ' + b"1" * 100_000 + b"}",
    "layers": params(n_layers=999),
    "wide": params(dim=9_999_999, hidden_dim=9_999_999),
    "heads": params(n_heads=9_999_999),
    "words": params(vocab_size=9_999_999),
    "encoder": encoder(hidden_size=9_999_996, intermediate_size=9_999_999),
    "encoder layers": encoder(num_hidden_layers=1000),
    "not a number": lambda _: b'{"dim": NaN}',
}
CONFIG: dict[str, Any] = {
    "no heads": {"num_attention_heads": 0, "head_dim": None},
    "size in words": {"hidden_size": "wide"},
    "rope in a list": {"rope_parameters": [1]},
    "rope in words": {"rope_parameters": {"rope_type": "yarn", "factor": "x"}},
    "quantized by a list": {"quantization_config": [1]},
}


def header(content: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content + data


def entry(**values: Any) -> bytes:
    return header(json.dumps({"norm.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4], **values}}).encode(), data=b"\0" * 4)  # fmt: skip


WEIGHTS: dict[str, Change] = {
    "header of 90 MB": lambda _: header(b'{"a": [' + b"[]," * 30_000_000 + b"[]]}"),
    "header of 9 MB": lambda _: header(b'{"a": [' + b"[]," * 3_000_000 + b"[]]}"),
    "header of many tensors": lambda _: header(json.dumps({f"t{n}": {"dtype": "BF16", "shape": [], "data_offsets": [0, 0]} for n in range(90_000)}).encode()),
    "header beyond the file": lambda _: header(b"{}", 1 << 62),
    "nested header": lambda _: header(nested(10_000)),
    "shape beyond memory": lambda _: entry(shape=[1 << 40, 1 << 40]),
    "shape below nothing": lambda _: entry(shape=[-1]),
    "shape of halves": lambda _: entry(shape=[0.5]),
    "shape in words": lambda _: entry(shape="ab"),
    "infinite offset": lambda _: header(b'{"norm.weight": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 1e999]}}'),
    "offsets backwards": lambda _: entry(data_offsets=[4, 0]),
    "offsets before the file": lambda _: entry(data_offsets=[-400, 4]),
    "type in a list": lambda _: entry(dtype=["BF16"]),
    "no tensors": lambda _: header(b"{}"),
    "metadata alone": lambda _: header(b'{"__metadata__": {}}'),
}  # fmt: skip
CASES = [
    *((layout.TOKENIZER_FILE, name, change) for name, change in TEKKEN.items()),
    *((layout.PARAMS_FILE, name, change) for name, change in PARAMS.items()),
    *((layout.WEIGHTS_FILE, name, change) for name, change in WEIGHTS.items()),
]


def model(folder: Path, file: str, change: Change) -> Path:
    """The demo model with one file changed."""
    folder.mkdir()
    for each in demo_folder().iterdir():
        (folder / each.name).symlink_to(each)
    (folder / file).unlink()
    before = (demo_folder() / file).read_bytes()
    content = change(json.loads(before) if file.endswith(".json") else before)
    (folder / file).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def test_a_hostile_file_is_named_in_one_line_and_costs_under_100_mb(tmp_path: Path) -> None:
    folders = [model(tmp_path / str(number), file, change) for number, (file, _, change) in enumerate(CASES)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture.refused_models", *map(str, folders)],
        capture_output=True, text=True, env={**os.environ, "RUST_BACKTRACE": "0"}, timeout=800,
    )  # fmt: skip
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(reports) == len(CASES), done.stderr[-2000:]
    for (file, name, _), report in zip(CASES, reports, strict=True):
        assert (report["status"], "\n" in report["message"]) == (4, False), (file, name, report)
        assert len(report["message"]) <= 160, (file, name, report)
        assert report["growth"] < 100, (file, name, report)
    shutil.rmtree(tmp_path)  # some hundred MB


@pytest.mark.parametrize("name", CONFIG)
def test_a_config_json_that_makes_no_sense_is_one_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mistral", **CONFIG[name]}))
    with pytest.raises(ModelError, match=r"config\.json"):
        LocalEngine(tmp_path, device="cpu", name="evil").load()


@pytest.mark.parametrize("name", WEIGHTS)
def test_verify_takes_a_hostile_header_for_no_weights(tmp_path: Path, name: str) -> None:
    file = tmp_path / layout.WEIGHTS_FILE
    file.write_bytes(WEIGHTS[name](b""))
    problem = verify.format_problem(file)
    assert problem is None or problem.startswith(("is ", "has "))


@pytest.mark.parametrize("content", [nested(10_000), b'{"weight_map": [' + b"[]," * 5_000_000 + b"[]]}", b'{"weight_map": {"a": 1}}'], ids=["nested", "large", "number"])  # fmt: skip
def test_an_index_that_makes_no_sense_names_no_shards(tmp_path: Path, content: bytes) -> None:
    (tmp_path / layout.INDEX).write_bytes(content)
    (tmp_path / layout.PARAMS_FILE).write_bytes(content)
    assert layout.indexed_shards(tmp_path) == []
    assert layout.missing(tmp_path)
