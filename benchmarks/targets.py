"""What this project wants of its speed and memory, as ratios, and what a report says of each. Measures nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import ENTRIES

Report = Mapping[str, Any]
FIVE, TEN, PAGES = "five questions", "ten turns", "thirty pages"
LOADING = (("load", "reading the file"), ("from the disk to the first token", "reading the file from the disk"))


@dataclass(frozen=True, slots=True)
class Target:
    """A ratio that is to be at least, or `at_most`, the wanted one."""

    number: int
    what: str
    wanted: float
    measured: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


def main_model(report: Report) -> Report:
    """The model that the targets are measured on: the first that is not the demo, if there is one."""
    models = report["models"]
    found: Report = next((model for model in models if model["checkpoint"] != "demo"), models[0])
    return found


def targets(report: Report) -> list[Target]:
    """Those that the report has measured."""
    model = main_model(report)
    found = [*_decoding(model), *_first_tokens(model), *_memory(model), *_loading(report, model)]
    found += [
        Target(6, f"an edit with guesses ÷ without, same tokens ({each['name']})", 2.0, each["edit"]["ratio"])
        for each in report["models"]
        if "edit" in each
    ]
    if batch := model.get("batches", {}).get("pixtral"):
        found.append(Target(7, "eight answers at a time ÷ one, tokens/s", 4.0, batch["8"] / batch["1"]))
    return sorted(found, key=lambda target: target.number)


def peers_of(programs: Mapping[str, Any], precision: str) -> dict[str, Any]:
    """The other programs' rows in that precision."""
    names = {entry.name for entry in ENTRIES if entry.peer != "pixtral" and entry.precision == precision}
    return {name: row for name, row in programs.items() if name in names}


def of_one_length(ours: Mapping[str, Any], peers: Mapping[str, Any]) -> dict[str, Any]:
    """The peers whose first prompt is as long as ours: one that shrinks a picture reads less of it, sooner."""
    length = ours["prompt"][0]
    return {name: row for name, row in peers.items() if abs(row["prompt"][0] - length) <= length / 50}


def decode_bytes(model: Report, row: Mapping[str, Any]) -> float:
    """What one decoded token must read: the weights, and the KV cache as it is halfway through the conversation."""
    return float(row["step"] + model["kv"] * row["prompt"][len(row["prompt"]) // 2])


def decode_limit(model: Report, row: Mapping[str, Any]) -> float:
    """Tokens a second at which memory is read all the time."""
    return float(model["limits"]["read"] / decode_bytes(model, row))


def prefill_share(model: Report) -> float:
    """The rate at which thirty pages are read, as a part of the matrix rate."""
    row = model[PAGES]["pixtral"]
    return float(model["operations"] / row["ttft"][0] / model["limits"]["matrix"])


def _decoding(model: Report) -> Iterator[Target]:
    programs = model.get(FIVE, {})
    for precision in ("bf16", "8bit", "4bit"):
        if row := programs.get("pixtral" if precision == "bf16" else f"pixtral {precision}"):
            yield Target(1, f"decode, {precision} ÷ what memory allows", 0.9, row["decode"] / decode_limit(model, row))
            if rates := model.get("llama-bench", {}).get(precision):
                yield Target(1, f"decode, {precision} ÷ llama-bench's", 1.1, row["decode"] / rates["decode"])
            if peers := peers_of(programs, precision):
                name, best = max(peers.items(), key=lambda peer: peer[1]["decode"])
                yield Target(
                    1, f"decode, {precision} ÷ the fastest peer's ({name})", 1.0, row["decode"] / best["decode"]
                )


def _first_tokens(model: Report) -> Iterator[Target]:
    for talk in (FIVE, "large picture", PAGES):
        ours = model.get(talk, {}).get("pixtral")
        if ours and (peers := of_one_length(ours, peers_of(model.get(talk, {}), "bf16"))):
            name, best = min(peers.items(), key=lambda peer: peer[1]["ttft"][0])
            yield Target(2, f"{talk}: TTFT of the fastest peer ({name}) ÷ ours", 1.0, best["ttft"][0] / ours["ttft"][0])
    if "pixtral" in model.get(PAGES, {}):
        yield Target(2, "prefill of thirty pages ÷ the matrix rate (wanted on a GPU)", 0.6, prefill_share(model))
    if "follow-ups" in model:
        what = "TTFT of a follow-up ÷ computing its new tokens alone"
        yield Target(3, what, 1.15, model["follow-ups"]["ratio"], at_most=True)
    ten = model.get(TEN, {})
    if {"pixtral", "mistral_inference"} <= ten.keys():
        ratio = ten["mistral_inference"]["ttft"][-1] / ten["pixtral"]["ttft"][-1]
        yield Target(3, "turn 10: TTFT of mistral_inference ÷ ours", 10.0, ratio)


def _memory(model: Report) -> Iterator[Target]:
    for name, row in model.get(FIVE, {}).items():
        if "weights" in row and "system" not in name:
            needed = row["weights"] + model["kv"] * (row["prompt"][-1] + row["tokens"][-1])
            what = f"peak memory of {name}, less Python's and torch's own, ÷ weights and KV cache"
            yield Target(4, what, 1.1, (row["memory"] - row["imports"]) / needed, at_most=True)


def _loading(report: Report, model: Report) -> Iterator[Target]:
    if load := model.get("loading"):
        for ours, alone in LOADING:
            yield Target(5, f"{ours} ÷ {alone}", 1.3, load[ours] / load[alone], at_most=True)
    if start := report.get("startup"):
        ratio = start["pixtral ask (demo)"] / start["python -c 'import torch'"]
        yield Target(5, "`pixtral ask` on the demo, whole process ÷ `import torch`", 2.0, ratio, at_most=True)
