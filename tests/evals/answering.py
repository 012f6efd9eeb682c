"""An engine whose answer is a function of the conversation: safe for several threads, alike however often it is asked."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from pixtral_cli.chat.engine import Chunk, Cost, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message


@dataclass
class Answering:
    """`answer` is given the messages; what it raises is raised. `asked` counts the calls."""

    answer: Callable[[Sequence[Message]], str]
    asked: list[tuple[Message, ...]] = field(default_factory=list)
    sampled: list[Sampling] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        with self.lock:
            self.asked.append(tuple(messages))
            self.sampled.append(sampling)
        text = self.answer(messages)
        yield Chunk(text)
        yield Chunk(finish_reason="stop", usage=Usage(7, len(text.split())), timings=Timings())

    def measure(self, messages: Sequence[Message], tools: object = ()) -> Cost:
        return Cost(7, 1000)

    def close(self) -> None:
        pass


def in_turn(*answers: str) -> Answering:
    """These answers, one after another."""
    left = list(answers)
    return Answering(lambda messages: left.pop(0))
