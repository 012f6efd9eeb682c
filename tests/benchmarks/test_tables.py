"""The report as a reader sees it: every program, every hole, and nothing of docs/benchmarks.md but its own part."""

from pathlib import Path

from benchmarks import plot, tables
from benchmarks.__main__ import documented
from tests.benchmarks.reports import model, report


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def blocks(text: str) -> list[list[list[str]]]:
    return [rows(part) for part in text.split("\n\n") if part.startswith("|")]


def test_every_row_of_a_table_has_its_columns() -> None:
    for table in blocks(tables.render(report())):
        assert {len(row) for row in table} == {len(table[0])}


def test_a_program_that_did_not_take_part_in_a_conversation_has_a_dash_there() -> None:
    conversation = next(table for table in blocks(tables.render(report())) if table[0][1] == "load s")
    found = {row[0]: row for row in conversation}
    assert found["llama.cpp"][-2] == "20.0"
    assert found["vLLM"][-2] == tables.NONE
    assert found["pixtral"][6] == "80%"


def test_a_peer_that_could_not_be_had_is_named_with_the_reason() -> None:
    assert "Left out: llama.cpp (not compiled)" in tables.render(report(absent={"llama.cpp": "not compiled"}))


def test_what_has_fewer_scenarios_is_shown_with_those() -> None:
    kept = ("name", "checkpoint", "side", "kv", "operations", "limits", "five questions")
    text = tables.render(report({key: model()[key] for key in kept}))
    assert "30 pages" not in text
    assert "picture and 2 questions" in text


def test_a_conversation_that_did_not_happen_is_left_out() -> None:
    assert "load s" not in tables.render(report(model(**{"five questions": {}})))


def test_models_of_another_run_are_added_with_where_they_were_measured() -> None:
    whole, other = report(), report(model(), model(name="the largest"), rounds=1, absent={"vLLM": "too large"})
    text = tables.render(whole, other, whole)
    assert text.startswith(tables.render(whole))
    added = text.removeprefix(tables.render(whole))
    assert added.startswith("\n\nIn a run of its own. Measured on: Abacus")
    assert "one round" in added
    assert "vLLM (too large)" in added
    assert added.count("the largest, CPU") == 1
    assert "random, CPU" not in added


def test_the_document_is_replaced_between_its_markers_alone(tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.write_document(report(), document=document)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "(../benchmarks/results/overview.svg)" in text


def test_the_document_shows_the_newest_whole_run_that_is_kept() -> None:
    assert f"\n\n{tables.render(*documented())}\n{tables.END}" in tables.DOCUMENT.read_text()


def test_the_plot_names_every_program_and_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = tmp_path / "first.svg", tmp_path / "second.svg"
    plot.draw(report(), first)
    plot.draw(report(), second)
    assert first.read_bytes() == second.read_bytes()
    assert all(name in first.read_text() for name in model()["five questions"])
