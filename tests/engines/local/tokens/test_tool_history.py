"""Conversations whose answers have calls are taken by every template, whole ones and those that were stopped."""

from pathlib import Path

import pytest

from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.message import CallResult, Message, ToolRound, assistant, user
from pixtral_cli.chat.tools import Tool, ToolCall
from pixtral_cli.engines.local.engine import LocalEngine
from tests.engines.local.checkpoints import Sizes, build, image

PART = image(64, 32)
CALLS = tuple(ToolCall(f"id{number}", "crop", '{"image": 1}') for number in (1, 2))
ROUNDS = (
    ToolRound((CallResult(CALLS[0], "Shown next.", (PART,)), CallResult(CALLS[1], "Declined.")), 12, 3),
    ToolRound((CallResult(CALLS[0], "Shown next.", (PART,)),), 12, 6),
)


@pytest.mark.parametrize("version", ["v3", "v7", "v11", "v13", "v15"])
@pytest.mark.parametrize("tools", [(), (Tool("crop"),)])
@pytest.mark.parametrize(
    "answer",
    [
        assistant("Let me see. Red.", reasoning="Hm.So.", rounds=ROUNDS),
        assistant("", rounds=(ToolRound((CallResult(CALLS[1], "Declined."),)),), interrupted=True),
        assistant("Let me see. ", rounds=ROUNDS, interrupted=True),
        assistant("Red.", reasoning="Hm.", rounds=ROUNDS[:1]),
    ],
)
def test_a_follow_up_can_be_asked(tmp_path: Path, version: str, tools: tuple[Tool, ...], answer: Message) -> None:
    engine = LocalEngine(build(tmp_path, Sizes(version=version, vocab=600)))
    said = tool_rounds.for_engine([user("What is it?", [PART]), answer, user("Why?")])
    pictures = 1 + sum(len(result.images) for each in answer.rounds for result in each.results)
    assert len(engine.measure(said, tools).images) == pictures
