"""Every task on a small set of its true schema: what is asked, what is right, and equal scores on every engine."""

import inspect
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli.chat.engine import Engine
from pixtral_cli.engines.factory import open_engine
from pixtral_cli.engines.options import EngineOptions
from pixtral_cli.engines.remote.client import ApiClient
from pixtral_cli.engines.remote.engine import RemoteEngine
from pixtral_cli.engines.remote.errors import parse_endpoint
from pixtral_cli.evals import datasets, report, task_registry
from pixtral_cli.evals.prompts import Prompts
from pixtral_cli.evals.scoring import execution
from pixtral_cli.evals.task import BadRow, DatasetRow
from pixtral_cli.models import names
from tests.evals.answering import Answering, in_turn
from tests.evals.running import JUDGED, alike, rating, run
from tests.evals.sets import HUMANEVAL, RIGHT, SCHEMAS
from tests.server.serving import serving


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_right_answers_score_all_and_wrong_ones_nothing(name: str, tmp_path: Path) -> None:
    metric = task_registry.get_task(name).metrics[0]
    right = run(name, tmp_path / "right", in_turn(*RIGHT[name]))
    assert [record["scores"][metric] for record in right] == [1.0] * len(RIGHT[name])
    wrong = run(name, tmp_path / "wrong", Answering(lambda messages: "no, no, not at all"))
    assert [record["scores"][metric] for record in wrong] == [0.0] * len(RIGHT[name])


def test_every_task_with_a_schema_is_tested() -> None:
    demos = {name for name in task_registry.task_names() if name.startswith("demo-")}
    assert {*RIGHT, *JUDGED, *demos} == set(task_registry.task_names())
    assert set(SCHEMAS) >= {name for name in task_registry.task_names() if task_registry.get_task(name).source}


def test_mmmu_puts_each_image_where_the_question_names_it(tmp_path: Path) -> None:
    engine = in_turn(*RIGHT["mmmu"])
    found = run("mmmu", tmp_path, engine)
    first = engine.asked[0][0].parts
    assert [part if isinstance(part, str) else part.name for part in first[:4]] == [
        "row 0, image_1", " Which ", "row 0, image_2", first[3],
    ]  # fmt: skip
    assert str(first[3]).startswith(" is blue?\nA. red\nB. blue\n")
    assert str(first[3]).endswith(Prompts()["choice"])
    assert [record["groups"] for record in found] == [["Art"], ["Math"]]


def test_mm_mt_bench_asks_every_turn_with_the_reference_replies_before_it(tmp_path: Path) -> None:
    engine = in_turn("Red.", "I am.")
    found = run("mm-mt-bench", tmp_path, engine, in_turn("[[8]]", "[[6]]"))
    assert [[message.role for message in asked] for asked in engine.asked] == [["user"], ["user", "assistant", "user"]]
    assert engine.asked[1][1].text == "It is red."
    assert [record["scores"] for record in found] == [{"judge": 8.0}, {"judge": 6.0}]
    total = report.summarize(task_registry.get_task("mm-mt-bench"), found)
    assert total.metrics["judge"].mean == 7.0
    assert total.groups == {"Charts": (7.0, 2), "turn 1": (8.0, 1), "turn 2": (6.0, 1)}
    assert total.metrics["macro"].mean == 7.0


def test_mt_bench_goes_on_from_the_models_own_answer(tmp_path: Path) -> None:
    engine = Answering(lambda messages: f"answer {len(messages)}")
    found = run("mt-bench", tmp_path, engine, Answering(lambda messages: "[[4]]"))
    assert [record["answers"] for record in found][:2] == [["answer 1"], ["answer 1", "answer 3"]]
    assert engine.asked[2][1].text == "answer 1"
    assert [record["references"] for record in found] == [["2"], ["4"], [], []]


def test_a_question_without_a_rating_is_failed_and_has_no_score(tmp_path: Path) -> None:
    found = run("mm-mt-bench", tmp_path, in_turn("Red.", "I am."), in_turn("[[8]]", "hm", "hm", "hm"))
    assert found[1]["scores"] == {}
    assert "no rating" in found[1]["error"]
    total = report.summarize(task_registry.get_task("mm-mt-bench"), found)
    assert (total.failed, total.metrics["judge"].mean) == (1, 8.0)


def test_an_instruction_counts_as_often_as_it_is_given(tmp_path: Path) -> None:
    found = run("if-eval", tmp_path, in_turn("one, two"))
    assert found[0]["scores"] == {
        "prompt_strict": 0.0, "instruction_strict": 0.5, "prompt_loose": 0.0, "instruction_loose": 0.5,
    }  # fmt: skip
    assert found[0]["weights"] == {"instruction_strict": 2, "instruction_loose": 2}


