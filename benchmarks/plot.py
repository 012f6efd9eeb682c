"""The report as a picture: decoding, and the time to the first token, program by program."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.targets import FIVE, decode_limit, main_model

OURS, OTHERS, LATER = "#fa520f", "#9aa3ad", "#d5dae0"


def draw(report: Mapping[str, Any], file: Path) -> None:
    """Write an SVG that is the same for the same report."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    model = main_model(report)
    programs: Mapping[str, Any] = model[FIVE]
    with pyplot.rc_context({"svg.hashsalt": "pixtral", "svg.fonttype": "none", "font.size": 9}):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 0.6 + 0.36 * len(programs)), layout="constrained")
        _bars(left, programs, [row["decode"] for row in programs.values()], "{:.0f}")
        if "pixtral" in programs:
            limit = decode_limit(model, programs["pixtral"])
            left.axvline(limit, color="black", linewidth=0.8, linestyle=":")
            left.annotate(
                "what memory allows in bf16", (limit, 1.01), xycoords=("data", "axes fraction"), ha="center", fontsize=7
            )
        left.set_xlabel("decode, tokens a second (more is better)")
        _bars(right, programs, [row["ttft"][0] * 1000 for row in programs.values()], "{:.0f}")
        right.barh(
            range(len(programs)), [row["ttft"][-1] * 1000 for row in programs.values()], color=LATER, height=0.25
        )
        right.set_xlabel("TTFT in ms: a picture and a question; pale, the last follow-up (less is better)")
        right.set_yticks([])
        file.parent.mkdir(exist_ok=True)
        figure.savefig(file, format="svg", metadata={"Date": None})
        pyplot.close(figure)


def _bars(axes: Any, programs: Mapping[str, Any], values: Sequence[float], form: str) -> None:
    places = range(len(programs))
    bars = axes.barh(places, values, color=[OURS if name.startswith("pixtral") else OTHERS for name in programs])
    axes.bar_label(bars, [form.format(value) for value in values], padding=3, fontsize=8)
    axes.set_yticks(places, programs)
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
