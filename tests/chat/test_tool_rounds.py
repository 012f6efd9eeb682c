"""The calls of an answer are part of it in a conversation, and messages of their own for engines and files."""

from collections.abc import Sequence

import pytest

from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Engine, Sampling
from pixtral_cli.chat.message import CallResult, Message, ToolRound, assistant, tool_result, user
from pixtral_cli.chat.toolbox.engine import ToolEngine
from pixtral_cli.chat.toolbox.functions import load_tools
from pixtral_cli.chat.tools import ToolCall
from pixtral_cli.errors import ContextError
from tests.chat.test_tool_engine import Scripted
from tests.fakes import FakeEngine
from tests.images.colours import BLUE, GREEN, RED

CROP = ("crop", {"image": 1, "left": 0, "top": 0, "right": 50, "bottom": 100})
ONE, TWO, THREE = (ToolCall(f"id{number}", f"tool{number}", "{}") for number in (1, 2, 3))
LOOKED = assistant(
    "Let me see. And there. Done.",
    reasoning="Hm. So.",
    rounds=(
        ToolRound((CallResult(ONE, "one", (RED,)), CallResult(TWO, "two", (GREEN, BLUE))), 12, 4),
        ToolRound((CallResult(THREE, "three"),), 23, 7),
    ),
)


def test_an_engine_is_given_calls_and_results_apart_and_their_pictures_by_the_user() -> None:
    assert tool_rounds.for_engine([user("what?"), LOOKED, user("and?")]) == [
        user("what?"),
        assistant("Let me see. ", reasoning="Hm. ", tool_calls=(ONE, TWO)),
        tool_result(ONE, "one"),
        tool_result(TWO, "two"),
        user(tool_rounds.SHOWN, [RED, GREEN, BLUE]),
        assistant("And there. ", reasoning="So.", tool_calls=(THREE,)),
        tool_result(THREE, "three"),
        assistant("Done."),
        user("and?"),
    ]


def test_messages_of_a_file_are_joined_to_the_answer_that_was_split() -> None:
    said = [user("what?"), LOOKED, user("and?"), assistant("No.", interrupted=True), user("why?")]
    assert tool_rounds.joined([part for message in said for part in tool_rounds.split(message)]) == said


def test_a_call_without_a_result_was_not_run() -> None:
    (answer,) = tool_rounds.joined([assistant("", tool_calls=(ONE, TWO)), tool_result(TWO, "two")])
    assert [result.text for result in answer.rounds[0].results] == [tool_rounds.NOT_RUN, "two"]


@pytest.mark.parametrize(
    "said",
    [
        [user("a"), tool_result(ONE, "one")],
        [assistant("", tool_calls=(ONE,)), tool_result(ONE, "one"), tool_result(ONE, "again")],
        [assistant("", tool_calls=(ONE,)), user("b"), tool_result(ONE, "late")],
    ],
)
def test_a_result_of_no_call_is_none(said: Sequence[Message]) -> None:
    with pytest.raises(ValueError) as raised:
        tool_rounds.joined(said)
    assert raised.value.args == (len(said) - 1,)


def looking(engine: Scripted) -> Engine:
    return ToolEngine(engine, load_tools(["crop"]), lambda call: True)


def asked(engine: Scripted, turn: int = -1) -> list[tuple[str, str, tuple[ToolCall, ...], int]]:
    return [(each.role, each.text, each.tool_calls, len(each.images)) for each in engine.seen[turn][0]]


def test_a_follow_up_begins_as_the_last_round_of_the_answer_did() -> None:
    engine, conversation = Scripted([CROP]), Conversation()
    list(conversation.ask(looking(engine), "what?", [RED]))
    list(conversation.ask(engine, "and?"))
    (_, _), (second, _), (follow_up, _) = engine.seen
    assert follow_up[: len(second)] == second
    assert follow_up[len(second) :] == (assistant("Done."), user("and?"))
    assert conversation.turns[1].text == "Let me see. Done."


