"""`pixtral models show`, and a vendor's system prompt from the hub to the question."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engines.local.checkpoints import Sizes, build
from tests.hub import FakeHub, model_files, pixtral

THINKING = "First think it through.\n[THINK]Your thoughts, at length.[/THINK]Then answer.\n\x1b[31m"
PLAIN = "You are a helpful assistant.\n"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeHub]:
    files = model_files(build(tmp_path / "model", Sizes(version="v13")))
    prompts = {"org/thinks": THINKING.encode(), "org/plain": PLAIN.encode(), "org/broken": b"\xff\xfe"}
    repos = {name: {"main": files | {"SYSTEM_PROMPT.txt": text}} for name, text in prompts.items()}
    with FakeHub({**repos, "org/bare": {"main": files}}) as fake:
        yield fake


def tokens(fake: FakeHub, *words: str) -> int:
    done = pixtral(fake, "ask", "Hi", "--dry-run", "--format", "json", *words)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["prompt_tokens"])


def test_it_comes_with_the_model_is_shown_and_is_used_where_the_vendor_asks_for_it(fake: FakeHub) -> None:
    for repo in ("org/thinks", "org/plain", "org/bare"):
        assert pixtral(fake, "pull", repo).returncode == 0
    assert len(fake.gets("SYSTEM_PROMPT.txt")) == 2
    shown = pixtral(fake, "models", "show", "org/thinks").stdout
    assert "First think it through.\n[THINK]Your thoughts, at length.[/THINK]Then answer." in shown
    assert "by default" in shown
    assert "\x1b" not in shown
    assert "by --system alone" in pixtral(fake, "models", "show", "org/plain").stdout
    bare = tokens(fake, "-m", "org/bare")
    assert tokens(fake, "-m", "org/plain") == bare
    assert tokens(fake, "-m", "org/thinks") > bare + 30
    brief = ("-s", "Be brief.")
    assert tokens(fake, "-m", "org/thinks", *brief) == tokens(fake, "-m", "org/bare", *brief)


def test_one_that_is_no_text_is_named_by_verify(fake: FakeHub) -> None:
    pixtral(fake, "pull", "org/broken")
    done = pixtral(fake, "models", "verify", "org/broken")
    assert (done.returncode, "SYSTEM_PROMPT.txt is not UTF-8 text" in done.stderr) == (4, True)


def test_show_tells_what_a_model_is_and_takes(fake: FakeHub) -> None:
    pixtral(fake, "pull", "org/thinks")
    about = json.loads(pixtral(fake, "models", "show", "org/thinks", "--format", "json").stdout)
    assert (about["repository"], about["state"], about["format"]) == ("org/thinks", "complete", "mistral")
    assert about["system_prompt"] == THINKING
    assert about["memory"]["none"] > about["memory"]["4bit"]


def test_show_of_a_model_that_can_be_pulled_says_how(fake: FakeHub) -> None:
    shown = pixtral(fake, "models", "show", "pixtral-12b").stdout
    assert "12.7 billion" in shown
    assert "pixtral pull pixtral-12b" in shown
    about = json.loads(pixtral(fake, "models", "show", "ministral-3b-reasoning", "--format", "json").stdout)
    assert (about["reasoning"], about["licence"], about["temperature"]) == (True, "Apache 2.0", 0.7)


def test_show_without_a_name_is_the_model_that_runs_and_an_unknown_one_is_refused(fake: FakeHub) -> None:
    assert "built in" in pixtral(fake, "models", "show").stdout
    done = pixtral(fake, "models", "show", "pixtral-13b")
    assert (done.returncode, "Did you mean pixtral-12b?" in done.stderr) == (4, True)
