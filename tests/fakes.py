"""An engine with queued answers: for every test that is not about the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pixtral_cli.chat.engine import Chunk, Cost, ImageCost, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message


@dataclass
class FakeEngine:
    """Answers with the queued texts, one chunk a word (or the given pieces or chunks); an exception in the queue is raised.

    `seen` keeps what it was asked, `closed` how many answers were closed before their end.
    """

    answers: "list[str | Sequence[str | Chunk] | BaseException]" = field(default_factory=list)
    context_window: int = 1000
    seen: list[tuple[tuple[Message, ...], Sampling]] = field(default_factory=list)
    closed: int = 0

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        self.seen.append((tuple(messages), sampling))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        pieces = _words(answer) if isinstance(answer, str) else answer
        try:
            for piece in pieces:
                yield Chunk(piece) if isinstance(piece, str) else piece
        except GeneratorExit:
            self.closed += 1
            raise
        cost = self.measure(messages)
        thoughts = sum(not isinstance(piece, str) and bool(piece.reasoning) for piece in pieces)
        usage = Usage(cost.prompt_tokens, len(pieces), cost.image_tokens, 0, thoughts)
        yield Chunk(finish_reason="stop", usage=usage, timings=Timings(ttft=0.25, decode=1.0, total=1.5))

    def measure(self, messages: Sequence[Message], tools: object = ()) -> Cost:
        images = [image for message in messages for image in message.images]
        costs = tuple(ImageCost(*image.size, 10) for image in images)
        words = sum(len(message.text.split()) for message in messages)
        return Cost(words + 10 * len(images), self.context_window, costs)

    def close(self) -> None:
        pass


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [word + " " for word in words[:-1]] + words[-1:]


class Agreeing:
    """Answers everything at once."""

    def stream(self, messages: object, sampling: Sampling) -> Iterator[Chunk]:
        yield Chunk("yes", "stop", Usage(1, 1), Timings())

    def measure(self, messages: object, tools: object = ()) -> Cost:
        return Cost(1, 100)

    def close(self) -> None:
        pass
