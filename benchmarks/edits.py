"""An edit of a long answer, which repeats it but for some words: with guesses from the conversation, and without.

The demo edits the page that it wrote for a sketch. A random model repeats nothing, so its answer is dictated: it computes
what any model would, and what it would have chosen itself is compared.
"""

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import apart
from benchmarks.peers.pixtral import engine
from pixtral_cli import images
from pixtral_cli.chat.engine import Sampling
from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.engines.local.engine import LocalEngine

SKETCH = Path(__file__).parent.parent / "examples" / "sketch.png"
WRITE, EDIT = "Write HTML to create a website like this", "Make the button blue."
FIELDS = ("First name", "Last name", "E-mail", "Telephone", "Street", "City", "Country", "Password", "Password again")


def page(colour: str) -> str:
    """A long answer: a page with a form, and buttons of a colour."""
    fields = "\n".join(
        f'    <label for="field-{number}">{name}</label>\n    <input id="field-{number}" placeholder="{name}" required>'
        for number, name in enumerate(FIELDS)
    )
    buttons = "\n".join(f'    <button style="background:{colour}">{name}</button>' for name in ("Send", "Save"))
    return f"<!doctype html>\n<title>Sign up</title>\n<h1>Sign up</h1>\n<form>\n{fields}\n{buttons}\n</form>"


def measure(folder: Path, name: str, rounds: int) -> dict[str, float]:
    """Medians of the seconds that decoding takes `with` guesses and `without`, and of the ratios of one to the other."""
    edit = "written" if name == "demo" else "dictated"
    found: dict[str, Any] = apart.call(f"benchmarks.edits:{edit}", folder, rounds)
    ratios = [without / guessed for without, guessed in zip(found["without"], found["with"], strict=True)]
    return {
        "tokens": found["tokens"], "with": statistics.median(found["with"]),
        "without": statistics.median(found["without"]), "ratio": statistics.median(ratios),
    }  # fmt: skip


def written(folder: str, rounds: int) -> dict[str, Any]:
    """The demo's own answers, greedily, to its sketch and then to the edit."""
    local = engine(Path(folder))
    asked = [user(WRITE, [images.from_bytes(SKETCH.read_bytes(), "sketch.png")])]
    asked += [assistant(_answer(local, asked)[0]), user(EDIT)]
    return _both(local, rounds, lambda: _answer(local, asked))


def _answer(local: LocalEngine, messages: list[Message]) -> tuple[str, int, float]:
    chunks = list(local.stream(messages, Sampling(temperature=0.0)))
    usage, timings = chunks[-1].usage, chunks[-1].timings
    assert usage
    assert timings
    return "".join(chunk.text for chunk in chunks), usage.completion_tokens, timings.decode


def dictated(folder: str, rounds: int) -> dict[str, Any]:
    """The page that was asked for again, in another colour, whatever the model would say."""
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    local = engine(Path(folder))
    asked = [user(WRITE, [images.from_bytes(SKETCH.read_bytes(), "sketch.png")]), assistant(page("green")), user(EDIT)]
    answer = Tekkenizer.from_file(Path(folder) / "tekken.json").encode(page("blue"), False, False)
    return _both(local, rounds, lambda: _dictate(local, asked, answer))


def _dictate(local: LocalEngine, messages: list[Message], answer: list[int]) -> tuple[list[int], int, float]:
    """What the model would have chosen at each token, how many those are, and how long they took."""
    from pixtral_cli.engines.local.runtime.timing import PhaseTimer
    from pixtral_cli.engines.local.tokens.encode import encode

    prompt, runner, script, chosen = (
        encode(messages, local.tokenizer, local.params.context_window),
        local.load(),
        iter(answer),
        [],
    )

    def pick(logits: Any) -> int:
        chosen.append(int(logits.argmax()))
        return next(script)

    with runner.prefix_cache.acquire(prompt) as (sequence, _):
        logits = runner.prefill(prompt, sequence, PhaseTimer())
        start = time.perf_counter()
        count = sum(1 for _ in runner.decode(sequence, logits, pick, len(answer)))
        return chosen, count, time.perf_counter() - start


def _both(local: LocalEngine, rounds: int, work: Any) -> dict[str, Any]:
    """Raises AssertionError when guesses change what is answered."""
    runner = local.load()
    exact = runner._drafts
    found: dict[str, Any] = {"with": [], "without": []}
    answers = []
    work()  # reads the picture and the prompt
    for _ in range(rounds):
        for way, guessing in (("without", False), ("with", exact)):
            runner._drafts = guessing
            answer, found["tokens"], seconds = work()
            found[way].append(seconds)
            answers.append(answer)
    assert all(answer == answers[0] for answer in answers), "guesses changed the answer"
    return found
