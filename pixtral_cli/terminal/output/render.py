"""Shows an answer as its chunks arrive.

    answer = render(chunks, choose_output(plain=flags.plain, model="demo"))

`render` returns when the answer has ended; its last line is complete. An exception (Ctrl-C, a closed pipe, a full disk, an
engine's error) leaves the text on the screen, closes `chunks`, and is raised again. No thread outlives the call.
`Answer.text` and JSON hold the text as the model wrote it; text for a terminal or a pipe is sanitised.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

from pixtral_cli.api import logprobs as logprobs_json
from pixtral_cli.chat.engine import Chunk, FinishReason, Timings, TokenLogprob, Usage
from pixtral_cli.errors import PixtralError
from pixtral_cli.terminal.output.output import Output, dumps, window_size
from pixtral_cli.terminal.output.spinner import Spinner
from pixtral_cli.terminal.output.thinking import PlainThinking
from pixtral_cli.terminal.output.word_wrap import WordWrap
from pixtral_cli.util.sanitize import Cleaner, clean

__all__ = ["Answer", "Output", "as_json", "collect", "render", "show", "statistics"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer. `text` and `reasoning` are unchanged model output; `logprobs` those of its tokens, if requested."""

    text: str
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    reasoning: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()


def render(chunks: Iterator[Chunk], out: Output) -> Answer:
    """Show `chunks` on `out` until they end. Raises what the engine raises, BrokenPipeError, PixtralError."""
    if out.format == "json" or not out.stream:
        answer = collect(chunks, out)
        show(answer, out)
        return answer
    return _render_jsonl(chunks, out) if out.format == "jsonl" else _render_text(chunks, out)


def collect(chunks: Iterator[Chunk], out: Output) -> Answer:
    """The complete answer; shows only a spinner meanwhile."""
    return answer_of(collect_chunks(chunks, out))


def collect_chunks(chunks: Iterator[Chunk], out: Output) -> list[Chunk]:
    """All chunks of an answer; shows only a spinner meanwhile. After Ctrl-C the partial text is written to stderr."""
    received: list[Chunk] = []
    try:
        with close_after(chunks), Spinner(out):
            for chunk in chunks:
                received.append(chunk)  # noqa: PERF402  it may be stopped in between
    except KeyboardInterrupt:
        if text := clean(answer_of(received).text).rstrip("\n"):
            out.tell(text)
        out.note("Stopped; the part above is what came" if text else "Stopped before anything came")
        raise
    return received


def show(answer: Answer, out: Output) -> None:
    """Write a complete answer, in the format of `out`."""
    if out.format == "text":
        with _sanitized_feed(out) as feed:
            feed(Chunk(reasoning=answer.reasoning))
            feed(Chunk(answer.text))
    else:
        out.write(dumps(as_json(answer, out), out.stdout.encoding) + "\n")


def as_json(answer: Answer, out: Output) -> dict[str, Any]:
    """The object of `--format json`: usage under OpenAI's names, timings in seconds, reasoning if it is to be shown."""
    said = said_as_json(answer, out)
    reason = said.pop("finish_reason")
    return {**said, **costs_as_json(answer, out), "finish_reason": reason}


def said_as_json(answer: Answer, out: Output) -> dict[str, Any]:
    """The fields of an answer itself."""
    logprobs = logprobs_json.to_json(answer.logprobs)
    return {
        "answer": answer.text,
        **({"reasoning": answer.reasoning} if out.thinking == "show" else {}),
        **({"logprobs": logprobs} if logprobs else {}),
        "finish_reason": answer.finish_reason,
    }


def costs_as_json(answer: Answer, out: Output) -> dict[str, Any]:
    """Who answered, and what it cost."""
    usage = asdict(answer.usage)
    usage["total_tokens"] = answer.usage.prompt_tokens + answer.usage.completion_tokens
    timings = {name: round(value, 6) for name, value in asdict(answer.timings).items() if name != "peak_memory"}
    return {"model": out.model, "session": out.session or None, "usage": usage, "timings": timings}


def statistics(answer: Answer, context_window: int) -> str:
    """The two lines of `-v` and `/stats`: token counts, and times."""
    usage, timings = answer.usage, answer.timings
    used = usage.prompt_tokens + usage.completion_tokens
    rate = (usage.completion_tokens - 1) / timings.decode if timings.decode and usage.completion_tokens > 1 else 0.0
    thought = f" ({usage.reasoning_tokens:,} of thinking)" if usage.reasoning_tokens else ""
    cost = (
        f"prompt {usage.prompt_tokens:,} tokens ({usage.image_tokens:,} of images, {usage.cached_tokens:,} reused), "
        f"answer {usage.completion_tokens:,}{thought}; {used:,} of {context_window:,} of the context window used"
    )
    times = [f"load {timings.load:.2f} s"] if timings.load >= 0.005 else []
    times += [f"first token {timings.ttft:.2f} s"]
    times += [f"{rate:.1f} tokens/s"] if rate else []
    times += [f"total {timings.total:.2f} s"]
    times += [f"peak memory {timings.peak_memory / 2**30:.2f} GiB"] if timings.peak_memory else []
    return f"{cost}\n{', '.join(times)}"


