"""`pixtral sessions` as a user meets it: streams, exit statuses, files."""

import io
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from pixtral_cli import config
from pixtral_cli.command_line import run
from pixtral_cli.images.image import Image
from pixtral_cli.sessions.library import Sessions
from tests.fakes import FakeEngine
from tests.images.colours import BLUE, GREEN, RED, picture
from tests.terminal.emulator import Terminal

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*words: str) -> tuple[int, str, str]:
        status = run(["sessions", *words])
        return status, *capsys.readouterr()

    return call


def saved(question: str, answer: str = "well", *images: Image, days_ago: float = 0, system: str | None = None) -> str:
    sessions = Sessions(config.paths().data, lambda: time.time() - 86_400 * days_ago)
    with sessions.start(model="fake", system=system) as session:
        list(session.conversation().ask(FakeEngine([answer]), question, images))
        return session.id


def ids() -> list[str]:
    return [entry.id for entry in Sessions(config.paths().data).list()]


def test_without_sessions_the_list_is_empty_and_says_how_to_start(call: Call, home: Path) -> None:
    assert call() == (0, "", "No session is saved yet. Start one: pixtral chat\n")
    assert json.loads(call("list", "--format", "json")[1]) == {"sessions": []}
    assert not (home / "pixtral").exists()


def test_the_list_names_each_session_the_newest_first(call: Call) -> None:
    old = saved("an old question", days_ago=40)
    new = saved("what is this?", "a square", RED, GREEN)
    status, out, err = call()
    head, first, second = out.splitlines()
    assert (status, err) == (0, "")
    assert head.split() == ["ID", "LAST", "MESSAGES", "IMAGES", "BRANCH", "MODEL", "TITLE"]
    assert re.fullmatch(rf"{new}  \d{{4}}-\d\d-\d\d \d\d:\d\d  2         2               fake   what is this\?", first)
    assert second.startswith(old)
    assert call("list", "--limit", "1")[1].splitlines() == [head, first]


def test_the_list_as_json(call: Call) -> None:
    name = saved("what is this?", "a square", RED, system="be brief")
    (entry,) = json.loads(call("--format", "json")[1])["sessions"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry.pop("created"))
    assert entry.pop("updated")
    assert entry == {
        "id": name, "title": "what is this?", "model": "fake", "origin": None, "system": "be brief", "messages": 2, "images": 1,
        "branch": 1, "branches": 1, "tags": [],
    }  # fmt: skip


def test_show_prints_the_conversation_and_names_the_images(call: Call) -> None:
    name = saved("what is this?", "a **red** square", RED, system="be brief")
    status, out, err = call("show", name[:4])
    assert (status, err) == (0, "")
    assert "> be brief\n\n## You\n\n*image 1: red.png, 8×6*\n\nwhat is this?\n\n## fake\n\na **red** square" in out
    said = json.loads(call("show", name, "--format", "json")[1])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", said["created"])
    assert [message["role"] for message in said["messages"]] == ["system", "user", "assistant"]


def test_what_a_model_or_a_name_smuggled_in_does_nothing_to_the_terminal(call: Call) -> None:
    name = saved("\x1b]52;c;aGk=\x07 hi\x9b2J", "\x1b[2J\x1b]0;x\x07", picture("red", "a\x1b[31m.png"))
    for words in (["list"], ["show", name], ["search", "hi"], ["rm", "-y", name]):
        out = "".join(map(str, call(*words)))
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", out), words


def test_search_shows_where_the_words_are(call: Call) -> None:
    name = saved("When did things go wrong\nfor the dark dragon?")
    saved("something else")
    status, out, _ = call("search", "DRAGON", "dark")
    assert status == 0
    assert out.split()[0] == name
    assert out.rstrip().endswith("When did things go wrong for the dark dragon?")
    (hit,) = json.loads(call("search", "dragon", "--format", "json")[1])["hits"]
    assert (hit["session"]["id"], hit["role"], hit["position"]) == (name, "user", 0)
    assert call("search", "unicorn") == (0, "", "No session holds 'unicorn'\n")


@pytest.mark.parametrize("ending", ["md", "html", "json", "jsonl"])
def test_export_writes_the_form_that_the_file_is_named_for(call: Call, tmp_path: Path, ending: str) -> None:
    name = saved("what is this?", "a square", RED)
    file = tmp_path / f"talk.{ending}"
    assert call("export", name, "-o", str(file)) == (0, "", f"Written to {file}\n")
    assert "what is this?" in file.read_text()
    assert (tmp_path / "talk.images" / "1-red.png").exists() == (ending == "md")


def test_export_to_stdout_is_markdown_unless_set_otherwise(call: Call) -> None:
    name = saved("what is this?", "a square", RED)
    assert call("export", name)[1].startswith("# what is this?\n")
    assert call("export", name, "--format", "html")[1].startswith("<!doctype html>")


