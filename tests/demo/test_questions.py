"""Every answer follows from what was drawn: the answers are derived here a second time, from the facts alone."""

import json
import re
from random import Random

import pytest

from demo import families
from demo.drawing import charts, names, runs, scenes, sizes, sketches, views, words
from demo.exam import EXAM, OTHER_PROGRAM, samples
from demo.questions import charts as chart_questions
from demo.questions import pages, talk
from demo.questions import runs as run_questions
from demo.questions import scenes as scene_questions
from demo.questions import views as view_questions
from demo.questions.phrases import NUMBERS
from demo.questions.tables import ask_table
from demo.samples import Turn
from pixtral_cli.structured.schema import SCHEMA_PROMPT, validate

SEEDS = range(120)


def asked_of_scenes() -> list[tuple[scenes.Scene, Turn]]:
    pairs = []
    for seed in SEEDS:
        rng = Random(seed)
        scene, _ = scenes.draw(rng, sizes.scene(rng))
        pairs += [(scene, turn) for conversation in scene_questions.ask(rng, scene, 30) for turn in conversation]
    return pairs


def named(scene: scenes.Scene, text: str) -> list[scenes.Thing]:
    """Things whose colour and shape the text names together, in the order of the text."""
    hits = [(text.index(thing.name), thing) for thing in scene.things if thing.name in text]
    return [thing for _, thing in sorted(hits, key=lambda hit: hit[0])]


def test_counts_are_the_counts_of_what_was_drawn() -> None:
    for scene, turn in asked_of_scenes():
        if turn.kind == "count":
            assert turn.answer.lower() == f"{NUMBERS[len(scene.things)]}."
        if turn.kind == "count of":
            text = turn.question.lower()
            shape = next((s for s in scenes.SHAPES if re.search(rf"\b{s}(s|es)?\b", text)), None)
            kept = [t for t in scene.things if (t.shape == shape if shape else re.search(rf"\b{t.colour}\b", text))]
            assert turn.answer.lower() == f"{NUMBERS[len(kept)]}.", (scene, turn)


def test_yes_and_no_are_true() -> None:
    relations = {"left of": "x", "right of": "x", "above": "y", "below": "y"}
    for scene, turn in asked_of_scenes():
        if turn.kind == "relation":
            one, other = named(scene, turn.question)
            word = next(word for word in relations if word in turn.question)
            axis = relations[word]
            less = getattr(one, axis) < getattr(other, axis)
            assert turn.answer == ("Yes." if less == (word in ("left of", "above")) else "No.")
        if turn.kind == "exists":
            wanted = (
                re.sub(r"[.?]", "", turn.answer.split(" is ")[1])
                .removeprefix("no ")
                .removeprefix("a ")
                .removeprefix("an ")
            )
            there = any(thing.name == wanted or thing.shape == wanted for thing in scene.things)
            assert turn.answer.startswith("Yes") == there


def test_colour_and_shape_questions_have_one_answer() -> None:
    for scene, turn in asked_of_scenes():
        if turn.kind == "colour" and not scene.uniform:
            asked = [thing for thing in scene.things if f" {thing.shape}" in turn.answer]
            assert [f"The {thing.shape} is {thing.colour}." for thing in asked] == [turn.answer]
        if turn.kind == "shape":
            assert sum(f" {thing.colour} shape" in turn.answer for thing in scene.things) == 1


def test_what_lists_everything_from_left_to_right() -> None:
    for scene, turn in asked_of_scenes():
        if turn.kind == "what" and not scene.uniform:
            listed = named(scene, turn.answer.lower())
            assert [thing.name for thing in listed] == [thing.name for thing in sorted(scene.things, key=lambda t: t.x)]


def test_the_scene_that_fools_the_eye_is_seen_through() -> None:
    verdicts = set()
    for seed in SEEDS:
        rng = Random(seed)
        view, _ = views.draw(rng, sizes.scene(rng))
        for turn in (turn for conversation in view_questions.ask(rng, view, 20) for turn in conversation):
            if turn.answer.startswith("Neither"):
                near = re.search(r"the (\w+) is near", turn.answer)
                assert near
                assert [being.kind for being in view.beings if being.near] == [near[1]]
            verdicts.add(turn.answer.split()[0] if turn.kind == "view really" else "")
    assert "Neither:" in verdicts


