"""The conversation every program is given: one picture, then questions about it. Knows no program."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

QUESTIONS = (
    "What is in the image?",
    "Which of the shapes is the largest, and where does it stand?",
    "Count the shapes and name their colours from left to right.",
    "Describe the background in a few words.",
    "Write a short poem about the picture.",
)


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds and counts of one answer. `ttft` is from the question to the first token."""

    ttft: float
    decode: float
    tokens: int
    prompt_tokens: int

    @property
    def rate(self) -> float:
        return (self.tokens - 1) / self.decode if self.decode > 0 else 0.0


@dataclass
class Result:
    """What one process of one program measured. Memory in bytes, the process's peak."""

    program: str
    load: float
    turns: list[Turn] = field(default_factory=list)
    peak_memory: int = 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def picture(side: int) -> Image.Image:
    """A square picture of a few shapes, `side` pixels a side."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    unit = side // 8
    draw.ellipse((unit, unit, 3 * unit, 3 * unit), fill="crimson")
    draw.rectangle((4 * unit, 2 * unit, 7 * unit, 5 * unit), fill="royalblue")
    draw.polygon(((2 * unit, 7 * unit), (4 * unit, 7 * unit), (3 * unit, 5 * unit)), fill="seagreen")
    return image


def peak_memory() -> int:
    """This process's peak resident memory in bytes: its own, where the system tells it apart from its parent's."""
    import resource
    import sys

    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
