"""The results of a run as numbers and plain-text tables. The HTML page is in `report_html`."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixtral_cli.errors import UsageError
from pixtral_cli.evals.run_folder import Record, Run
from pixtral_cli.evals.runner import EvalProgress, scores_by_question
from pixtral_cli.evals.scoring import intervals
from pixtral_cli.evals.scoring.intervals import ClusteredScore, Difference, Interval
from pixtral_cli.evals.task import Task
from pixtral_cli.util.durations import format_clock

METRIC_TITLES = {
    "explicit_relaxed": "relaxed correctness, explicit prompt",
    "anywhere_relaxed": "relaxed correctness, anywhere in the answer",
    "vqa_match": "VQA match", "anls": "ANLS", "judge": "judge's rating", "macro": "judge's rating, mean of groups",
    "exact": "exact match", "explicit_exact": "exact match, explicit prompt", "multiple_choice": "multiple choice",
    "mathematics": "same value", "pass_at_1": "pass@1",
    "stated": "right answers", "prompt_strict": "all instructions followed, strict",
    "instruction_strict": "instructions followed, strict", "prompt_loose": "all instructions followed, loose",
    "instruction_loose": "instructions followed, loose",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of a run. `groups`: each group's mean and number of questions; `seconds`: time of answering."""

    metrics: Mapping[str, Interval]
    groups: Mapping[str, tuple[float, int]]
    questions: int
    rows: int
    failed: int
    seconds: float


def summarize(task: Task, records: Sequence[Record]) -> Summary:
    """The summary of a run's records; groups are scored by the first metric."""
    metrics = {}
    for metric in task.metrics:
        if scores := list(scores_by_question(records, metric).values()):
            metrics[metric] = intervals.bootstrap(scores)
    groups = _group_means(task, records)
    if not task.percent and groups:
        macro = math.fsum(mean for mean, _ in groups.values()) / len(groups)
        metrics["macro"] = Interval(macro, macro, macro)
    rows = {record["row"] for record in records}
    failed = sum(1 for record in records if record["error"])
    return Summary(metrics, groups, len(records), len(rows), failed, math.fsum(record["seconds"] for record in records))


def _group_means(task: Task, records: Sequence[Record]) -> dict[str, tuple[float, int]]:
    """Each group's mean of the first metric, and its number of questions."""
    names = sorted({name for record in records for name in record["groups"]})
    groups = {}
    for name in names:
        members = list(
            scores_by_question([record for record in records if name in record["groups"]], task.metrics[0]).values()
        )
        if members:
            groups[name] = (intervals.mean(members), len(members))
    return groups


def format_score(task: Task, value: float) -> str:
    """A score as percent, or a judge's rating as points."""
    return _format(value, percent=task.percent)


def _format(value: float, *, percent: bool) -> str:
    return f"{100 * value:.1f}" if percent else f"{value:.2f}"


def run_table(task: Task, run: Run, records: Sequence[Record]) -> str:
    """The table of one run: every metric with its interval, the published scores, and the groups."""
    total = summarize(task, records)
    lines = [
        heading(task, run),
        f"{total.questions} questions, {total.seconds:.0f} s of answering{unfinished_text(run, total.rows)}",
        "",
    ]
    for metric, interval in total.metrics.items():
        lines.append(f"{METRIC_TITLES.get(metric, metric):45} {_format_interval(task, interval)}")
    for who, score in task.published.items():
        lines.append(f"{who + ', Pixtral 12B':45} {format_score(task, score):>6}")
    if total.failed:
        lines.append(f"{'failed':45} {total.failed:6}  (the same command asks them again)")
    if total.groups:
        lines += [
            "",
            *(f"  {name:43} {format_score(task, mean):>6}  of {count}" for name, (mean, count) in total.groups.items()),
        ]
    return "\n".join(lines)


def progress_text(task: Task, progress: EvalProgress) -> str:
    """The progress line."""
    parts = [f"{progress.done} of {progress.total} rows"]
    if progress.score:
        half_width = (progress.score.high - progress.score.low) / 2
        margin = f" ± {format_score(task, half_width)}" if half_width else ""
        parts.append(
            f"{METRIC_TITLES.get(task.metrics[0], task.metrics[0])} {format_score(task, progress.score.mean)}{margin}"
        )
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.left is not None and progress.done < progress.total:
        parts.append(f"{format_clock(progress.left)} left")
    return " · ".join(parts)


def stopped_text(progress: EvalProgress) -> str:
    """The note when a run is stopped."""
    return f"Stopped after {progress.done:,} of {progress.total:,} rows. The same command goes on from there"


def unfinished_text(run: Run, rows: int) -> str:
    """The remark that only `rows` rows of a run are done; "" for a complete run."""
    return _unfinished(rows, run.rows)


def _unfinished(rows: int, of: int) -> str:
    return f"; unfinished: {rows:,} of {of:,} rows" if rows < of else ""