def test_bar_values_and_extremes_are_read_from_the_bars() -> None:
    for seed in SEEDS:
        rng = Random(seed)
        bars, _ = charts.draw_bars(rng, sizes.chart(rng))
        for turn in (turn for conversation in chart_questions.ask_bars(rng, bars, 30) for turn in conversation):
            if turn.kind == "bar value" and bars.coloured and "bar" in turn.question and "value?" not in turn.question:
                colour = next(c for c in bars.colours if c in turn.question)
                assert turn.answer == f"{bars.values[bars.colours.index(colour)]}."
            if turn.kind == "bar highest":
                assert bars.colours[bars.values.index(max(bars.values))] in turn.answer
            if turn.kind == "bar lowest by label":
                assert turn.answer == f"{(bars.labels or ())[bars.values.index(min(bars.values))]}."


def test_a_line_is_asked_when_it_goes_wrong_and_the_step_is_on_the_axis() -> None:
    found = 0
    for seed in SEEDS:
        rng = Random(seed)
        chart, _ = charts.draw_lines(rng, sizes.chart(rng))
        for turn in (turn for conversation in chart_questions.ask_lines(rng, chart, 30) for turn in conversation):
            if turn.kind.startswith("line wrong") and "step" in turn.answer:
                found += 1
                named = turn.kind.endswith("by name")
                line = next(
                    one
                    for one in chart.lines
                    if (one.name if named else f"{one.colour} line") in turn.question  # type: ignore[operator]
                )
                start = f"The {line.colour} line goes wrong at" if named else "At"
                assert turn.answer == f"{start} step {line.step}."
    assert found > 30


def asked_of_runs() -> list[tuple[runs.Runs, Turn]]:
    pairs = []
    for seed in SEEDS:
        rng = Random(seed)
        chart, _ = runs.draw(rng, sizes.chart(rng))
        pairs += [(chart, turn) for conversation in run_questions.ask(rng, chart, 40) for turn in conversation]
    return pairs


def called(chart: runs.Runs, text: str) -> list[charts.Line]:
    """The runs that a text names, whatever its case and joints, longer names first; in the order of the text."""
    text = plain(text)
    hits = []
    for line in sorted(chart.lines, key=lambda line: -len(line.name or "")):
        name = re.search(rf"(?<!\w){re.escape(plain(line.name or ''))}(?!\w)", text)
        if name:
            hits.append((name.start(), line))
            text = text[: name.start()] + "#" * (name.end() - name.start()) + text[name.end() :]
    return [line for _, line in sorted(hits, key=lambda hit: hit[0])]


def plain(text: str) -> str:
    return text.lower().replace("-", " ").replace("_", " ")


def test_a_named_run_is_answered_by_the_colour_of_its_line_and_by_what_that_line_does() -> None:
    kinds = set()
    for chart, turn in asked_of_runs():
        if turn.kind not in ("run wrong by name", "run does by name", "run colour"):
            continue
        line = called(chart, turn.question)[0]
        kinds.add((turn.kind, line.trend))
        if turn.kind == "run colour":
            assert turn.answer == f"{line.colour.capitalize()}.", (chart, turn)
        else:
            assert turn.answer.startswith(f"The {line.colour} line "), (chart, turn)
            assert ("step" in turn.answer) == (line.step is not None)
            assert line.step is None or re.search(rf"step {re.escape(line.step)}( |\.$)", turn.answer)
        if turn.kind == "run wrong by name":
            assert ("nothing goes wrong" in turn.answer) == (line.trend in ("down", "flat"))
    assert len(kinds) > 12


def test_of_two_runs_the_lower_one_is_called_better() -> None:
    found = 0
    for chart, turn in asked_of_runs():
        asked = re.match(
            r"is .* (better|worse|lower|higher|above|below) .*step (\S+?)\??$", turn.question, re.IGNORECASE
        )
        if turn.kind != "run better" or not asked or len(pair := called(chart, turn.question)) != 2:
            continue
        found += 1
        first, second = (chart.levels[chart.lines.index(line)][chart.steps.index(asked[2])] for line in pair)
        so = (first < second) == (asked[1].lower() in ("better", "lower", "below"))
        assert turn.answer.endswith("so yes." if so else "so no.")
        assert turn.answer.startswith(
            f"The {pair[0].colour} line is {'below' if first < second else 'above'} the {pair[1].colour}"
        )
    assert found > 60


