"""Tool calls through vLLM for chat templates from v11 on: the grammar that holds an answer to them, and their reading.

vLLM 0.32 reads such calls by a parser that works with mistral_common below 1.13 alone, and does not hold their arguments
to a schema. Here the answer is text for vLLM, in which the template's tokens stand by their names.
"""

import json
from dataclasses import replace

from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.tools import ToolCallDelta
from pixtral_cli.engines.local.generation.grammar import GRAMMAR_OPTIONS
from pixtral_cli.engines.local.generation.tool_calls import ObjectReader, new_call_id
from pixtral_cli.engines.local.generation.tool_grammar import compile_tools
from pixtral_cli.engines.local.tokens.tokenizer import Tokenizer

CALL, ARGUMENTS = "[TOOL_CALLS]", "[ARGS]"


def reads_calls(tokenizer: Tokenizer) -> bool:
    """Whether calls of this tokenizer's template are read here and not by vLLM."""
    return tokenizer.tool_tokens is not None and tokenizer.tool_tokens.args is not None


def answer_grammar(sampling: Sampling, tokenizer: Tokenizer) -> str:
    """The llguidance grammar of an answer: text (or JSON of the schema) or calls, and calls alone where one is required.

    A reasoning model may think first.
    """
    tokens = tokenizer.tool_tokens
    assert tokens is not None
    calls = compile_tools(
        sampling.callable_tools, replace(tokens, call_id=None), parallel=sampling.parallel_tool_calls
    ).replace("start:", "calls:", 1)
    rules = ["TEXT: /(.|\\n)+/", calls]
    thought = ""
    if tokenizer.think_tokens:
        begin, end = tokenizer.think_tokens
        rules.append(f"thought: <[{begin}]> TEXT? <[{end}]>")
        thought = "thought?"
    said = "TEXT?"
    if sampling.schema is not None:
        rules.append(f"value: %json {json.dumps({**sampling.schema, 'x-guidance': GRAMMAR_OPTIONS})}")
        said = "value"
    call = f"<[{tokens.tool_calls}]> calls"
    if sampling.tool_choice != "auto":
        start = f"start: {thought} {call}"
    elif sampling.schema is not None:
        start = f"start: {thought} (value | {call})"
    else:
        start = f"start: {thought} {said} ({call})?"
    return "\n".join([start, *rules, ""])


class CallSplitter:
    """Splits an answer that comes in pieces into its text and its calls."""

    def __init__(self) -> None:
        self._count = 0
        self._held = ""  # what is not certain yet
        self._in_name = False
        self._arguments: ObjectReader | None = None  # of the call that is read

    def feed(self, chunk: Chunk) -> Chunk:
        """The chunk with its text split. Log-probabilities of calls are left out."""
        text, calls = self._split(chunk.text)
        if chunk.finish_reason is not None and not self._in_call:
            text, self._held = text + self._held, ""
        reason = "tool_calls" if chunk.finish_reason == "stop" and self._count else chunk.finish_reason
        logprobs = () if self._in_call and not text else chunk.logprobs
        return replace(
            chunk, text=text, tool_calls=(*chunk.tool_calls, *calls), finish_reason=reason, logprobs=logprobs
        )

    @property
    def _in_call(self) -> bool:
        return self._in_name or self._count > 0

    def _split(self, piece: str) -> tuple[str, tuple[ToolCallDelta, ...]]:
        text, calls = "", list[ToolCallDelta]()
        left, self._held = self._held + piece, ""
        while left:
            if self._arguments:
                arguments, left, ended = self._arguments.take(left)
                calls.append(ToolCallDelta(self._count - 1, arguments=arguments))
                self._arguments = None if ended else self._arguments
            elif self._in_name:
                name, found, left = left.partition(ARGUMENTS)
                if not found:
                    self._held = name
                    break
                calls.append(ToolCallDelta(self._count, new_call_id(), name.strip()))
                self._count, self._in_name, self._arguments = self._count + 1, False, ObjectReader()
            else:
                said, found, left = left.partition(CALL)
                held = 0 if found else _overlap(said, CALL)
                said, self._held = said[: len(said) - held], said[len(said) - held :]
                text += "" if self._count else said  # between calls is white space
                self._in_name = bool(found)
        return text, tuple(calls)


def _overlap(text: str, marker: str) -> int:
    """How many characters at the end of the text may be the beginning of the marker."""
    return next((size for size in range(len(marker) - 1, 0, -1) if text.endswith(marker[:size])), 0)