def changed_versions(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    """The note about versions that have changed since a run was last continued; "" without any."""
    old, new = _flatten(recorded), _flatten(current)
    differing = [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    listed = ", ".join(f"{name} {old.get(name, 'none')} → {new.get(name, 'none')}" for name in differing)
    return f"Not as when this run was begun: {listed}" if listed else ""


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The values of nested tables as text, by dotted path."""
    flat: dict[str, str] = {}
    for name, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return flat


def heading(task: Task, run: Run) -> str:
    """The title of a run: task, model, prompts and subset."""
    about = run.about
    prompts = ", published prompts" if about.get("prompts", {}).get("source") == "mistral-evals" else ""
    subset = f", {about['limit']} rows" if about.get("limit") else ""
    return f"{task.title}: {about['model']['name']}{prompts}{subset}"


def _format_interval(task: Task, interval: Interval) -> str:
    if interval.low == interval.high:
        return f"{format_score(task, interval.mean):>6}"
    return f"{format_score(task, interval.mean):>6}  [{format_score(task, interval.low)}, {format_score(task, interval.high)}]"


@dataclass(frozen=True, slots=True)
class RunComparison:
    """A run compared with the first; `difference` is None for the first itself."""

    name: str
    interval: Interval
    difference: Difference | None


def compare_runs(task: Task, runs: Sequence[Run]) -> list[RunComparison]:
    """The first metric of each run, compared with the first run. Raises UsageError when they share no question."""
    scores: list[dict[str, ClusteredScore]] = [scores_by_question(run.records(), task.metrics[0]) for run in runs]
    comparisons = []
    for run, run_scores in zip(runs, scores, strict=True):
        if not run_scores:
            raise UsageError(f"{run.folder.name} has no score yet", "Run it first")
        difference = None if run_scores is scores[0] else intervals.compare_scores(scores[0], run_scores)
        if difference and not difference.questions:
            raise UsageError(
                f"{run.folder.name} shares no question with {runs[0].folder.name}", "Compare runs of the same rows"
            )
        comparisons.append(RunComparison(run.folder.name, intervals.bootstrap(list(run_scores.values())), difference))
    return comparisons


def comparison_table(task: Task, runs: Sequence[Run]) -> str:
    """The comparison as a table, then published scores with the runs whose interval does not contain them."""
    comparisons = compare_runs(task, runs)
    width = max(len(comparison.name) for comparison in comparisons)
    lines = [f"{task.title}: {METRIC_TITLES.get(task.metrics[0], task.metrics[0])}", ""]
    lines += [
        f"{comparison.name:{width}}  {_format_interval(task, comparison.interval):24}{_format_difference(task, comparison.difference)}".rstrip()
        for comparison in comparisons
    ]
    for who, score in task.published.items():
        outside = [
            comparison.name
            for comparison in comparisons
            if not comparison.interval.low <= score <= comparison.interval.high
        ]
        note = f"  outside the interval of {', '.join(outside)}" if outside else "  inside every interval"
        lines.append(f"{who:{width}}  {format_score(task, score):>6}{note}")
    return "\n".join([*lines, *_differing_settings(runs)])


def _differing_settings(runs: Sequence[Run]) -> list[str]:
    """The lines about settings in which the runs differ; none if they do not."""
    tables = [_flatten(run.about) for run in runs]
    names = dict.fromkeys(name for table in tables for name in table)
    differing = [name for name in names if len({table.get(name) for table in tables}) > 1]
    lines = [f"  {name:24} {'  |  '.join(table.get(name, '–')[:60] for table in tables)}" for name in differing]
    return ["", "What differs:", *lines] if lines else []


def _format_difference(task: Task, difference: Difference | None) -> str:
    if difference is None:
        return ""
    delta = difference.delta
    span = f"[{_format_signed(task, delta.low)}, {_format_signed(task, delta.high)}]"
    p = "p < 0.001" if difference.p < 0.001 else f"p = {difference.p:.3f}"
    return f"{_format_signed(task, delta.mean)} {span}, {p} ({difference.test}, {difference.questions} questions)"


def _format_signed(task: Task, value: float) -> str:
    text = format_score(task, value)
    return text if text.startswith("-") else f"+{text}"


def main_result(task: Task, run: Run) -> dict[str, Any]:
    """The first metric of a run, its mean `score` (None without answers), the questions, and the rows that are done.

    A score is a number from 0 to 1 where `percent`, else a judge's rating in points.
    """
    records = run.records()
    scores = list(scores_by_question(records, task.metrics[0]).values())
    return {
        "metric": task.metrics[0], "score": intervals.mean(scores) if scores else None, "percent": task.percent,
        "questions": len(records), "rows": len({record["row"] for record in records}), "rows_in_all": run.rows,
    }  # fmt: skip


def format_result(result: Mapping[str, Any]) -> str:
    """A result of `main_result` on one line."""
    score = result["score"]
    mean = "–" if score is None else _format(score, percent=result["percent"])
    return f"{mean:>6}  {result['questions']} questions{_unfinished(result['rows'], result['rows_in_all'])}"