@pytest.mark.parametrize(
    ("code", "passed"),
    [
        ("    return n * 2\n", True), ("def twice(n):\n    return n + n", True), ("    return 3\n", False),
        ("import sys\nsys.exit(0)\ndef twice(n): ...", False), ("    while True: pass\n", False), ("def twice(", False),
        ("def twice(n):\n    x = bytearray(1 << 33)\n    return 2 * n", False), ("I cannot.", False),
    ],
)  # fmt: skip
def test_a_program_passes_when_its_tests_do(code: str, passed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "PROGRAM_TIMEOUT", 3)
    row = HUMANEVAL[0]
    assert (
        execution.program_passes(execution.build_program(row["prompt"], code, row["test"], row["entry_point"]))
        is passed
    )


def test_a_file_of_a_task_is_short() -> None:
    for name in task_registry.task_names():
        module = inspect.getmodule(task_registry.get_task(name).ask)
        assert module is not None
        assert len(inspect.getsource(module).splitlines()) < 80, name


@pytest.fixture(scope="module")
def demo() -> Any:
    with closing(open_engine(EngineOptions(device="cpu"), names.demo_folder(), name="demo")) as engine:
        yield engine


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_task_scores_the_same_here_and_behind_a_server(name: str, tmp_path: Path, demo: Engine) -> None:
    judge = Answering(rating) if name in JUDGED else None
    here = run(name, tmp_path / "here", demo, judge, 24)
    with (
        serving(demo, model="demo") as running,
        closing(RemoteEngine(ApiClient(parse_endpoint(f"{running.url}/v1")), "demo")) as remote,
    ):
        there = run(name, tmp_path / "there", remote, judge, 24)
    assert alike(here) == alike(there)
    assert all(record["answers"][-1] and not record["error"] for record in here)


def test_the_demo_model_answers_the_demo_sets_and_alike_behind_a_server(tmp_path: Path, demo: Engine) -> None:
    here = run("demo-shapes", tmp_path / "here", demo)
    assert sum(record["scores"]["stated"] for record in here) / len(here) > 0.2
    with (
        serving(demo, model="demo") as running,
        closing(RemoteEngine(ApiClient(parse_endpoint(f"{running.url}/v1")), "demo")) as remote,
    ):
        there = run("demo-shapes", tmp_path / "there", remote)
    assert [record["answers"] for record in here] == [record["answers"] for record in there]


@pytest.mark.parametrize("name", ["demo-shapes", "demo-charts", "demo-reading"])
def test_every_row_of_a_demo_set_can_be_asked_and_its_answer_is_right(name: str, tmp_path: Path) -> None:
    found = run(name, tmp_path, Answering(lambda messages: "-"))
    task = task_registry.get_task(name)
    assert len(found) >= 30
    for row in datasets.open_local(task.folder or tmp_path).rows(range(len(found))):
        question = next(iter(task.ask(row, Prompts())))
        assert task.score is not None
        assert task.score(question, [f"It is {question.references[0]}."])["stated"].value == 1.0, row.values


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("if-eval", {"instruction_id_list": ["no:such"], "kwargs": [{}]}, "unknown instruction 'no:such'"),
    ("if-eval", {"instruction_id_list": ["no:such"], "kwargs": []}, "'kwargs' does not match 'instruction_id_list'"),
    ("if-eval", {"instruction_id_list": ["no:such"], "kwargs": "x"}, "'kwargs' does not match 'instruction_id_list'"),
    ("math", {"solution": "It is 5.", "answer": ""}, "column 'solution' has no boxed answer"),
    ("math", {}, "column 'solution' is missing"),
    ("mathvista", {"answer": "c", "choices": ["a", "b"]}, "column 'answer' is not one of the choices"),
    ("mm-if-eval", {"image": None}, "column 'image' holds no image"),
    ("mm-mt-bench", {"conversation": "no JSON"}, "column 'conversation' is not a conversation"),
    ("mm-mt-bench", {"conversation": "5"}, "column 'conversation' is not a conversation"),
    ("mm-mt-bench", {"conversation": '[{"role": "user"}]'}, "column 'conversation' is not a conversation"),
    ("mmlu", {"choices": ["a", "b"], "answer": 2}, "column 'answer' is not the index of a choice"),
    ("mmlu", {"choices": ["a", "b"], "answer": -1}, "column 'answer' is not the index of a choice"),
    ("mmlu", {"choices": ["a", "b"], "answer": "a"}, "column 'answer' is not the index of a choice"),
    ("mmmu", {"question_type": "multiple-choice", "options": "a, b"}, "'a, b' is not a list"),
    ("mt-bench", {"prompt": []}, "column 'prompt' is empty"),
]


@pytest.mark.parametrize(("name", "values", "says"), WRONG)
def test_a_row_that_is_none_of_the_tasks_names_its_column(name: str, values: dict[str, Any], says: str) -> None:
    def load(value: Any, label: str) -> Any:
        raise AssertionError

    usual = {} if values == {} else {"question": "q", "answer": "a", "prompt": "p", "problem": "p", "id": "1"}
    row = DatasetRow(0, {**usual, **values}, load)
    with pytest.raises(BadRow) as error:
        list(task_registry.get_task(name).ask(row, Prompts()))
    assert says in str(error.value)
