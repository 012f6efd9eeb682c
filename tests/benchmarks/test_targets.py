"""What is said of each target follows from the report alone."""

import pytest

from benchmarks.targets import Target, decode_limit, targets
from tests.benchmarks.reports import model, report, row


def measured(*models: dict[str, object]) -> dict[str, Target]:
    return {target.what: target for target in targets(report(*models))}


def test_decoding_is_held_against_what_memory_allows_weights_and_cache() -> None:
    assert decode_limit(model(), model()["five questions"]["pixtral"]) == pytest.approx(50.0)
    target = measured()["decode, bf16 ÷ what memory allows"]
    assert (target.measured, target.met) == (pytest.approx(0.8), False)


def test_the_fastest_peer_is_one_of_the_same_precision() -> None:
    found = measured()
    assert found["decode, bf16 ÷ the fastest peer's (llama.cpp)"].measured == 1.25
    assert found["decode, 8bit ÷ the fastest peer's (llama.cpp Q8_0)"].measured == 0.75
    assert found["five questions: TTFT of the fastest peer (vLLM) ÷ ours"].measured == 0.8


def test_a_peer_that_shrinks_the_picture_is_not_compared() -> None:
    shrunk = row(32.0, 0.1) | {"prompt": [300, 400]}
    large = {"pixtral": row(40.0, 2.0), "llama.cpp": shrunk, "vLLM": row(20.0, 3.0)}
    assert measured(model() | {"large picture": large})["large picture: TTFT of the fastest peer (vLLM) ÷ ours"].met


def test_all_seven_are_there_and_in_order() -> None:
    numbers = [target.number for target in targets(report())]
    assert sorted(set(numbers)) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers == sorted(numbers)


def test_ratios_that_are_to_be_small_are_met_from_below() -> None:
    found = measured()
    assert found["load ÷ reading the file"].measured == 2.0
    assert not found["load ÷ reading the file"].met
    assert found["TTFT of a follow-up ÷ computing its new tokens alone"].met
    assert found["`pixtral ask` on the demo, whole process ÷ `import torch`"].met


def test_prefill_counts_operations_against_the_matrix_rate() -> None:
    assert measured()["prefill of thirty pages ÷ the matrix rate (wanted on a GPU)"].measured == pytest.approx(0.5)


def test_what_was_not_measured_is_no_target() -> None:
    bare = {key: model()[key] for key in ("name", "checkpoint", "side", "kv", "operations", "limits", "five questions")}
    assert {target.number for target in targets(report(bare))} == {1, 2, 4, 5}


def test_the_demo_is_not_what_speed_is_measured_on_but_its_edit_counts() -> None:
    demo = model(name="demo", checkpoint="demo", limits={"read": 1.0, "matrix": 1.0})
    found = measured(demo, model())
    assert found["decode, bf16 ÷ what memory allows"].measured == pytest.approx(0.8)
    assert {
        "an edit with guesses ÷ without, same tokens (demo)",
        "an edit with guesses ÷ without, same tokens (random)",
    } <= set(found)