def test_a_run_that_goes_wrong_is_lowest_at_the_step_that_is_stated() -> None:
    for seed in SEEDS:
        rng = Random(seed)
        chart, _ = runs.draw(rng, sizes.chart(rng))
        for line, levels in zip(chart.lines, chart.levels, strict=True):
            if line.trend == "wrong":
                assert chart.steps[levels.index(min(levels))] == line.step
                assert levels[0] > min(levels) + 0.15
                assert levels[-1] > min(levels) + 0.15


def test_names_of_the_exam_are_in_no_training_chart() -> None:
    rng = Random(4)
    trained = {word for _ in range(3000) for name in names.several(rng, 2) for word in plain(name).split()}
    assert not trained & names.HELD_OUT
    for _ in range(20):
        assert {word for name in names.held_out(rng, 3) for word in name.split()} <= names.HELD_OUT


def test_pages_are_valid_and_edits_change_what_was_asked() -> None:
    for seed in SEEDS:
        rng = Random(seed)
        parts, _ = sketches.draw(rng, sizes.page(rng))
        if not parts:
            continue
        for conversation in pages.ask(rng, parts):
            for turn in conversation:
                if turn.kind in ("page html", "page edit"):
                    assert turn.answer.startswith("```html\n<!doctype html>\n<title>")
                    assert turn.answer.endswith("\n```")
                    for tag in ("h1", "select", "option", "label", "button", "p"):
                        assert turn.answer.count(f"<{tag}>") + turn.answer.count(f"<{tag} ") == turn.answer.count(
                            f"</{tag}>"
                        )
            if len(conversation) > 1 and conversation[1].kind == "page edit":
                before, after = conversation[0].answer, conversation[1].answer
                assert before != after
                if "blue" in conversation[1].question:
                    assert after.count("background:blue") == before.count("<button>")


def test_held_out_words_and_questions_are_in_no_training_sample() -> None:
    for name in families.FAMILIES:
        for seed in range(60):
            sample = families.draw(Random(seed), name)
            for turn in (turn for conversation in sample.conversations for turn in conversation):
                if turn.kind in ("read", "read lines", "page html", "bar labels"):
                    assert not words.HELD_OUT & set(re.findall(r"[a-z]+", turn.answer.lower())), turn
    assert not set(talk.OUTSIDE) & set(talk.OUTSIDE_HELD_OUT)
    assert not set(talk.UNSEEN_QUESTIONS) & set(talk.UNSEEN_HELD_OUT)


@pytest.mark.parametrize("name", [*EXAM, *OTHER_PROGRAM])
def test_every_part_of_the_exam_asks_as_much_as_requested_and_the_same_each_time(name: str) -> None:
    one, two = list(samples(name, 12)), list(samples(name, 12))
    assert sum(len(conversation) for sample in one for conversation in sample.conversations) >= 12
    assert [sample.conversations for sample in one] == [sample.conversations for sample in two]


def test_a_chart_asked_for_as_a_table_is_answered_with_what_the_schema_in_the_question_allows() -> None:
    rng = Random(5)
    for _ in range(200):
        values = tuple(rng.sample(range(5, 100, 5), 3))
        bars = charts.Bars(values, ("red", "green", "blue"), rng.choice((None, ("Mon", "Tue", "Wed"))), None)
        asked = ask_table(rng, bars)
        told, _, schema = asked.question.rpartition("\n")
        assert told.endswith(SCHEMA_PROMPT)
        table = validate(asked.answer, json.loads(schema))
        (rows,) = table.values() if isinstance(table, dict) else (table,)
        names = (("red", "green", "blue"), ("Mon", "Tue", "Wed"))
        assert [tuple(row.values()) for row in rows] in [list(zip(some, values, strict=True)) for some in names]
