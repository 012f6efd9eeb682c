"""The conversation that every program has, and the measurements of its answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

COLOURS = ("crimson", "royalblue", "seagreen", "orange", "purple", "teal", "saddlebrown")
COMMON = (
    "the of and to a in that it was for on are with as at be this from have or by one had not but what all were when we "
    "there can an your which their said if do will each about how up out them then she many some so these would other "
    "into has more her two like him see time could no make than first been its who now people my made over did down only "
    "way find use may water long little very after words called just where most know"
)
PAGE, PAGES = 300, 30  # words of a page, pages


@dataclass(frozen=True, slots=True)
class Ask:
    """One turn: what is asked, and the number of the picture it brings."""

    text: str
    picture: int | None = None


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation: its turns for the nth time it is held, tokens an answer may take, and the positions it needs.

    `side` is that of its pictures where no setting chooses it; a `long` one is held in bf16 alone, by the slowest once.
    """

    asks: Callable[[int], Sequence[Ask]]
    tokens: int
    context: int = 4096
    side: int | None = None
    long: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds and counts of one answer. `ttft` is from the question to the first token, `decode` from there to the last."""

    ttft: float
    decode: float
    tokens: int
    prompt_tokens: int
    cached: int = 0  # of the prompt's, those that were not computed again

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (self.tokens - 1) / self.decode if self.decode > 0 else 0.0


def five_questions(time: int) -> Sequence[Ask]:
    return (
        Ask("What is in the image?", time),
        Ask("Which of the shapes is the largest, and where does it stand?"),
        Ask("Count the shapes and name their colours from left to right."),
        Ask("Describe the background in a few words."),
        Ask("Write a short poem about the picture."),
    )


def ten_turns(time: int) -> Sequence[Ask]:
    return (
        Ask("What is in the image?", 3 * time),
        Ask("How many shapes are there?"),
        Ask("Which of them is the largest?"),
        Ask("And what is in this one?", 3 * time + 1),
        Ask("Which of the two has more shapes?"),
        Ask("What color is the circle in the first image?"),
        Ask("Here is another. What is in it?", 3 * time + 2),
        Ask("How do the three differ?"),
        Ask("Which shape is in all of them?"),
        Ask("Write a short poem about them."),
    )


def thirty_pages(time: int) -> Sequence[Ask]:
    """Pages of plain words, others every time, and a question about them."""
    draw = Random(time)
    text = "\n\n".join(" ".join(draw.choices(COMMON.split(), k=PAGE)) for _ in range(PAGES))
    return (Ask(f"{text}\n\nWhat are these pages about?"),)


def large_picture(time: int) -> Sequence[Ask]:
    return (Ask("What is in the image?", time),)


def short_prompt(time: int) -> Sequence[Ask]:
    return (Ask(f"Tell me story number {time}."),)


TALKS = {
    "five questions": Talk(five_questions, 32),
    "large picture": Talk(large_picture, 16, context=8192, side=1024, long=True),
    "one picture": Talk(large_picture, 16, context=8192, side=1024),
    "ten turns": Talk(ten_turns, 16, long=True),
    "thirty pages": Talk(thirty_pages, 16, context=20480, long=True),
    "short prompt": Talk(short_prompt, 32, context=512),
}


def picture(side: int, number: int) -> Image.Image:
    """A square picture of a few shapes, `side` pixels a side; each number another."""
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    unit = side // 8
    first, second, third = (COLOURS[(number + index) % len(COLOURS)] for index in range(3))
    draw.ellipse((unit, unit, 3 * unit, 3 * unit), fill=first)
    draw.rectangle((4 * unit, 2 * unit, 7 * unit, 5 * unit), fill=second)
    draw.polygon(((2 * unit, 7 * unit), (4 * unit, 7 * unit), (3 * unit, 5 * unit)), fill=third)
    return image.rotate(90 * (number // len(COLOURS) % 4))


def peak_memory(process: int | str = "self") -> int:
    """A process's peak resident memory in bytes: its own, where the system tells it apart from its parent's."""
    import resource
    import sys

    status = Path(f"/proc/{process}/status")
    if status.exists():
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF if process == "self" else resource.RUSAGE_CHILDREN).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
