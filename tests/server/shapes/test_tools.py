"""Tools in each API by its own client, with the demo model: a forced call, its result sent back, and streamed."""

import json
from typing import Any

import anthropic
import ollama
import openai

from pixtral_cli.chat.engine import Chunk, Sampling, Usage
from pixtral_cli.chat.tools import ToolCallDelta
from tests.fakes import FakeEngine
from tests.server.serving import Running, data_url, serving

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}},
    "required": ["city"],
    "additionalProperties": False,
}
ASKED: Any = [{"role": "user", "content": "What is the weather in Rome?"}]


def test_responses_call_a_tool_and_take_its_result(demo: Running) -> None:
    tools: Any = [{"type": "function", "name": "weather", "description": "Now.", "parameters": SCHEMA, "strict": True}]
    with openai.OpenAI(base_url=f"{demo.url}/v1", api_key="any", max_retries=0, timeout=120) as client:
        ask = client.responses.create
        first = ask(model="demo", input=ASKED, tools=tools, tool_choice={"type": "function", "name": "weather"})
        (call,) = [item for item in first.output if item.type == "function_call"]
        assert json.loads(call.arguments)["city"] in ("Paris", "Rome")
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        second = ask(model="demo", input=[*ASKED, *first.output, result], tools=tools, tool_choice="none")  # type: ignore[list-item]
        assert second.status == "completed"
        events = list(ask(model="demo", input=ASKED, tools=tools, tool_choice="required", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    pieces = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    done = [event.arguments for event in events if event.type == "response.function_call_arguments.done"]
    assert pieces == "".join(done)
    assert json.loads(done[0])["city"] in ("Paris", "Rome")


def test_anthropic_calls_a_tool_and_takes_its_result(demo: Running) -> None:
    tools: Any = [{"name": "weather", "description": "Now.", "input_schema": SCHEMA}]
    choice: Any = {"type": "tool", "name": "weather"}
    with anthropic.Anthropic(base_url=demo.url, api_key="any", max_retries=0, timeout=120) as client:
        how: Any = {"model": "demo", "max_tokens": 100, "tools": tools}
        first = client.messages.create(**how, messages=ASKED, tool_choice=choice)
        assert first.stop_reason == "tool_use"
        (call,) = [block for block in first.content if block.type == "tool_use"]
        assert call.input["city"] in ("Paris", "Rome")
        picture = {"type": "image", "source": {"type": "url", "url": data_url()}}
        result = {
            "type": "tool_result",
            "tool_use_id": call.id,
            "content": [{"type": "text", "text": "sunny"}, picture],
        }
        talk: Any = [*ASKED, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
        second = client.messages.create(**how, messages=talk, tool_choice={"type": "none"})
        assert second.stop_reason in ("end_turn", "max_tokens")
        with client.messages.stream(
            **how, messages=ASKED, tool_choice={**choice, "disable_parallel_tool_use": True}
        ) as stream:
            final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert final.content[-1].input["city"] in ("Paris", "Rome")  # type: ignore[union-attr]


class Calling(FakeEngine):
    """Calls a tool twice."""

    def stream(self, messages: Any, sampling: Sampling) -> Any:
        self.seen.append((tuple(messages), sampling))
        yield Chunk("Well. ")
        for index, city in enumerate(("Rome", "Paris")):
            yield Chunk(tool_calls=(ToolCallDelta(index, f"id{index}", "weather"),))
            yield Chunk(tool_calls=(ToolCallDelta(index, arguments=f'{{"city": "{city}"}}'),))
        yield Chunk(finish_reason="tool_calls", usage=Usage(3, 5))


def test_ollama_calls_tools_and_takes_their_results() -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "description": "Now.", "parameters": SCHEMA}}]
    engine = Calling()
    with serving(engine) as running:
        client = ollama.Client(host=running.url, timeout=120)
        first = client.chat("fake", ASKED, tools=tools)
        calls = first.message.tool_calls or ()
        assert [call.function.arguments["city"] for call in calls] == ["Rome", "Paris"]
        parts = list(client.chat("fake", ASKED, tools=tools, stream=True))
        assert [len(part.message.tool_calls or ()) for part in parts] == [0, 2, 0]
        results: Any = [{"role": "tool", "content": "sunny", "tool_name": "weather"},
                        {"role": "tool", "content": "rainy", "tool_name": "weather"}]  # fmt: skip
        client.chat("fake", [*ASKED, first.message, *results], tools=tools)
    messages, sampling = engine.seen[-1]
    assert [tool.name for tool in sampling.tools] == ["weather"]
    assert [message.role for message in messages] == ["user", "assistant", "tool", "tool"]
    assert [message.tool_call_id for message in messages[2:]] == [call.id for call in messages[1].tool_calls]
