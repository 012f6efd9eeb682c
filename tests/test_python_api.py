"""`from pixtral_cli import Pixtral`: what a program does with it, on pictures with the demo model."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image as PillowImage
from pydantic import BaseModel

from pixtral_cli import Answer, Pixtral, errors
from tests.fakes import FakeEngine
from tests.server.processes import ROOT
from tests.server.serving import serving

SHAPES = ROOT / "examples" / "shapes.png"
SEEN = "A red circle, a blue star and a green triangle."


@pytest.fixture(scope="module")
def demo() -> Iterator[Pixtral]:
    with Pixtral("demo") as model:
        yield model


@pytest.mark.parametrize(
    "picture",
    [SHAPES, str(SHAPES), SHAPES.as_uri(), SHAPES.read_bytes(), PillowImage.open(SHAPES)],
    ids=["path", "text", "url", "bytes", "pillow"],
)
def test_a_question_about_a_picture_is_answered(demo: Pixtral, picture: object) -> None:
    answer = demo.ask("What is in the image?", images=[picture])  # type: ignore[list-item]
    assert answer == SEEN
    assert isinstance(answer, Answer)
    assert answer.finish_reason == "stop"
    assert answer.usage.image_tokens > 100
    assert answer.timings.total > 0


def test_an_answer_comes_piece_by_piece(demo: Pixtral) -> None:
    stream = demo.stream("What is in the image?", images=[SHAPES])
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == stream.answer == SEEN
    assert stream.answer.finish_reason == "stop"


def test_a_stream_that_is_closed_stops(demo: Pixtral) -> None:
    with demo.stream("What is in the image?", images=[SHAPES]) as stream:
        first = next(stream)
    assert list(stream) == []
    assert stream.answer == first
    assert stream.answer.finish_reason == "interrupted"


@pytest.mark.parametrize("remote", [False, True])
def test_what_is_closed_says_so(remote: bool) -> None:
    ended = threading.Event()

    class Slow(list[str]):
        def __iter__(self) -> Iterator[str]:
            yield "One "
            ended.wait(60)
            yield "two."

    with serving(FakeEngine([Slow(["One ", "two."])] * 3)) as running:
        model = Pixtral("fake", base_url=f"{running.url}/v1") if remote else Pixtral("demo")
        chat, waiting = model.chat(), model.stream("What?")
        begun = model.stream("What?")
        if remote:
            next(begun)
        model.close()
        model.close()
        for ask in (lambda: model.ask("What?"), lambda: chat.ask("What?"), lambda: next(waiting),
                    lambda: model.stream("What?"), lambda: model.chat().stream("What?"), lambda: list(begun)):  # fmt: skip
            with pytest.raises(errors.UsageError, match="is closed"):
                ask()
        ended.set()


def test_a_conversation_goes_on(demo: Pixtral) -> None:
    chat = demo.chat()
    assert chat.ask("What is in the image?", images=[SHAPES]) == SEEN
    assert chat.ask("How many shapes are there?") == "Three."
    assert [message.role for message in chat.messages] == ["user", "assistant"] * 2


class Sight(BaseModel):
    tall: bool


def test_a_class_is_filled_in(demo: Pixtral) -> None:
    sight = demo.ask("Describe it.", images=[SHAPES], schema=Sight)
    assert isinstance(sight, Sight)
    value = demo.ask("Describe it.", images=[SHAPES], schema="tall:bool")
    assert isinstance(value["tall"], bool)


def test_all_that_is_asked_reaches_the_engine() -> None:
    engine = FakeEngine(["Yes.", "Yes.", "Yes."])
    with serving(engine) as running, Pixtral(base_url=f"{running.url}/v1", system="Be kind.") as model:
        assert model.name == "fake"
        model.ask(
            "A {1} or {2}?", [SHAPES, SHAPES], temperature=0.5, top_p=0.9, top_k=5, seed=3, stop=["END"], max_tokens=7
        )
        model.chat("Be short.").ask("Who are you?", stop="END")
    messages, sampling = engine.seen[0]
    assert messages[0].text == "Be kind."
    assert [type(part).__name__ for part in messages[1].parts] == ["str", "Image", "str", "Image", "str"]
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.seed) == (0.5, 0.9, 5, 3)
    assert (sampling.stop, sampling.max_tokens) == (("END",), 7)
    messages, sampling = engine.seen[1]
    assert (messages[0].text, sampling.stop) == ("Be short.", ("END",))


def test_errors_are_the_packages_own(demo: Pixtral, tmp_path: Path) -> None:
    with pytest.raises(errors.ImageError, match=r"none\.png"):
        demo.ask("?", images=[tmp_path / "none.png"])
    with pytest.raises(errors.NetworkError):
        demo.ask("?", images=["http://127.0.0.1:1/x.png"])
    for name, meant in (("temprature", "temperature"), ("image", "images")):
        with pytest.raises(errors.UsageError, match=name) as caught:
            demo.ask("?", **{name: 1})  # type: ignore[call-overload]
        assert caught.value.hint.startswith(f"Did you mean {meant}? ")
    for question, said in ((None, "not NoneType"), (5, "not int"), ("  ", "There is no question")):
        with pytest.raises(errors.UsageError, match=said):
            demo.ask(question)  # type: ignore[call-overload]
        with pytest.raises(errors.UsageError, match=said):
            demo.stream(question)  # type: ignore[arg-type]
    with pytest.raises(errors.PixtralError, match="cut off"):
        demo.ask("Describe it.", schema={"type": "string", "minLength": 200}, max_tokens=3)
    for wrong in ({"images": [5]}, {"stop": 5}, {"schema": 5}):
        with pytest.raises(errors.UsageError, match="not int"):
            demo.ask("?", **wrong)  # type: ignore[call-overload]
    for name, value in (("max_tokens", 2.5), ("top_k", True), ("seed", "3")):
        with pytest.raises(errors.UsageError, match=f"{name} must be a whole number, not {value!r}"):
            demo.ask("?", **{name: value})  # type: ignore[call-overload]
    for name, wrong_number in (("temperature", "hot"), ("top_p", [1])):
        with pytest.raises(errors.UsageError, match=f"{name} must be a number, not"):
            demo.ask("?", **{name: wrong_number})  # type: ignore[call-overload]
    with pytest.raises(errors.PixtralError):
        Pixtral("no-such-model-anywhere")


def test_the_import_is_light() -> None:
    code = "import pixtral_cli, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "PIL", "pydantic", "typer", "numpy", "pixtral_cli.python_api"} & set(loaded)


def test_what_is_not_there_is_no_attribute() -> None:
    import pixtral_cli

    with pytest.raises(AttributeError, match="Pixtrall"):
        _ = pixtral_cli.Pixtrall


def test_the_documents_programs_work_as_they_stand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(programs) == 4
    for program in programs:
        exec(program, {"__name__": "program"})
    printed = capsys.readouterr().out
    for part in (SEEN, "The green bar.", "Three.", "color="):
        assert part in printed
