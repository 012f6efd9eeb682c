"""Shows an answer as it comes. Pulls `Chunk`s and knows no engine; where they go is `Output`'s to say.

    answer = render(chunks, choose(plain=flags.plain, model="demo"))

`render` returns when the answer has ended, its last line complete. Whatever interrupts it (Ctrl-C, a closed pipe, a full
disk, an engine's error) leaves what was shown on the screen, closes `chunks`, and is raised again. It starts no thread
that outlives it. `Answer.text` and JSON hold the text as the model wrote it; what a terminal or a pipe gets is sanitised.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pixtral_cli.chat.engine import Chunk, FinishReason, Timings, Usage
from pixtral_cli.terminal.output import Output, choose

__all__ = ["Answer", "Output", "choose", "render"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: its text unchanged, why it ended, what it cost."""

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)


def render(chunks: Iterator[Chunk], out: Output) -> Answer:
    """Show `chunks` on `out` until they end. Raises what the engine raises, BrokenPipeError, PixtralError."""
    raise NotImplementedError
