"""Several answers to one question: one after the other as text, as a list in JSON."""

from collections import defaultdict, deque
from collections.abc import Generator, Iterator

from pixtral_cli.chat.engine import Chunk
from pixtral_cli.terminal.output.output import Output, dumps
from pixtral_cli.terminal.output.render import (
    Answer,
    answer_of,
    close_after,
    collect_chunks,
    costs_as_json,
    jsonl_pieces,
    render,
    said_as_json,
)
from pixtral_cli.terminal.output.spinner import Spinner


def show_answers(chunks: Iterator[Chunk], count: int, out: Output) -> tuple[list[Answer], Answer]:
    """Show the answers that the chunks make; returns them, and one that has the usage and the timings of all."""
    taken: list[Chunk] = []
    if out.format == "text":
        with close_after(chunks):
            answers = _show_texts(_recorded(chunks, taken), count, out)
        return answers, answer_of(taken)
    if out.format == "jsonl":
        _write_pieces(_recorded(chunks, taken), out)
    else:
        taken = collect_chunks(chunks, out)
    answers = [answer_of([chunk for chunk in taken if chunk.index == index]) for index in range(count)]
    whole = answer_of(taken)
    value = {"answers": [said_as_json(each, out) for each in answers]} | costs_as_json(whole, out)
    out.write(dumps(value, out.stdout.encoding) + "\n")
    return answers, whole


def _recorded(chunks: Iterator[Chunk], taken: list[Chunk]) -> Generator[Chunk, None, None]:
    with close_after(chunks):
        for chunk in chunks:
            taken.append(chunk)
            yield chunk


def _write_pieces(chunks: Iterator[Chunk], out: Output) -> None:
    """Write each piece with the number of its answer, counted from 0."""
    with Spinner(out) as spinner, close_after(chunks):
        for chunk in chunks:
            for piece in jsonl_pieces(chunk, out):
                spinner.stop()
                out.write(dumps({"index": chunk.index, **piece}, out.stdout.encoding) + "\n")


def _show_texts(chunks: Iterator[Chunk], count: int, out: Output) -> list[Answer]:
    """Show each answer as it comes, once those before it have ended."""
    waiting: defaultdict[int, deque[Chunk]] = defaultdict(deque)

    def answer(index: int) -> Generator[Chunk, None, None]:
        while True:
            while waiting[index]:
                yield (chunk := waiting[index].popleft())
                if chunk.finish_reason:
                    return
            if (following := next(chunks, None)) is None:
                return
            waiting[following.index].append(following)

    answers = []
    for index in range(count):
        if index:
            out.write(f"\n--- {index + 1} of {count} ---\n\n")
        answers.append(render(answer(index), out))
    return answers