def truncation_note(answer: Answer, max_tokens: int | None, setting: str, window: int) -> str:
    """A note that an answer was truncated, and why: by `max_tokens` (which `setting` changes), by the context window, or by
    the server. `window` is the size of the context window in tokens, 0 if it is unknown."""
    count = answer.usage.completion_tokens
    if _reached_limit(answer, max_tokens):
        return f"The answer was cut off at {count:,} tokens; {setting} allows more"
    if window and answer.usage.prompt_tokens + count >= window - 1:
        return f"The answer was cut off after {count:,} tokens: the context window of {window:,} is full"
    return f"The answer was cut off at {count:,} tokens by whoever answers; {setting} may allow more"


def truncation_hint(answer: Answer, max_tokens: int | None) -> str:
    """A hint how to get the complete answer after it was truncated."""
    if _reached_limit(answer, max_tokens):
        return "Raise --max-tokens, or ask for less"
    return "Ask for less, or raise --max-tokens where the context window has room"


def _reached_limit(answer: Answer, max_tokens: int | None) -> bool:
    return max_tokens is not None and answer.usage.completion_tokens >= max_tokens


@contextlib.contextmanager
def close_after(chunks: Iterator[Chunk]) -> Iterator[None]:
    """Closes an iterator, which stops its computation, when the context is left; does nothing if it has no `close`."""
    try:
        yield
    finally:
        if close := getattr(chunks, "close", None):
            close()


def _render_text(chunks: Iterator[Chunk], out: Output) -> Answer:
    received: list[Chunk] = []
    silent = replace(out, spinner=False) if out.footer else out  # the footer shows that it works
    with _sanitized_feed(out) as feed, Spinner(silent) as spinner, close_after(chunks):
        for chunk in chunks:
            received.append(chunk)
            if chunk.text or (chunk.reasoning and _shows_thinking(out)):
                spinner.stop()
            feed(chunk)
    return answer_of(received)


def _shows_thinking(out: Output) -> bool:
    """Whether reasoning is shown while it arrives."""
    return out.thinking == "show" or (out.thinking == "fold" and out.markdown)


def _render_jsonl(chunks: Iterator[Chunk], out: Output) -> Answer:
    received: list[Chunk] = []
    with Spinner(out) as spinner, close_after(chunks):
        for chunk in chunks:
            received.append(chunk)
            for piece in jsonl_pieces(chunk, out):
                spinner.stop()
                out.write(dumps(piece, out.stdout.encoding) + "\n")
    answer = answer_of(received)
    show(answer, out)
    return answer


def jsonl_pieces(chunk: Chunk, out: Output) -> list[dict[str, Any]]:
    """The objects of `--format jsonl` for a chunk: reasoning, if it is to be shown, and text with its log-probabilities."""
    thought = [{"reasoning": chunk.reasoning}] if chunk.reasoning and out.thinking == "show" else []
    logprobs = logprobs_json.to_json(chunk.logprobs)
    text = {"text": chunk.text, **({"logprobs": logprobs} if logprobs else {})}
    return [*thought, *([text] if chunk.text or logprobs else [])]


def answer_of(chunks: list[Chunk]) -> Answer:
    """The answer that consists of these chunks; interrupted if the last one has no finish reason."""
    text, reasoning = "".join(chunk.text for chunk in chunks), "".join(chunk.reasoning for chunk in chunks)
    last = chunks[-1] if chunks else Chunk()
    finish_reason = last.finish_reason or "interrupted"
    logprobs = tuple(token for chunk in chunks for token in chunk.logprobs)
    return Answer(text, finish_reason, last.usage or Usage(), last.timings or Timings(), reasoning, logprobs)


Feed: TypeAlias = Callable[[Chunk], None]


@contextlib.contextmanager
def _sanitized_feed(out: Output) -> Iterator[Feed]:
    """A function that writes chunks, sanitised, to the output."""
    text, reasoning = Cleaner(), Cleaner()
    with _live_feed(out) if out.markdown or out.footer else _plain_feed(out) as feed:
        yield lambda chunk: feed(Chunk(text.feed(chunk.text), reasoning=reasoning.feed(chunk.reasoning)))
        feed(Chunk(text.close()))


@contextlib.contextmanager
def _live_feed(out: Output) -> Iterator[Feed]:
    from pixtral_cli.terminal.output.live import LiveAnswer

    wrap = WordWrap(window_size(out.stdout).columns - 1) if out.wrap and not out.markdown else None
    with LiveAnswer(out.stdout, out.write, out.footer, out.thinking, out.theme, markdown=out.markdown) as live:

        def feed(chunk: Chunk) -> None:
            if chunk.reasoning:
                live.think(chunk.reasoning)
            if text := wrap.feed(chunk.text) if wrap else chunk.text:
                live.feed(text)

        yield feed
        if wrap:
            live.feed(wrap.close())


@contextlib.contextmanager
def _plain_feed(out: Output) -> Iterator[Feed]:
    """A function that writes text for pipes, files and plain terminals; completes the last line at the end."""
    last = "\n"
    wrap = WordWrap(window_size(out.stdout).columns) if out.wrap and out.stdout.isatty() else None
    reasoning = PlainThinking(out.thinking)

    def feed(chunk: Chunk) -> None:
        nonlocal last
        text = reasoning.feed(chunk.reasoning, chunk.text)
        last = text[-1:] or last  # first, for Ctrl-C may come in between
        out.write(wrap.feed(text) if wrap else text)

    try:
        yield feed
        out.write(wrap.close() if wrap else "")
        if end := reasoning.close():
            last = end
            out.write(end)
    except BaseException:
        if last != "\n":
            with contextlib.suppress(OSError, PixtralError):  # the first error is the one to tell
                out.write("\n")
        raise
    if last != "\n":
        out.write("\n")