def test_export_to_a_dash_is_stdout_in_the_form_asked_for(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, _ = call("export", saved("what is this?"), "--format", "json", "-o", "-")
    assert status == 0
    assert json.loads(out)["messages"][0]["role"] == "user"
    assert not list(tmp_path.glob("-*"))


def test_what_was_exported_is_imported_as_a_session_of_its_own(call: Call, tmp_path: Path) -> None:
    name = saved("what is this?", "a square", RED, system="be brief")
    file = tmp_path / "talk.json"
    call("export", name, "-o", str(file))
    status, out, err = call("import", str(file))
    assert (status, err, len(ids())) == (0, "", 2)
    again = Sessions(config.paths().data).load(out.strip())
    assert (again.summary.title, again.summary.system, again.summary.model) == ("what is this?", "be brief", "fake")
    assert again.messages[0].images[0].data == RED.data


def test_a_title_of_ones_own_and_tags_go_through_a_file(call: Call, tmp_path: Path) -> None:
    name = saved("what is this?")
    call("rename", name, "My talk")
    call("tag", name, "work", "may")
    call("export", name, "-o", str(tmp_path / "talk.json"))
    copy = call("import", str(tmp_path / "talk.json"))[1].strip()
    with Sessions(config.paths().data).resume(copy) as session:
        list(session.conversation().ask(FakeEngine(["more"]), "another question"))
    summary = Sessions(config.paths().data).find(copy)
    assert (summary.title, summary.tags) == ("My talk", ("work", "may"))
    text = (tmp_path / "talk.json").read_text().replace('"may"', "5, null, [1]")
    (tmp_path / "odd.json").write_text(text)
    assert Sessions(config.paths().data).find(call("import", str(tmp_path / "odd.json"))[1].strip()).tags[:2] == (
        "work",
        "5",
    )


def test_path_prints_the_folder_that_all_of_it_is_in(call: Call) -> None:
    saved("hello")
    status, out, _ = call("path")
    assert (status, Path(out.strip())) == (0, config.paths().data)
    assert (config.paths().data / "sessions.db").exists()


def test_a_fork_prints_its_id(call: Call) -> None:
    name = saved("what is this?")
    status, out, _ = call("fork", name)
    assert (status, set(ids())) == (0, {name, out.strip()})
    assert sorted(line.partition("fake")[2].strip() for line in call()[1].splitlines()[1:]) == [
        "what is this?",
        "what is this? (copy)",
    ]


def test_an_export_on_stdin_is_imported(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = call("export", saved("what is this?", "a square", RED), "--format", "json")[1]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(exported.encode())))
    status, out, err = call("import", "-")
    assert (status, err) == (0, "")
    assert "a square" in call("show", out.strip())[1]


def test_a_session_whose_question_was_taken_back_says_how_it_comes_back(call: Call) -> None:
    name = saved("what is this?", "a square", RED)
    with Sessions(config.paths().data).resume(name) as session:
        conversation = session.conversation()
        conversation.undo()
    status, out, err = call("show", name)
    assert (status, "a square" in out) == (0, False)
    assert err == f"Its question was taken back. pixtral chat --session {name}, then /redo, brings it back\n"


def test_tags_narrow_a_search_and_one_that_is_not_there_is_told(call: Call) -> None:
    work, home = saved("a red square"), saved("a red circle")
    call("tag", work, "work")
    assert [line.split()[0] for line in call("search", "red", "--tag", "work")[1].splitlines()] == [work]
    assert call("tag", home, "-d", "nosuch")[2].startswith("It has no tag nosuch\n")


@pytest.mark.parametrize("words", [["sessions", "list"], ["sessions"]])
def test_a_terminal_gets_as_many_as_it_holds_and_is_told_of_the_others(home: Path, words: list[str]) -> None:
    names = [saved(f"question {number}", days_ago=30 - number) for number in range(12)][::-1]
    for flags, most in (([], 6), (["--all"], 12)):
        with Terminal(100, 10) as terminal, terminal.run(sys.executable, "-m", "pixtral_cli", *words, *flags) as child:
            assert child.wait(120) == 0
            terminal.wait_for("question")
        listed = [line.split()[0].decode() for line in terminal.raw.splitlines() if b"question" in line]
        assert listed == names[:most]
        assert (b"6 more: pixtral sessions --all" in terminal.raw) == (most == 6)


def test_rm_asks_and_without_a_terminal_wants_to_be_sure(call: Call) -> None:
    name = saved("what is this?", "a square", RED)
    status, _, err = call("rm", name)
    assert (status, ids()) == (2, [name])
    assert err == f"pixtral: Remove session {name} (what is this?)? There is no terminal to ask at: use --yes\n"
    assert call("rm", "-y", name) == (0, "", f"Removed session {name} (what is this?), and 1 image with it\n")
    assert ids() == []


def test_rm_on_a_terminal_takes_yes_for_an_answer_only(home: Path) -> None:
    name = saved("what is this?")
    for answer, left in (("", [name]), ("no", [name]), ("y", [])):
        child = pexpect.spawn(sys.executable, ["-m", "pixtral_cli", "sessions", "rm", name], timeout=120)
        child.expect_exact("[y/N] ")
        child.sendline(answer)
        child.expect(pexpect.EOF)
        child.close()
        assert (child.exitstatus, ids()) == (0, left)


