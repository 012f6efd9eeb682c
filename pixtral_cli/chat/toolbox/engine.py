"""An engine that runs the tools a model calls and gives it their results, until it answers without a call."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.engine import Chunk, Cost, Engine, Sampling, Usage
from pixtral_cli.chat.message import CallResult, Message, ToolRound, assistant
from pixtral_cli.chat.tools import MAX_SHOWN_ARGUMENT, Tool, ToolCall, ToolCallCollector
from pixtral_cli.errors import PixtralError
from pixtral_cli.images.image import Image
from pixtral_cli.util.sanitize import visible

MAX_ROUNDS = 8  # of calls; then the model must answer
MAX_RESULT = 100_000  # characters of a result that the model is given
DECLINED = "The user did not allow this call."


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool. Its images are sent in a user's message after the text."""

    text: str
    images: tuple[Image, ...] = ()


class RunnableTool(Protocol):
    """A tool that this process can run."""

    @property
    def tool(self) -> Tool: ...

    def run(self, arguments: dict[str, Any], images: Sequence[Image]) -> ToolResult:
        """The result for these arguments; `images` are those of the conversation, image N at index N - 1.

        May raise any exception, whose message becomes the result.
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A tool call and its result; `error`: it failed or was declined."""

    call: ToolCall
    result: ToolResult
    error: bool = False

    def summary(self) -> str:
        """The result on one line: control characters visible, long text shortened, images counted."""
        count = len(self.result.images)
        pictures = f", {count} picture{'s' * (count > 1)}" if count else ""
        return visible(self.result.text, MAX_SHOWN_ARGUMENT) + pictures


class ToolEngine:
    """An `Engine` around another one. `allow` decides whether a call is run; `on_run` gets every call with its result."""

    def __init__(
        self,
        engine: Engine,
        tools: Sequence[RunnableTool],
        allow: Callable[[ToolCall], bool],
        on_run: Callable[[ToolRun], None] = lambda run: None,
        max_rounds: int = MAX_ROUNDS,
    ) -> None:
        self._engine = engine
        self._tools = {runnable.tool.name: runnable for runnable in tools}
        self._definitions = tuple(runnable.tool for runnable in tools)
        self._allow, self._on_run = allow, on_run
        self._max_rounds = max_rounds

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Generator[Chunk, None, None]:
        """See `Engine`. The texts of all rounds are one answer, with a chunk for each round of calls; its usage counts the
        completion tokens of all rounds."""
        answer, completion_tokens = assistant(""), 0
        for rounds_left in range(self._max_rounds, -1, -1):
            round_sampling = replace(sampling, tools=self._definitions, tool_choice="auto" if rounds_left else "none")
            history = tool_rounds.for_engine([*messages, answer] if answer.rounds else messages)
            calls, last = ToolCallCollector(), Chunk()
            text, reasoning = answer.text, answer.reasoning
            with closing(_closable_stream(self._engine, history, round_sampling)) as stream:
                for chunk in stream:
                    calls.add(chunk.tool_calls)
                    text, reasoning = text + chunk.text, reasoning + chunk.reasoning
                    last = chunk if chunk.finish_reason else last
                    piece = replace(chunk, finish_reason=None, usage=None, timings=None, tool_calls=(), stop="")
                    if piece != Chunk():
                        yield piece
            usage = last.usage or Usage()
            completion_tokens += usage.completion_tokens
            if last.finish_reason != "tool_calls" or not calls.calls:
                yield replace(
                    last,
                    text="",
                    reasoning="",
                    logprobs=(),
                    usage=replace(usage, completion_tokens=completion_tokens),
                    tool_calls=(),
                )
                return
            results: list[CallResult] = []
            try:
                results += (self._run(call, _distinct_images(history)) for call in calls.calls)
            finally:  # also after Ctrl-C: calls that were run are recorded
                not_run = (CallResult(call, tool_rounds.NOT_RUN) for call in calls.calls[len(results) :])
                done = ToolRound((*results, *not_run), len(text), len(reasoning))
                if results:
                    yield Chunk(round=done)
            answer = assistant(text, reasoning=reasoning, rounds=(*answer.rounds, done))

    def _run(self, call: ToolCall, images: Sequence[Image]) -> CallResult:
        run = self._run_allowed(call, images) if self._allow(call) else ToolRun(call, ToolResult(DECLINED), True)
        self._on_run(run)
        return CallResult(call, run.result.text, run.result.images)

    def _run_allowed(self, call: ToolCall, images: Sequence[Image]) -> ToolRun:
        runnable = self._tools.get(call.name)
        if runnable is None:
            return ToolRun(call, ToolResult(f"There is no tool {call.name}."), True)
        try:
            result = runnable.run(json.loads(call.arguments or "{}"), images)
        except PixtralError as error:
            return ToolRun(call, ToolResult(_shortened(f"Error: {error.message} {error.hint}".rstrip())), True)
        except Exception as error:  # whatever a tool raises is its result
            return ToolRun(call, ToolResult(_shortened(f"Error: {type(error).__name__}: {error}")), True)
        return ToolRun(call, replace(result, text=_shortened(result.text)))

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """See `Engine`. Counts the tools of this engine, whatever `tools` are."""
        return self._engine.measure(messages, self._definitions)

    def close(self) -> None:
        """See `Engine`."""
        self._engine.close()


def _closable_stream(engine: Engine, messages: Sequence[Message], sampling: Sampling) -> Generator[Chunk, None, None]:
    """The engine's answer as a generator; closing it closes the engine's iterator if that can be closed."""
    stream = engine.stream(messages, sampling)
    try:
        yield from stream
    finally:
        if close := getattr(stream, "close", None):
            close()


def _distinct_images(messages: Sequence[Message]) -> list[Image]:
    """The images in the order in which they were first shown, those of equal pixels once."""
    return list({image.key: image for message in messages for image in message.images}.values())


def _shortened(text: str) -> str:
    """A result of bounded length without half characters, which no model and no file takes."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= MAX_RESULT:
        return text
    return f"{text[:MAX_RESULT]}\n[The rest of {len(text):,} characters was left out.]"
