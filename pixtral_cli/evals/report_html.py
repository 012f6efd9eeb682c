"""A run as one HTML file with its images, without scripts or requests; lowest scores first. All text is escaped."""

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

from pixtral_cli.evals import report
from pixtral_cli.evals.run_folder import Record, Run
from pixtral_cli.evals.task import Task
from pixtral_cli.util.sanitize import clean

MAX_QUESTIONS = 500
PAGE_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ground: #faf9f7; --ink: #1f1d1a; --faint: #6d675e; --line: #e2ddd4; --card: #fff;
  --bad: #b42318; --good: #18794e; --half: #9a6700 }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #191816; --ink: #ece8e1; --faint: #a29b8f; --line: #38342e;
  --card: #22201d; --bad: #ff8a7a; --good: #5bd6a0; --half: #e5b84b }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; max-width: 60rem; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere }}
h1 {{ font-size: 1.5rem; margin: 0 0 1rem }}
pre {{ white-space: pre-wrap; font: inherit; margin: 0 }}
table {{ border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }}
td, th {{ border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left }}
td + td {{ white-space: nowrap }}
td.n {{ text-align: right }}
.faint, summary {{ color: var(--faint); font-size: .85rem }}
article {{ background: var(--card); border: 1px solid var(--line); border-left: .35rem solid var(--bad); border-radius: .5rem;
  padding: 1rem; margin: 1rem 0; display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 2fr); gap: 1rem }}
article.good {{ border-left-color: var(--good) }}
article.half {{ border-left-color: var(--half) }}
article.text {{ grid-template-columns: minmax(0, 1fr) }}
@media (max-width: 40rem) {{ article {{ grid-template-columns: minmax(0, 1fr) }} }}
img {{ display: block; max-width: 100%; border-radius: .3rem; margin-bottom: .5rem; background: #fff }}
dl {{ margin: 0 }}
dt {{ color: var(--faint); font-size: .85rem; margin-top: .5rem }}
dd {{ margin: 0 }}
</style>
</head>
<body>
"""


def render_html(task: Task, run: Run, records: Sequence[Record], *, most: int = MAX_QUESTIONS) -> str:
    """The page with at most `most` questions, lowest scores first, then in the order of rows."""
    listed = sorted(records, key=lambda record: (_score(task, record), record["row"], record["place"]))
    pieces = [
        PAGE_HEAD.format(title=escape(report.heading(task, run))),
        f"<h1>{escape(report.heading(task, run))}</h1>",
    ]
    pieces += [_scores_table(task, run, records), _settings_section(run)]
    if len(listed) > most:
        pieces.append(
            f'<p class="faint">The {most} lowest scores of {len(listed)} questions; all are in answers.jsonl.</p>'
        )
    pieces += [_question_article(task, run, record) for record in listed[:most]]
    return clean("\n".join([*pieces, "</body>", "</html>", ""]))


def _score(task: Task, record: Record) -> float:
    return float(record["scores"].get(task.metrics[0], -1.0))


def _scores_table(task: Task, run: Run, records: Sequence[Record]) -> str:
    total = report.summarize(task, records)
    rows = []
    for metric, interval in total.metrics.items():
        span = (
            f"{report.format_score(task, interval.low)} – {report.format_score(task, interval.high)}"
            if interval.low < interval.high
            else ""
        )
        rows.append((report.METRIC_TITLES.get(metric, metric), report.format_score(task, interval.mean), span))
    rows += [
        (f"{who}, Pixtral 12B", report.format_score(task, score), "published") for who, score in task.published.items()
    ]
    rows += [(name, report.format_score(task, mean), f"of {count}") for name, (mean, count) in total.groups.items()]
    rows += [("failed", str(total.failed), "")] if total.failed else []
    rows += [("rows so far", str(total.rows), f"of {run.rows}")] if total.rows < run.rows else []
    cells = "".join(
        f"<tr><td>{escape(a)}</td><td class=n>{escape(b)}</td><td>{escape(c)}</td></tr>" for a, b, c in rows
    )
    return f"<table>{cells}</table>"


def _settings_section(run: Run) -> str:
    import json

    settings = json.dumps({"about": run.about, "versions": run.versions}, indent=1, ensure_ascii=False)
    return f"<details><summary>What was run</summary><pre>{escape(settings)}</pre></details>"


def _question_article(task: Task, run: Run, record: Record) -> str:
    best = task.judged.highest if task.judged else 1.0
    score = _score(task, record)
    kind = "good" if score >= best else "half" if score > 0 and not record["error"] else ""
    pictures = "".join(_image_html(run, part) for message in record["messages"] for part in message["parts"] if part)
    verdicts = ", ".join(
        f"{report.METRIC_TITLES.get(name, name)} {report.format_score(task, value)}"
        for name, value in record["scores"].items()
    )
    facts = [
        ("Question", _conversation_text(record)),
        *_answer_fields(record),
        ("Reference", "\n".join(dict.fromkeys(record["references"]))),
        ("Verdict", "\n".join(filter(None, (record["error"], verdicts, record["verdict"])))),
    ]
    body = "".join(
        f"<dt>{name}</dt><dd><pre>{escape(text)}</pre></dd>" for name, text in facts if text or name != "Reference"
    )
    title = f'<div class="faint">{escape(" · ".join([record["key"], *record["groups"]]))}</div>'
    text = "" if pictures else "text"
    return f'<article class="{kind} {text}">{f"<div>{pictures}</div>" if pictures else ""}<div>{title}<dl>{body}</dl></div></article>'


def _conversation_text(record: Record) -> str:
    """The messages of a question as text, with roles if there are several."""
    turns = [(message["role"], _message_text(message)) for message in record["messages"]]
    return turns[0][1] if len(turns) == 1 else "\n\n".join(f"{role}: {text}" for role, text in turns)


def _message_text(message: dict[str, Any]) -> str:
    return "".join(part if isinstance(part, str) else "[image] " for part in message["parts"]).strip()


def _answer_fields(record: Record) -> list[tuple[str, str]]:
    """The answers, and the follow-up questions between them, as titles and texts."""
    pairs: list[tuple[str, str]] = []
    for index, answer in enumerate(record["answers"]):
        pairs += [("Follow-up", record["follow_ups"][index - 1])] if index else []
        pairs.append(("Answer", answer))
    return pairs


def _image_html(run: Run, part: Any) -> str:
    """The `img` element of an image's copy; "" for a part that is text."""
    if isinstance(part, str):
        return ""
    file = run.image_file(part["image"])
    width, height = part["size"]
    name = f"{escape(part['name'])}, {width}×{height}"
    if not file.exists():
        return f'<p class="faint">{name}: there is no copy of it</p>'
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return f'<img src="data:image/webp;base64,{data}" alt="{name}" title="{name}">'