def test_ctrl_c_at_the_question_leaves_the_shell_a_fresh_line(home: Path) -> None:
    name = saved("what is this?")
    child = pexpect.spawn(sys.executable, ["-m", "pixtral_cli", "sessions", "rm", name], timeout=120)
    child.expect_exact("[y/N] ")
    child.sendintr()
    child.expect_exact("\r\n")
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, ids()) == (130, [name])


def test_of_several_to_remove_none_goes_if_one_is_wrong(call: Call) -> None:
    name = saved("what is this?")
    status, _, err = call("rm", "-y", name, "nothere")
    assert (status, err) == (2, "pixtral: There is no session 'nothere'. See: pixtral sessions\n")
    assert ids() == [name]


def test_prune_wants_to_know_what_and_shows_it_first(call: Call) -> None:
    old, new = saved("old", "x", RED, days_ago=40), saved("new", "x", GREEN)
    assert call("prune")[0] == 2
    status, out, _ = call("prune", "--older-than", "30d", "--dry-run")
    assert (status, out.split()[0], len(out.splitlines()), len(ids())) == (0, old, 1, 2)
    assert call("prune", "--older-than", "30d")[0] == 2  # nobody to ask
    assert call("prune", "--older-than", "30d", "-y")[2] == "Removed 1 session, and 1 image with it\n"
    assert ids() == [new]
    assert call("prune", "--keep", "1", "-y") == (0, "", "There is nothing to remove\n")
    assert call("prune", "--keep", "0", "-y")[0] == 0
    assert ids() == []


@pytest.mark.parametrize("age", ["d", "-1d", "1 moon", "1e9d", "9999999999d"])
def test_an_age_that_is_none_is_a_usage_error(call: Call, age: str) -> None:
    status, _, err = call("prune", "--older-than", age)
    assert (status, "must be an age" in err) == (2, True)


def test_an_unknown_session_is_a_usage_error(call: Call) -> None:
    for words in (["show", "x"], ["export", "x"], ["fork", "x"], ["rm", "x"]):
        status, out, err = call(*words)
        assert (status, out, err) == (2, "", "pixtral: There is no session 'x'. See: pixtral sessions\n")


def test_export_over_what_cannot_be_written_is_one_line(call: Call, tmp_path: Path) -> None:
    name = saved("what is this?")
    status, out, err = call("export", name, "-o", str(tmp_path / "no" / "x.md"))
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert call("export", name, "-o", str(tmp_path / "x.docx"))[0] == 2


def branched() -> str:
    """A session of three branches, which begin with one, two and two images; the second is shown."""
    with Sessions(config.paths().data).start(model="fake") as session:
        said = session.conversation()
        list(said.ask(FakeEngine(["a red one"]), "what is this?", [RED]))
        list(said.ask(FakeEngine(["a green one"]), "and this?", [GREEN]))
        said.undo()
        list(said.ask(FakeEngine(["a blue one"]), "and that?", [BLUE]))
        list(said.regenerate(FakeEngine(["blue, I say"])))
        said.select(1)
        said.select(2)
        return session.id


def test_every_branch_is_shown_and_exported_with_the_numbers_that_its_images_had(call: Call, tmp_path: Path) -> None:
    name = branched()
    assert "1 of 3" not in call("list")[1]
    status, out, err = call("show", name)
    assert (status, err) == (0, "Branch 2 of 3; another: --branch N\n")
    assert "a blue one" in out
    assert "image 3: blue.png" in out  # image 2 is the green one of branch 1
    status, out, err = call("show", name, "--branch", "1")
    assert (status, err) == (0, "")
    assert "image 2: green.png" in out
    assert "branch 1 of 3" in out
    assert "blue" not in out
    for form, said in (("md", "branch 3 of 3"), ("html", "branch 3 of 3"), ("json", '"branch": 3')):
        file = tmp_path / f"told.{form}"
        assert call("export", name, "--branch", "3", "-o", str(file))[0] == 0
        assert said in file.read_text()
        assert "blue, I say" in file.read_text()
        assert "a green one" not in file.read_text()
    assert call("show", name)[1].count("a blue one") == 1  # looking at another changes nothing


@pytest.mark.parametrize("number", ["4", "999999999999999999999"])
def test_a_branch_that_is_not_there_is_refused(call: Call, number: str) -> None:
    status, out, err = call("export", branched(), "--branch", number)
    assert (status, out) == (2, "")
    assert f"There is no branch {number}: there are 3." in err
    assert "there is one" in call("show", saved("hello"), "--branch", "2")[2]


def test_the_list_says_which_branch_is_shown(call: Call) -> None:
    name = branched()
    assert re.search(rf"{name} .* 2 of 3  fake", call("list")[1])
    (entry,) = json.loads(call("list", "--format", "json")[1])["sessions"]
    assert (entry["branch"], entry["branches"]) == (2, 3)
