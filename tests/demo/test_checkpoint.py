"""The checkpoint in the package: small, quick, right about the pictures in examples/, and honest about itself."""

from pathlib import Path

import pytest

from demo.questions.talk import BLIND, GET, WHO
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.engines.local.engine import LocalEngine
from pixtral_cli.images.image import from_bytes

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "pixtral_cli" / "models" / "demo"


@pytest.fixture(scope="module")
def engine() -> LocalEngine:
    return LocalEngine(CHECKPOINT, device="cpu")


def ask(engine: LocalEngine, question: str, picture: str | None = None) -> str:
    images = [from_bytes((ROOT / "examples" / picture).read_bytes(), picture)] if picture else []
    messages: list[Message] = [user(question, images)]
    return "".join(chunk.text for chunk in engine.stream(messages, Sampling(temperature=0.0)))


def test_the_checkpoint_fits_in_sixteen_megabytes() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) < 16_000_000


@pytest.mark.parametrize(
    ("question", "answer"),
    [("Who are you?", WHO), ("How do I get the real model?", GET), ("What is in the image?", BLIND)],
)
def test_it_says_what_it_is_and_where_the_real_model_is(engine: LocalEngine, question: str, answer: str) -> None:
    assert ask(engine, question) == answer


@pytest.mark.parametrize(
    ("picture", "question", "answer"),
    [
        ("shapes.png", "What is in the image?", "A red circle, a blue star and a green triangle."),
        ("shapes.png", "How many shapes are there?", "Three."),
        ("shapes.png", "What color is the star?", "The star is blue."),
        ("shapes.png", "Where is the circle?", "The circle is at the top left."),
        ("bars.png", "Which bar is the tallest?", "The green bar."),
        ("bars.png", "How many bars are there?", "Four."),
        ("runs.png", "At which step did things start to go wrong for the red line?", "At step 4."),
        (
            "runs.png",
            "Describe the chart.",
            "A line chart: the red line goes down until step 4 and then up again and the blue line goes down.",
        ),
        ("near-far.png", "What is in the image?", "A person and a house."),
        (
            "near-far.png",
            "Is this person really big, or is the building just small?",
            "Neither: the person is near and the building is far away, so the person only looks big.",
        ),
    ],
)
def test_it_is_right_about_the_examples(engine: LocalEngine, picture: str, question: str, answer: str) -> None:
    assert ask(engine, question, picture) == answer


def test_the_sketch_becomes_its_page_and_the_page_is_changed(engine: LocalEngine) -> None:
    """The title is read; not every word of the fields is."""
    sketch = from_bytes((ROOT / "examples" / "sketch.png").read_bytes(), "sketch.png")
    asked: list[Message] = [user("Write HTML to create a website like this", [sketch])]
    page = "".join(chunk.text for chunk in engine.stream(asked, Sampling(temperature=0.0)))
    tags = [
        "<title>Login",
        "<h1>Login",
        "<input placeholder",
        "<input placeholder",
        '<label><input type="checkbox"',
        "<button>",
    ]
    lines = page.splitlines()[2:-1]
    assert [line[: len(tag)] for line, tag in zip(lines, tags, strict=True)] == tags
    asked += [assistant(page), user("make the button blue", [])]
    blue = "".join(chunk.text for chunk in engine.stream(asked, Sampling(temperature=0.0)))
    assert blue.strip() == page.strip().replace("<button>", '<button style="background:blue">')
