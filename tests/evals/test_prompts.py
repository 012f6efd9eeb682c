"""Prompts: our own protocol, and published ones read without running anything."""

from pathlib import Path

import pytest

from pixtral_cli.errors import UsageError
from pixtral_cli.evals import prompts


def checkout(folder: Path, file: str, text: str) -> Path:
    (folder / "eval" / "tasks").mkdir(parents=True)
    (folder / "eval" / "tasks" / file).write_text(text)
    return folder


def test_a_published_prompt_is_taken_word_for_word_and_nothing_is_run(tmp_path: Path) -> None:
    trap = 'PROMPT = """Look.\nFinal Answer: <answer>"""\nopen("ran", "w")\nraise SystemExit\n'
    found = prompts.load_published(checkout(tmp_path, "chartqa.py", trap), "chartqa")
    assert found["chart"] == "Look.\nFinal Answer: <answer>"
    assert found["word"] == prompts.DEFAULT_PROMPTS["word"]
    assert found.source == "mistral-evals"


def test_a_constant_of_a_class_is_found(tmp_path: Path) -> None:
    text = "class Judge:\n    SYSTEM_PROMPT: str = 'Be fair.'\n"
    assert prompts.load_published(checkout(tmp_path, "mm_mt_bench.py", text), "mm-mt-bench")["judge"] == "Be fair."


@pytest.mark.parametrize("text", ["", "PROMPT = 'a' + 'b'", "PROMPT = 7", "PROMPT = f'{1}'", "not python at all", "\0"])
def test_a_file_without_the_prompt_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        prompts.load_published(checkout(tmp_path, "chartqa.py", text), "chartqa")


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="missing"):
        prompts.load_published(tmp_path, "chartqa")
    with pytest.raises(UsageError, match="no published prompts for mmlu"):
        prompts.load_published(tmp_path, "mmlu")


@pytest.mark.parametrize("name", ["choice", "chart", "letter", "math"])
def test_our_own_prompts_ask_for_what_the_metrics_read(name: str) -> None:
    assert "Final Answer: " in prompts.DEFAULT_PROMPTS[name]
