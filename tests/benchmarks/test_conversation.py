"""What programs are asked, and what is made of their answers."""

from benchmarks.conversation import hold, medians
from benchmarks.scenario import TALKS, Turn, picture
from tests.benchmarks.programs import Parrot


def turn(ttft: float, rate: float) -> dict[str, float]:
    return {"ttft": ttft, "rate": rate, "prompt_tokens": 10, "tokens": 4}


def test_medians_are_taken_turn_by_turn_over_all_rounds_of_all_processes() -> None:
    once = {"load": 1.0, "memory": 5, "turns": [[turn(1, 10), turn(5, 30)], [turn(2, 20), turn(6, 30)]]}
    again = {"load": 3.0, "memory": 7, "turns": [[turn(9, 10), turn(7, 30)]]}
    found = medians([once, again])
    assert (found["ttft"], found["load"], found["memory"], found["decode"]) == ([2, 6], 2.0, 6, 25.0)


def test_the_rate_leaves_out_the_first_token() -> None:
    assert Turn(ttft=1.0, decode=2.0, tokens=5, prompt_tokens=9).rate == 2.0
    assert Turn(ttft=1.0, decode=0.0, tokens=1, prompt_tokens=9).rate == 0.0


def test_a_conversation_is_another_every_time_so_nothing_is_remembered_of_the_last() -> None:
    for talk in TALKS.values():
        said = []
        for number in (-1, 0, 1, 2):
            program = Parrot()
            hold(program, talk, 64, number)
            said.append((program.asked[0], program.shown[:1]))
        assert all(said.index(each) == place for place, each in enumerate(said))


def test_pictures_have_the_side_that_the_setting_or_the_conversation_says() -> None:
    program = Parrot()
    hold(program, TALKS["five questions"], 64, 0)
    hold(program, TALKS["large picture"], 64, 0)
    assert [image.size for image in program.shown] == [(64, 64), (1024, 1024)]
    assert picture(64, 0).tobytes() != picture(64, 1).tobytes()
