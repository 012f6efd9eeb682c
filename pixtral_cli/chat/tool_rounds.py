"""Calls within an answer as messages of their own, which engines and files take, and back."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pixtral_cli.chat.message import CallResult, Message, ToolRound, assistant, tool_result, user
from pixtral_cli.chat.tools import ToolCall
from pixtral_cli.images.image import Image

SHOWN = "What the tools show."  # what the user's message says that has the images of results
NOT_RUN = "This call was not run."


def split(message: Message) -> list[Message]:
    """The message; where calls were run in it, for each round the answer so far with its calls and the result of each.

    The answer's rest comes last, and may be empty.
    """
    messages: list[Message] = []
    text, reasoning = message.text, message.reasoning
    said = thought = 0
    for each in message.rounds:
        calls = tuple(result.call for result in each.results)
        before = text[said : each.text_end], reasoning[thought : each.reasoning_end]
        messages.append(assistant(before[0], reasoning=before[1], tool_calls=calls))
        messages += [tool_result(result.call, result.text, result.images) for result in each.results]
        said, thought = each.text_end, each.reasoning_end
    if not message.rounds:
        return [message]
    return [*messages, replace(message, parts=(text[said:],), reasoning=reasoning[thought:], rounds=())]


def for_engine(messages: Iterable[Message]) -> list[Message]:
    """The messages as an engine takes them: calls and results apart, the images of results in a message of the user."""
    asked: list[Message] = []
    for message in messages:
        parts = split(message)
        for number, part in enumerate(parts):
            if part.role != "tool":
                asked.append(part)
                continue
            asked.append(replace(part, parts=(part.text,)))
            if number + 1 == len(parts) or parts[number + 1].role != "tool":
                asked += _shown(parts, number)
        if message.rounds and not asked[-1].text and not asked[-1].tool_calls:
            asked.pop()  # an answer that was stopped after its calls
    return asked


def _shown(messages: list[Message], last: int) -> Iterator[Message]:
    """The images of the results that end with message `last`, if there are any."""
    first = last
    while first and messages[first - 1].role == "tool":
        first -= 1
    if images := [image for each in messages[first : last + 1] for image in each.images]:
        yield user(SHOWN, images)


def without(rounds: Sequence[ToolRound], image: Image) -> tuple[ToolRound, ...]:
    """The rounds without an image that tools have shown."""
    return tuple(
        replace(
            each,
            results=tuple(
                replace(result, images=tuple(one for one in result.images if one.key != image.key))
                for result in each.results
            ),
        )
        for each in rounds
    )


def joined(messages: Iterable[Message]) -> list[Message]:
    """Messages of a file with the calls of each answer, and their results, in the answer. A call without one was not run.

    Raises ValueError with the number of a message that is the result of a call that was not made.
    """
    result: list[Message] = []
    open_calls: dict[str, ToolCall] = {}
    answering = False  # whether the last message is an answer that goes on
    for number, message in enumerate(messages):
        if message.role == "tool":
            call = open_calls.pop(message.tool_call_id, None)
            if call is None:
                raise ValueError(number)
            result[-1] = _with_result(result[-1], CallResult(call, message.text, message.images))
            continue
        if message.role != "assistant":
            answering, open_calls = False, {}
            result.append(message)
            continue
        before = result.pop() if answering else assistant("")
        result.append(_continued(before, message))
        open_calls = {call.id: call for call in message.tool_calls}
        answering = bool(message.tool_calls)
    return result


def _continued(answer: Message, more: Message) -> Message:
    """An answer and what follows its calls, as one; a round of calls that `more` makes, none of which was run yet."""
    text, reasoning = answer.text + more.text, answer.reasoning + more.reasoning
    results = tuple(CallResult(call, NOT_RUN) for call in more.tool_calls)
    rounds = (*answer.rounds, *([ToolRound(results, len(text), len(reasoning))] if results else []))
    parts = (text,) if answer.text or not more.parts else more.parts
    return replace(more, parts=parts, reasoning=reasoning, tool_calls=(), rounds=rounds)


def _with_result(answer: Message, result: CallResult) -> Message:
    *before, last = answer.rounds
    results = tuple(result if each.call == result.call else each for each in last.results)
    return replace(answer, rounds=(*before, replace(last, results=results)))
