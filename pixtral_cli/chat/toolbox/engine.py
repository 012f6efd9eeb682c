"""An engine that runs the tools a model calls, and lets it go on with their results until it answers."""

import json
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.engine import Chunk, Cost, Engine, Sampling, Usage
from pixtral_cli.chat.message import CallResult, Message, ToolRound, assistant
from pixtral_cli.chat.tools import MAX_SHOWN, Tool, ToolCall, ToolCallCollector
from pixtral_cli.errors import PixtralError
from pixtral_cli.images.image import Image
from pixtral_cli.util.sanitize import visible

MAX_ROUNDS = 8  # of calls; then the model must answer
MAX_RESULT = 100_000  # characters of a result that the model is given
DECLINED = "The user did not allow this call."


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool gives back. The images follow the text, in a message of their own."""

    text: str
    images: tuple[Image, ...] = ()


class RunnableTool(Protocol):
    """A tool with what runs it."""

    @property
    def tool(self) -> Tool: ...

    def run(self, arguments: dict[str, Any], images: Sequence[Image]) -> ToolResult:
        """The result for these arguments; `images` are those of the conversation, number N at N - 1.

        May raise anything; the model is told what.
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolRun:
    """A call that was made, and its result; `error`: it failed or was declined."""

    call: ToolCall
    result: ToolResult
    error: bool = False

    def in_words(self) -> str:
        """The result on one line, harmless and shortened."""
        count = len(self.result.images)
        shown = f", {count} picture{'s' * (count > 1)}" if count else ""
        return visible(self.result.text, MAX_SHOWN) + shown


class ToolEngine:
    """An `Engine` over another one. `allow` is asked before each call is run, `ran` is told each one that was."""

    def __init__(
        self,
        engine: Engine,
        tools: Sequence[RunnableTool],
        allow: Callable[[ToolCall], bool],
        ran: Callable[[ToolRun], None] = lambda run: None,
        max_rounds: int = MAX_ROUNDS,
    ) -> None:
        self._engine = engine
        self._tools = {each.tool.name: each for each in tools}
        self._definitions = tuple(each.tool for each in tools)
        self._allow, self._ran = allow, ran
        self._max_rounds = max_rounds

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Generator[Chunk, None, None]:
        """See `Engine`. The text of all rounds is one answer, and each round is a chunk, too; its usage counts what
        all of them computed."""
        answer, used = assistant(""), 0
        for left in range(self._max_rounds, -1, -1):
            now = replace(sampling, tools=self._definitions, tool_choice="auto" if left else "none")
            said = tool_rounds.for_engine([*messages, answer] if answer.rounds else messages)
            calls, last = ToolCallCollector(), Chunk()
            text, reasoning = answer.text, answer.reasoning
            with closing(_closable(self._engine, said, now)) as stream:
                for chunk in stream:
                    calls.add(chunk.tool_calls)
                    text, reasoning = text + chunk.text, reasoning + chunk.reasoning
                    last = chunk if chunk.finish_reason else last
                    piece = replace(chunk, finish_reason=None, usage=None, timings=None, tool_calls=(), stop="")
                    if piece != Chunk():
                        yield piece
            usage = last.usage or Usage()
            used += usage.completion_tokens
            if last.finish_reason != "tool_calls" or not calls.calls:
                yield replace(
                    last,
                    text="",
                    reasoning="",
                    logprobs=(),
                    usage=replace(usage, completion_tokens=used),
                    tool_calls=(),
                )
                return
            results: list[CallResult] = []
            try:
                results += (self._run(call, _numbered_images(said)) for call in calls.calls)
            finally:  # also after Ctrl-C: what was run is on record
                not_run = (CallResult(call, tool_rounds.NOT_RUN) for call in calls.calls[len(results) :])
                done = ToolRound((*results, *not_run), len(text), len(reasoning))
                if results:
                    yield Chunk(round=done)
            answer = assistant(text, reasoning=reasoning, rounds=(*answer.rounds, done))

    def _run(self, call: ToolCall, images: Sequence[Image]) -> CallResult:
        run = self._run_allowed(call, images) if self._allow(call) else ToolRun(call, ToolResult(DECLINED), True)
        self._ran(run)
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
        """See `Engine`. The tools that the answers have are counted, in the place of `tools`."""
        return self._engine.measure(messages, self._definitions)

    def close(self) -> None:
        """See `Engine`."""
        self._engine.close()


def _closable(engine: Engine, said: Sequence[Message], sampling: Sampling) -> Generator[Chunk, None, None]:
    """The engine's answer, which is ended when this is closed."""
    stream = engine.stream(said, sampling)
    try:
        yield from stream
    finally:
        if close := getattr(stream, "close", None):
            close()


def _numbered_images(messages: Sequence[Message]) -> list[Image]:
    """The images in the order in which they first came, equal ones once."""
    return list({image.key: image for message in messages for image in message.images}.values())


def _shortened(text: str) -> str:
    """A result of bounded length without half characters, which no model and no file takes."""
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= MAX_RESULT:
        return text
    return f"{text[:MAX_RESULT]}\n[The rest of {len(text):,} characters was left out.]"
