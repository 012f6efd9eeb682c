"""The programs that are measured, each in a module of its own: how it is opened, asked and closed."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from PIL.Image import Image

from benchmarks.scenario import Turn


class Program(Protocol):
    """A program with a checkpoint loaded. It holds one conversation at a time."""

    def begin(self) -> None:
        """Forget the conversation."""

    def ask(self, text: str, images: Sequence[Image], tokens: int) -> Turn:
        """The conversation's next turn, answered greedily."""

    def alone(self, text: str, tokens: int) -> int:
        """Answer one question outside of any conversation, from any thread; returns how many tokens that took."""

    def close(self) -> dict[str, float]:
        """End it; returns bytes: `memory`, the peak, and what else is known."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the tables: a peer in one precision.

    One that starts slowly is started `once`, for all rounds; one that is `slow` holds long conversations once. It
    `skips` the named ones.
    """

    peer: str
    precision: str = "bf16"
    label: str = ""
    once: bool = False
    slow: bool = False
    skips: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """The peer as it is compared with others over and over: in bf16, without a system prompt."""
        return self.precision == "bf16" and "system" not in self.label

    @property
    def name(self) -> str:
        return self.label or (self.peer if self.precision == "bf16" else f"{self.peer} {self.precision}")

    def missing(self) -> str:
        """Why it cannot be measured here; empty when it can."""
        reason: str = self._module().missing(self.precision)
        return reason

    def prepare(self, folder: Path) -> None:
        """Bring the checkpoint into the form that it takes, unmeasured."""
        self._module().prepare(folder, self.precision)

    def discard(self, folder: Path) -> None:
        """Remove what `prepare` has made for this precision."""
        for made in folder.rglob(f"*{self.precision.replace(' ', '-')}.*"):
            made.unlink()

    def open(self, folder: Path, context: int, slots: int) -> Program:
        """Load it: room for so many conversations at a time, each of so many positions."""
        program: Program = self._module().open_program(folder, self.precision, context, slots, self.label)
        return program

    def _module(self) -> Any:
        return import_module(f"{__name__}.{self.peer.replace('.', '_')}")


ENTRIES = (
    Entry("pixtral"),
    Entry("pixtral", "8bit"),
    Entry("pixtral", "4bit"),
    Entry("pixtral", label="pixtral with a system prompt", skips=("one picture",)),
    Entry("llama.cpp"),
    Entry("llama.cpp", "8bit", "llama.cpp Q8_0"),
    Entry("llama.cpp", "8bit throughout", "llama.cpp Q8_0, output too", skips=("one picture",)),
    Entry("llama.cpp", "4bit", "llama.cpp Q4_0"),
    Entry("llama.cpp", "4bit throughout", "llama.cpp Q4_0, output too", skips=("one picture",)),
    # It computes logits, in 32 bits, of a whole prompt: for thirty pages and 131,072 tokens 13 GB.
    Entry("mistral_inference", slow=True, skips=("thirty pages",)),
    Entry("transformers"),
    Entry("vllm", label="vLLM", once=True, skips=("ten turns",)),
)
PEERS = tuple(dict.fromkeys(entry.peer for entry in ENTRIES))


def named(name: str) -> Entry:
    return next(entry for entry in ENTRIES if entry.name == name)
