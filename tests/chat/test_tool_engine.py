"""Calls are run once they are allowed, their results go back to the model, and there is an end to it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pixtral_cli import images
from pixtral_cli.chat.engine import Chunk, Cost, ImageCost, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message, user
from pixtral_cli.chat.toolbox.engine import DECLINED, ToolEngine, ToolResult, ToolRun
from pixtral_cli.chat.toolbox.functions import load_tools
from pixtral_cli.chat.toolbox.pictures import CropTool, ZoomTool
from pixtral_cli.chat.tools import NamedTool, Tool, ToolCall, ToolCallDelta, format_call
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.images.image import Image
from tests.server.serving import png

FUNCTIONS = '''
"""Tools for tests."""
import math
from typing import Literal

FACTOR = 2


def double(number: int, unit: Literal["cm", "mm"] = "cm", labels: list[str] | None = None) -> dict:
    """Double a number.

    Give a number.
    """
    return {"result": FACTOR * number, "unit": unit, "labels": labels}


async def later(text: str) -> str:
    return text[::-1]


def broken(text: str) -> str:
    """Always fails."""
    raise RuntimeError(f"no {text}")


def _helper(x):
    return x
'''


class Scripted:
    """Makes the given calls, one round after the other, then answers; `seen` keeps what it was asked."""

    def __init__(self, *rounds: list[tuple[str, Any]]) -> None:
        self.rounds, self.seen = list(rounds), []  # type: ignore[var-annotated]

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        self.seen.append((tuple(messages), sampling))
        if not self.rounds or sampling.tool_choice == "none":
            yield Chunk("Done.")
            yield Chunk(finish_reason="stop", usage=Usage(9, 2), timings=Timings())
            return
        yield Chunk("Let me see. ")
        for index, (name, arguments) in enumerate(self.rounds.pop(0)):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            yield Chunk(tool_calls=(ToolCallDelta(index, f"id{index}", name, text[:3]),))
            yield Chunk(tool_calls=(ToolCallDelta(index, arguments=text[3:]),))
        yield Chunk(finish_reason="tool_calls", usage=Usage(5, 3), timings=Timings())

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        images = [image for message in messages for image in message.images]
        return Cost(
            1 + 10 * len(images) + 100 * len(tools), 1000, tuple(ImageCost(*image.size, 10) for image in images)
        )

    def close(self) -> None:
        pass


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tools.py"
    path.write_text(FUNCTIONS, encoding="utf-8")
    return path


def picture(width: int = 400, height: int = 200) -> Image:
    return images.from_bytes(png(width, height), "x.png")


def answered(
    engine: Scripted, names: Sequence[str], said: Sequence[Message], *, allow: bool = True, **more: Any
) -> tuple[list[Chunk], list[ToolRun]]:
    runs: list[ToolRun] = []
    tools = ToolEngine(engine, load_tools(names), lambda call: allow, runs.append, **more)
    return list(tools.stream(said, Sampling(temperature=0))), runs


def test_a_function_is_called_and_its_result_goes_back(file: Path) -> None:
    engine = Scripted([("double", {"number": 4, "labels": ["a"]}), ("later", {"text": "abc"})])
    chunks, runs = answered(engine, [str(file)], [user("hi")])
    assert "".join(chunk.text for chunk in chunks) == "Let me see. Done."
    assert (chunks[-1].finish_reason, chunks[-1].usage) == ("stop", Usage(9, 5))
    assert [json.loads(runs[0].result.text), runs[1].result.text] == [
        {"result": 8, "unit": "cm", "labels": ["a"]}, "cba",
    ]  # fmt: skip
    said, sampling = engine.seen[1]
    assert [message.role for message in said] == ["user", "assistant", "tool", "tool"]
    assert said[1].text == "Let me see. "
    assert [(message.tool_call_id, message.name, message.text) for message in said[2:]] == [
        ("id0", "double", runs[0].result.text), ("id1", "later", "cba"),
    ]  # fmt: skip
    assert [tool.name for tool in sampling.tools] == ["double", "later", "broken"]


def test_tools_are_part_of_what_a_prompt_costs(file: Path) -> None:
    tools = ToolEngine(Scripted([]), load_tools([str(file)]), lambda call: True)
    assert tools.measure([user("hi")]).prompt_tokens == 301


def test_docstrings_and_type_hints_are_what_the_model_is_told(file: Path) -> None:
    double = load_tools([str(file)])[0].tool
    assert double.description == "Double a number.\n\nGive a number."
    assert double.parameters["properties"]["number"]["type"] == "integer"
    assert double.parameters["properties"]["unit"]["enum"] == ["cm", "mm"]
    assert double.parameters["required"] == ["number"]
    assert double.parameters["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("broken", {"text": "luck"}, "Error: RuntimeError: no luck"),
        ("double", {"number": "many"}, "Error: ValidationError"),
        ("double", {}, "Error: ValidationError"),
        ("double", "{cut", "Error: JSONDecodeError"),
        ("nothing", {}, "There is no tool nothing."),
    ],
)
def test_what_goes_wrong_in_a_call_is_told_to_the_model(file: Path, name: str, arguments: Any, said: str) -> None:
    engine = Scripted([(name, arguments)])
    chunks, runs = answered(engine, [str(file)], [user("hi")])
    assert runs[0].error
    assert engine.seen[1][0][-1].text.startswith(said)
    assert chunks[-1].finish_reason == "stop"


def test_a_declined_call_is_not_run(file: Path) -> None:
    engine = Scripted([("broken", {"text": "x"})])
    _, runs = answered(engine, [str(file)], [user("hi")], allow=False)
    assert [run.result.text for run in runs] == [DECLINED]
    assert engine.seen[1][0][-1].text == DECLINED


def test_after_some_rounds_the_model_must_answer(file: Path) -> None:
    engine = Scripted(*[[("later", {"text": "x"})] for _ in range(20)])
    chunks, runs = answered(engine, [str(file)], [user("hi")], max_rounds=3)
    assert len(runs) == 3
    assert [sampling.tool_choice for _, sampling in engine.seen] == ["auto"] * 3 + ["none"]
    assert chunks[-1].finish_reason == "stop"


def test_a_result_of_100000_characters_is_given_whole_and_a_longer_one_cut(tmp_path: Path) -> None:
    (tmp_path / "t.py").write_text(
        "def many(count: int) -> str:\n    return 'x' * count\n\n\n"
        "def broken(count: int) -> str:\n    raise ValueError('x' * count)\n"
    )
    engine = Scripted([("many", {"count": 100_000}), ("many", {"count": 100_001}), ("broken", {"count": 100_000})])
    answered(engine, [str(tmp_path / "t.py")], [user("hi")])
    whole, cut, error = (message.text for message in engine.seen[1][0] if message.role == "tool")
    assert whole == "x" * 100_000
    assert cut == "x" * 100_000 + "\n[The rest of 100,001 characters was left out.]"
    assert error.startswith("Error: ValueError: xxx")
    assert error.endswith("characters was left out.]")


def test_a_model_calls_in_eight_rounds_unless_told_otherwise_and_must_answer_then(file: Path) -> None:
    engine = Scripted(*[[("later", {"text": "x"})] for _ in range(20)])
    answered(engine, [str(file)], [user("hi")])
    assert [sampling.tool_choice for _, sampling in engine.seen] == ["auto"] * 8 + ["none"]


@pytest.mark.parametrize("length", [200, 201])
def test_a_call_and_its_result_are_shown_on_one_line_of_bounded_length(length: int) -> None:
    text = "a\n" + "b" * (length - 3)  # the line end is shown as two characters
    shown = ToolRun(ToolCall("id", "f", "{}"), ToolResult(text, (picture(), picture()))).summary()
    assert shown == (("a\\n" + "b" * 197) if length == 200 else shown[:99] + "…" + "b" * 100) + ", 2 pictures"
    assert len(shown) == 200 + len(", 2 pictures")
    line = format_call(ToolCall("id", "f", json.dumps({"n" * 41: "c" * (length - 2)})))
    name = "n" * 19 + "…" + "n" * 20
    assert line.startswith(f"f({name}=")
    assert ("…" in line.removeprefix(f"f({name}")) is (length == 201)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def f(x): pass", "f of .*: the parameter x has no type"),
        ("def f(*x: int): pass", "no parameter that a model can name"),
        ("x = 1", "defines no function"),
        ("def f(:", r"line 1: SyntaxError: invalid syntax$"),
        ("(", r"line 1: SyntaxError: '\(' was never closed$"),
        ("\n\nimport nowhere_at_all", "line 3: ModuleNotFoundError"),
        ("raise SystemExit(3)", "line 1: SystemExit"),
        ("def f(x: 'Nowhere'): pass", "type hints cannot be read"),
        ("class A: pass\ndef f(x: A): pass", "no JSON for its parameters"),
    ],
)
def test_a_file_that_gives_no_tools_is_an_error_of_usage(tmp_path: Path, source: str, said: str) -> None:
    (tmp_path / "t.py").write_text(source)
    with pytest.raises(UsageError, match=said):
        load_tools([str(tmp_path / "t.py")])


@pytest.mark.parametrize(
    ("names", "said"),
    [(["no.py"], "There is no file"), (["nix"], "There are crop, zoom"), (["crop", "zoom", "crop"], None)],
)
def test_names_that_are_none_and_names_twice(names: list[str], said: str | None) -> None:
    if said is None:
        assert [each.tool.name for each in load_tools(names)] == ["crop", "zoom"]
        return
    with pytest.raises(UsageError) as error:
        load_tools(names)
    assert said in f"{error.value.message}. {error.value.hint}"


# Crop and zoom


def test_a_part_is_shown_next_at_its_own_resolution() -> None:
    engine = Scripted(
        [("crop", {"image": 1, "left": 25, "top": 50, "right": 75, "bottom": 100})],
        [("zoom", {"image": 2, "x": 0, "y": 0, "factor": 2})],
    )
    answered(engine, ["crop", "zoom"], [user("what?", [picture()])])
    said = engine.seen[2][0]
    assert [message.role for message in said] == ["user", "assistant", "tool", "user", "assistant", "tool", "user"]
    (part,), (nearer,) = said[3].images, said[6].images
    assert (part.size, nearer.size) == ((200, 100), (100, 50))
    assert part.transform.crop and part.transform.crop.edges == (100, 100, 300, 200)
    assert nearer.transform.crop and nearer.transform.crop.edges == (100, 100, 200, 150)


@pytest.mark.parametrize(
    "arguments",
    [
        {"image": 2, "left": 0, "top": 0, "right": 50, "bottom": 50}, {"image": 0, "left": 0, "top": 0, "right": 5, "bottom": 5},
        {"image": 1, "left": 50, "top": 0, "right": 50, "bottom": 50}, {"image": 1, "left": 0, "top": 0, "right": 101, "bottom": 5},
        {"image": True, "left": 0, "top": 0, "right": 50, "bottom": 50},
    ],
)  # fmt: skip
def test_a_part_that_is_not_there_is_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(PixtralError):
        CropTool().run(arguments, [picture()])


def test_the_smallest_part_holds_some_pixels() -> None:
    tiny = {"image": 1, "left": 99.9, "top": 99.9, "right": 100, "bottom": 100}
    (part,) = CropTool().run(tiny, [picture()]).images
    assert part.size == (8, 8)
    (whole,) = CropTool().run(tiny, [picture(3, 2)]).images
    assert whole.size == (3, 2)
    (corner,) = ZoomTool().run({"image": 1, "x": 100, "y": 100, "factor": 4}, [picture()]).images
    assert corner.transform.crop and corner.transform.crop.edges == (300, 150, 400, 200)


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({"factor": 1}, True), ({"factor": 16}, True), ({"factor": 0.9}, False), ({"factor": 16.1}, False),
        ({"x": 100, "y": 0}, True), ({"x": 100.1}, False), ({"x": -0.1}, False), ({"y": 100.1}, False), ({"y": -0.1}, False),
    ],
)  # fmt: skip
def test_a_place_and_a_factor_have_their_ranges(change: dict[str, Any], taken: bool) -> None:
    place = {"image": 1, "x": 50, "y": 50, "factor": 2} | change
    if taken:
        assert ZoomTool().run(place, [picture()]).images
    else:
        with pytest.raises(UsageError, match="x and y are 0 to 100 per cent"):
            ZoomTool().run(place, [picture()])


def test_a_call_whose_arguments_were_cut_off_is_shown_as_it_came() -> None:
    assert format_call(ToolCall("id", "f", '{"a": "b\n')) == 'f({"a": "b\\n)'
    assert format_call(ToolCall("id", "f", "")) == "f()"


def test_a_tool_choice_names_one_of_the_tools() -> None:
    tools = (Tool("look"), Tool("read"))
    Sampling(tools=tools, tool_choice=NamedTool("read")).check()
    with pytest.raises(UsageError, match="not among the tools") as refused:
        Sampling(tools=tools, tool_choice=NamedTool("write")).check()
    assert refused.value.hint == "There are: look, read"
    with pytest.raises(UsageError) as refused:
        Sampling(tool_choice="required").check()
    assert refused.value.hint == "There are: none"


def test_closing_it_closes_the_engine() -> None:
    closed: list[bool] = []
    engine = Scripted()
    engine.close = lambda: closed.append(True)  # type: ignore[method-assign]
    ToolEngine(engine, [], lambda call: True).close()
    assert closed == [True]


def test_what_a_tool_refuses_is_said_to_the_model_in_its_words() -> None:
    engine = Scripted([("crop", {"image": 9, "left": 0, "top": 0, "right": 50, "bottom": 50})])
    _, runs = answered(engine, ["crop"], [user("what?", [picture()])])
    assert [message.text for message in engine.seen[1][0] if message.role == "tool"] == [
        "Error: There is no picture 9: there is one"
    ]
    assert [run.error for run in runs] == [True]
