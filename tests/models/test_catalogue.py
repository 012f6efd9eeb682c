"""The catalogue: sizes as published, memory that grows with the format, and the best model that fits."""

import json

import pytest

from pixtral_cli.models import catalogue, names
from pixtral_cli.models.catalogue import BY_NAME, CATALOGUE, Shape
from pixtral_cli.util.memory import Memory

GB = 10**9


@pytest.mark.parametrize(
    ("name", "billions", "download"),
    [
        ("pixtral-12b", 12.68, 25.4), ("pixtral-large", 124, 248), ("mistral-small-3.2", 24.0, 48), ("magistral-small", 24.0, 48),
        ("ministral-3b", 3.85, 4.7), ("ministral-8b", 8.9, 10.4), ("ministral-14b", 13.9, 15.7),
        ("ministral-14b-reasoning", 13.9, 27.9),
    ],
)  # fmt: skip
def test_sizes_are_those_that_are_published(name: str, billions: float, download: float) -> None:
    entry = BY_NAME[name]
    assert entry.shape.parameters / GB == pytest.approx(billions, rel=0.01)
    assert entry.download / GB == pytest.approx(download, rel=0.02)


def test_pixtral_12b_has_the_parameters_of_its_checkpoint() -> None:
    assert BY_NAME["pixtral-12b"].shape.parameters == 12_682_739_712
    assert BY_NAME["pixtral-12b"].shape.token_bytes == 160 << 10


def test_names_and_repositories_are_unique_and_can_be_named() -> None:
    assert len(BY_NAME) == len(catalogue.BY_REPO) == len(CATALOGUE)
    for entry in CATALOGUE:
        assert names.REPO.fullmatch(entry.repo)
        assert names.parse(entry.name).repo == entry.repo
        assert names.short_name(entry.repo) == entry.name


def test_fewer_bits_take_less_memory_and_a_longer_cache_more() -> None:
    for entry in CATALOGUE:
        sizes = [entry.shape.memory(quantize) for quantize in ("none", "8bit", "4bit")]
        assert sizes == sorted(sizes, reverse=True)
        more = entry.shape.memory(tokens=9192) - entry.shape.memory(tokens=8192)
        assert more == 1000 * entry.shape.token_bytes


def test_the_demo_is_measured_from_its_own_file() -> None:
    folder = names.demo_folder()
    shape = Shape.of(json.loads((folder / "params.json").read_text()))
    assert shape is not None
    size = (folder / "consolidated.safetensors").stat().st_size
    assert 2 * shape.parameters == pytest.approx(size, rel=0.02)


@pytest.mark.parametrize("params", [{}, {"dim": "wide"}, {"vision_encoder": 3}, {"vision_encoder": {"hidden_size": 4}}])
def test_what_lacks_a_size_has_no_shape(params: dict[str, object]) -> None:
    assert Shape.of(params) is None


def test_a_wider_format_is_taken_where_it_fits() -> None:
    shape = BY_NAME["pixtral-12b"].shape
    assert [shape.widest_format(int(size * GB)) for size in (64, 20, 13, 8)] == ["none", "8bit", "4bit", ""]


@pytest.mark.parametrize(
    ("memory", "name"),
    [
        (Memory(4 << 30), None),
        (Memory(8 << 30), "ministral-3b"),
        (Memory(16 << 30), "ministral-8b"),
        (Memory(32 << 30), "mistral-small-3.2"),
        (Memory(16 << 30, 24 << 30), "mistral-small-3.2"),
        (Memory(64 << 30, 6 << 30), "ministral-3b"),
    ],
)
def test_the_best_model_for_a_machine(memory: Memory, name: str | None) -> None:
    found = catalogue.recommended(memory.model_limit(0.7))
    assert (found.name if found else None) == name


def test_what_no_engine_here_can_run_is_not_recommended() -> None:
    found = catalogue.recommended(Memory(32 << 30).model_limit(0.7), ("yarn",))
    assert found == BY_NAME["mistral-small-3.2"]
    assert catalogue.recommended(Memory(16 << 30).model_limit(0.9), ("yarn",)) == BY_NAME["pixtral-12b"]
