"""The report as Markdown: what `make bench` prints, and what docs/benchmarks.md holds between its markers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.targets import FIVE, LOADING, PAGES, TEN, decode_limit, targets

HOME = Path(__file__).parent.parent
DOCUMENT = HOME / "docs" / "benchmarks.md"
PLOT = Path(__file__).parent / "results" / "overview.svg"
BEGIN, END = "<!-- bench: written by `make docs` -->", "<!-- /bench -->"
NONE = "–"
ONE_PICTURE = "one picture"

Report = Mapping[str, Any]
Rows = Iterator[Sequence[str]]


def render(report: Report, *others: Report) -> str:
    """The whole report as Markdown, and of others the models that it lacks."""
    parts = [
        _measured(report),
        *_absent(report["absent"]),
        _table(_targets(report)),
        _table(_startup(report["startup"])),
    ]
    for model in report["models"]:
        parts += _model(model)
    names = {model["name"] for model in report["models"]}
    for other in others:
        if more := [model for model in other["models"] if model["name"] not in names]:
            parts += [f"In a run of its own. {_measured(other)}", *_absent(other["absent"])]
            parts += [part for model in more for part in _model(model)]
            names |= {model["name"] for model in more}
    return "\n\n".join(parts)


def _measured(report: Report) -> str:
    rounds = report["rounds"]
    medians = f"medians of {rounds} interleaved rounds" if rounds > 1 else "one round"
    return f"Measured on: {machine.line(report['machine'])}; {medians}"


def write_document(report: Report, *others: Report, document: Path = DOCUMENT) -> None:
    """Replace what stands between the markers of docs/benchmarks.md."""
    before, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    plot = f"![Decoding and time to the first token, program by program](../{PLOT.relative_to(HOME)})"
    document.write_text(f"{before}{BEGIN}\n{plot}\n\n{render(report, *others)}\n{END}{after}", encoding="utf-8")


def _absent(absent: Mapping[str, str]) -> Iterator[str]:
    if absent:
        yield "Left out: " + "; ".join(f"{name} ({reason})" for name, reason in absent.items())


def _targets(report: Report) -> Rows:
    yield ["target", "wanted", "measured", ""]
    for each in targets(report):
        sign = "≤" if each.at_most else "≥"
        met = "met" if each.met else "not met"
        yield [f"{each.number}. {each.what}", f"{sign} {each.wanted:g}", f"{each.measured:.2f}", met]


def _startup(times: Mapping[str, float]) -> Rows:
    yield ["whole process", "median ms"]
    for name, seconds in times.items():
        yield [f"`{name}`", _ms(seconds)]


def _model(model: Report) -> Iterator[str]:
    for talk in (FIVE, ONE_PICTURE, "short prompt"):
        if model.get(talk):
            yield _caption(model, talk)
            yield _table(_conversation(model, talk))
    if TEN in model:
        yield f"{model['name']}: TTFT in ms, turn by turn, with pictures of {model['side']}×{model['side']} in turns 1, 4 and 7"
        yield _table(_turns(model[TEN]))
    if "batches" in model:
        yield f"{model['name']}, bf16: questions answered at a time, tokens a second together (and times one)"
        yield _table(_batches(model["batches"]))
    if {"follow-ups", "edit", "schema", "parallel answers", "loading"} & model.keys():
        yield f"{model['name']}, bf16: this program beside itself"
        yield _table(_beside(model))


def _caption(model: Report, talk: str) -> str:
    prompt = next(iter(model[talk].values()))["prompt"]
    if talk == ONE_PICTURE:
        questions, tokens = "one question", f"{prompt[0]} prompt tokens"
    elif len(prompt) == 1:
        return f"{model['name']}, CPU: a prompt of {prompt[0]} tokens"
    else:
        questions, tokens = f"{len(prompt)} questions", f"{prompt[0]} prompt tokens in turn 1, {prompt[-1]} in the last"
    limits = model["limits"]
    return (
        f"{model['name']}, CPU: one {model['side']}×{model['side']} picture and {questions}; {tokens}. Memory was read at {limits['read'] / 1e9:.1f} GB/s, matrices multiplied at "
        f"{limits['matrix'] / 1e9:.0f} GFLOP/s"
    )


def _conversation(model: Report, talk: str) -> Rows:
    """A row a program; of ours also how much of what memory allows its decoding reaches."""
    extra = {"large picture": "TTFT 1024² picture s", PAGES: "TTFT 30 pages s"}
    shown = [other for other in extra if other in model]
    yield [
        "program", "load s", "start to first token s", "TTFT turn 1 ms", "TTFT last turn ms", "decode tokens/s",
        "of memory's limit", *(extra[other] for other in shown), "peak memory MB",
    ]  # fmt: skip
    for name, row in model[talk].items():
        share = f"{row['decode'] / decode_limit(model, row):.0%}" if "step" in row else NONE
        others = [model[other].get(name, {}).get("ttft", [None])[0] for other in shown]
        yield [
            name, f"{row['load']:.2f}", f"{row['load'] + row['ttft'][0]:.2f}", _ms(row["ttft"][0]), _ms(row["ttft"][-1]),
            f"{row['decode']:.1f}", share, *(NONE if seconds is None else f"{seconds:.1f}" for seconds in others),
            f"{row['memory'] / 1e6:.0f}" if "memory" in row else NONE,
        ]  # fmt: skip


def _turns(programs: Mapping[str, Any]) -> Rows:
    yield ["program", *map(str, range(1, 11))]
    for name, row in programs.items():
        yield [name, *(_ms(seconds) for seconds in row["ttft"])]


def _batches(programs: Mapping[str, Mapping[str, float]]) -> Rows:
    yield ["program", *next(iter(programs.values()))]
    for name, found in programs.items():
        yield [name, *(f"{rate:.1f} ({rate / found['1']:.2f}×)" for rate in found.values())]


def _beside(model: Report) -> Rows:
    yield ["", "this", "that", "ratio"]
    if follow := model.get("follow-ups"):
        yield _pair("TTFT of a follow-up; computing its new tokens alone, ms", follow, "ttft", "alone")
    if edit := model.get("edit"):
        what = f"an edit of {edit['tokens']:.0f} tokens: decoded plainly; with guesses from the conversation, ms"
        yield _pair(what, edit, "without", "with")
    if schema := model.get("schema"):
        rates = [f"{schema[way]:.1f}" for way in ("schema", "plain")]
        yield ["decoding under a JSON schema; freely, tokens/s", *rates, f"{schema['ratio']:.2f}"]
    if answers := model.get("parallel answers"):
        for what, many, one in (
            ("eight answers to one question; one", "choices", "one"),
            ("eight conversations that call a tool; one", "calls", "one call"),
        ):
            ratio = answers[many] / answers[one]
            yield [f"{what}, tokens/s", f"{answers[many]:.1f}", f"{answers[one]:.1f}", f"{ratio:.2f}"]
    if load := model.get("loading"):
        for ours, alone in LOADING:
            yield _pair(f"{ours}; {alone}, ms", load | {"ratio": load[ours] / load[alone]}, ours, alone)


def _pair(what: str, found: Mapping[str, float], this: str, that: str) -> list[str]:
    return [what, _ms(found[this]), _ms(found[that]), f"{found['ratio']:.2f}"]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}" if seconds >= 0.01 else f"{seconds * 1000:.1f}"


def _table(rows: Rows) -> str:
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])