def test_a_turn_with_its_calls_is_one_turn() -> None:
    engine, conversation = Scripted([CROP], [CROP]), Conversation()
    list(conversation.ask(looking(engine), "what?", [RED]))
    engine.rounds = [[CROP]]
    list(conversation.regenerate(looking(engine)))
    versions = conversation.versions()
    assert [each.answer.text for each in versions if each.answer] == [
        "Let me see. Let me see. Done.",
        "Let me see. Done.",
    ]
    assert [len(each.answer.rounds) for each in versions if each.answer] == [2, 1]
    conversation.select(1)
    assert len(conversation.history) == 2
    assert conversation.undo() == (RED, "what?")
    assert conversation.history == ()
    conversation.redo()
    list(conversation.ask(engine, "and?"))
    assert sum(role == "tool" for role, *_ in asked(engine)) == 2


def test_pictures_that_tools_show_have_numbers_and_can_be_dropped() -> None:
    engine, conversation = Scripted([CROP]), Conversation()
    list(conversation.ask(looking(engine), "what?", [RED]))
    conversation.stage(GREEN)
    assert list(conversation.numbered) == [1, 2, 3]
    assert (conversation.image(2).sha256, bool(conversation.image(2).transform)) == (RED.sha256, True)
    assert conversation.times_sent(2) == 1
    conversation.drop(2)
    assert list(conversation.numbered) == [1, 3]
    list(conversation.ask(engine, "and?"))
    assert tool_rounds.SHOWN not in [text for _, text, _, _ in asked(engine)]
    assert [role for role, *_ in asked(engine)] == ["user", "assistant", "tool", "assistant", "user"]


class Failing(Scripted):
    """Fails once a result has come."""

    def stream(self, messages, sampling):  # type: ignore[no-untyped-def]
        if messages[-1].role != "user" or messages[-1].text == tool_rounds.SHOWN:
            raise self.error
        yield from super().stream(messages, sampling)

    error: BaseException = ContextError("too long")


def test_what_overflowed_by_its_calls_is_kept_and_does_not_spoil_the_next_question() -> None:
    engine, conversation = Failing([CROP]), Conversation()
    with pytest.raises(ContextError):
        list(conversation.ask(looking(engine), "what?", [RED]))
    assert [len(message.rounds) for message in conversation.turns] == [0, 1]
    assert conversation.turns[1].interrupted
    plain = FakeEngine(["Yes."])
    list(conversation.ask(plain, "and?"))
    assert plain.seen[0][0] == (user("and?"),)


def test_what_was_run_before_ctrl_c_is_kept() -> None:
    engine, conversation = Scripted([CROP, CROP]), Conversation()
    allowed = iter([True])

    def allow(call: ToolCall) -> bool:
        if next(allowed, False):
            return True
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(conversation.ask(ToolEngine(engine, load_tools(["crop"]), allow), "what?", [RED]))
    (answer,) = conversation.turns[1:]
    assert answer.interrupted
    assert [len(result.images) for result in answer.rounds[0].results] == [1, 0]
    assert answer.rounds[0].results[1].text == tool_rounds.NOT_RUN
    list(conversation.ask(engine, "and?"))
    assert [role for role, *_ in asked(engine)] == ["user", "assistant", "tool", "tool", "user"]
    assert asked(engine)[-1][1] == f"{tool_rounds.SHOWN}\n\nand?"


def test_half_characters_in_a_result_are_none_for_the_model_either() -> None:
    class Half:
        tool = load_tools(["crop"])[0].tool

        def run(self, arguments: object, images: object):  # type: ignore[no-untyped-def]
            raise RuntimeError("no \udcff")

    engine, conversation = Scripted([("crop", {})]), Conversation()
    list(conversation.ask(ToolEngine(engine, [Half()], lambda call: True), "what?", sampling=Sampling()))
    assert engine.seen[1][0][-1].text == "Error: RuntimeError: no ?"


def test_the_thinking_of_each_round_goes_back_with_its_calls() -> None:
    class Thinking(Scripted):
        def stream(self, messages, sampling):  # type: ignore[no-untyped-def]
            yield Chunk(reasoning=f"Thought {len(self.seen)}. ")
            yield from super().stream(messages, sampling)

    engine, conversation = Thinking([CROP]), Conversation()
    list(conversation.ask(looking(engine), "what?", [RED]))
    list(conversation.ask(engine, "and?"))
    thoughts = [message.reasoning for message in engine.seen[-1][0] if message.role == "assistant"]
    assert thoughts == ["Thought 0. ", "Thought 1. "]
