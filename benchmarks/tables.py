"""The report as Markdown: what `make bench` prints and what the README holds between its markers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- bench: written by `make docs` -->", "<!-- /bench -->"


def render(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    parts = [f"Measured on: {machine.line(report['machine'])}", _table(_startup(report["startup"]))]
    for model in report["models"]:
        parts += [_caption(model), _table(_conversation(model["programs"]))]
        if "ten turns" in model:  # a report from before has none
            parts += [_TEN_TURNS.format(**model), _table(_turns(model["ten turns"]))]
        if "batches" in model:
            parts += [_batches_caption(model), _table(_batches(model["batches"]))]
    return "\n\n".join(parts)


def write_readme(report: Mapping[str, Any], readme: Path = README) -> None:
    """Replace what stands between the README's markers."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{render(report)}\n{END}{after}", encoding="utf-8")


_TEN_TURNS = "{name}: TTFT in ms, turn by turn, of a conversation with pictures of {side}×{side} in turns 1, 4 and 7"


def _turns(programs: Mapping[str, Sequence[float]]) -> Iterator[list[str]]:
    yield ["program", *map(str, range(1, 1 + max(map(len, programs.values()))))]
    for name, seconds in programs.items():
        yield [name, *(f"{each * 1000:.0f}" for each in seconds)]


def _batches_caption(model: Mapping[str, Any]) -> str:
    found = model["batches"]["pixtral"]
    limit = found["read"] / found["bytes"]
    return (
        f"{model['name']}, bf16: questions answered at a time, tokens a second together (and times one); memory was read "
        f"at {found['read'] / 1e9:.0f} GB/s, which allows one answer {limit:.0f} tokens a second"
    )


def _batches(programs: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    sizes = [name for name in next(iter(programs.values())) if name.isdigit()]
    yield ["program", *sizes]
    for name, found in programs.items():
        yield [
            {"vllm": "vLLM"}.get(name, name),
            *(f"{found[size]:.1f} ({found[size] / found['1']:.2f}×)" for size in sizes),
        ]


def _startup(times: Mapping[str, float]) -> Iterator[list[str]]:
    yield ["whole process", "median ms"]
    for name, seconds in times.items():
        yield [f"`{name}`", f"{seconds * 1000:.0f}"]


def _conversation(programs: Mapping[str, Mapping[str, float]]) -> Iterator[list[str]]:
    yield ["program", "load s", "TTFT turn 1 ms", "TTFT turn 5 ms", "decode tokens/s", "peak memory MB"]
    for name, row in programs.items():
        yield [
            name, f"{row['load']:.2f}", f"{row['ttft 1'] * 1000:.0f}", f"{row['ttft 5'] * 1000:.0f}",
            f"{row['decode']:.1f}", f"{row['memory'] / 1e6:.0f}",
        ]  # fmt: skip


def _caption(model: Mapping[str, Any]) -> str:
    first = next(iter(model["programs"].values()))
    return (
        f"{model['name']}, bf16, CPU: one {model['side']}×{model['side']} picture and five questions; "
        f"{first['prompt 1']:.0f} prompt tokens in turn 1, {first['prompt 5']:.0f} in turn 5"
    )


def _table(rows: Iterator[list[str]]) -> str:
    head, *body = rows
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])
