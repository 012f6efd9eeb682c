"""What `pixtral ask` does between its flags and its engine, with a fake engine."""

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import pytest
from PIL import Image as Picture

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Cost, ImageCost, Sampling
from pixtral_cli.chat.message import assistant, user
from pixtral_cli.errors import ContextError, ImageError, NetworkError, PixtralError, UsageError
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.terminal.ask.ask import ConversationChoice, answer, open_conversation
from pixtral_cli.terminal.ask.dry_run import dry_run
from pixtral_cli.terminal.ask.request import Request, build_message, expand_folders
from pixtral_cli.terminal.output.output import Format, Output, choose_output
from tests.fakes import FakeEngine

PAGE = "Here you are:\n\n```html\n<p>hi</p>\n```\n\nEnjoy."


class Asked:
    """An output that can be read, and what came of asking."""

    def __init__(self, format: Format = "text") -> None:
        self.stdout, self.stderr = io.StringIO(), io.StringIO()
        self.output: Output = choose_output(stdout=self.stdout, stderr=self.stderr, format=format, model="fake", env={})

    def __call__(self, request: Request, said: str, stdin: TextIO | None = None) -> "Asked":
        engine = FakeEngine([said])
        asked = build_message(request, self.output, stdin)
        answer(request, asked, Conversation(), engine, self.output)
        return self

    @property
    def out(self) -> str:
        return self.stdout.getvalue()

    @property
    def err(self) -> str:
        return self.stderr.getvalue()


class CutOff(FakeEngine):
    """Every answer ends because it might not be longer."""

    def stream(self, messages: Any, sampling: Sampling) -> Any:
        for chunk in super().stream(messages, sampling):
            yield chunk if chunk.usage is None else type(chunk)("", "length", chunk.usage, chunk.timings)


def picture(folder: Path, name: str, colour: str = "red", size: tuple[int, int] = (32, 16)) -> str:
    Picture.new("RGB", size, colour).save(folder / name)
    return str(folder / name)


@contextmanager
def piped(data: bytes) -> Iterator[TextIO]:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    with os.fdopen(reader) as stdin:
        yield stdin


def said_to(asked: "Asked", request: Request, stdin: TextIO | None) -> list[Any]:
    return list(build_message(request, asked.output, stdin).parts)


def said(request: Request, stdin: TextIO | None = None) -> list[Any]:
    parts = build_message(request, Asked().output, stdin).parts
    return [part if isinstance(part, str) else part.name for part in parts]


def test_images_then_the_question_then_what_is_piped_in(tmp_path: Path) -> None:
    a, b = picture(tmp_path, "a.png"), picture(tmp_path, "b.png")
    with piped(b"line 1\nline 2\n") as stdin:
        assert said(Request("Why?", [b, a]), stdin) == ["b.png", "a.png", "Why?\n\nline 1\nline 2"]


def test_piped_text_alone_is_the_question() -> None:
    with piped(b"Why?\n") as stdin:
        assert said(Request(), stdin) == ["Why?"]


def test_numbers_place_images_in_the_question_and_not_in_what_is_piped_in(tmp_path: Path) -> None:
    with piped(b'{"n": {1}, "m": {7}}') as stdin:
        parts = said(Request("In {1}?", [picture(tmp_path, "a.png")]), stdin)
    assert parts == ["In ", "a.png", '?\n\n{"n": {1}, "m": {7}}']


def test_paths_and_urls_in_the_words_are_words(tmp_path: Path) -> None:
    path = picture(tmp_path, "a.png")
    with piped(f"see {path} and http://127.0.0.1:9/x.png".encode()) as stdin:
        assert said(Request(f"What is in {path}?"), stdin) == [
            f"What is in {path}?\n\nsee {path} and http://127.0.0.1:9/x.png"
        ]


def test_an_image_on_stdin_wins_over_text(tmp_path: Path) -> None:
    data = Path(picture(tmp_path, "a.png")).read_bytes()
    with piped(data) as stdin:
        assert said(Request("What?", ["-"]), stdin) == ["stdin", "What?"]


def test_no_stdin_leaves_stdin_alone() -> None:
    with piped(b"text") as stdin:
        assert said(Request("Why?", read_stdin=False), stdin) == ["Why?"]
        assert stdin.read() == "text"


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (Request(""), UsageError),
        (Request(" \n"), UsageError),
        (Request("x", ["-", "-"]), UsageError),
        (Request("x", ["/no/such.png"]), ImageError),
        (Request("x", ["-"]), ImageError),
        (Request("x", ["HTTPS://example.org/a.png"], offline=True), NetworkError),
        (Request("x", file=Path("/")), UsageError),
    ],
)
def test_what_makes_no_sense_is_refused_before_an_engine_is_needed(request_: Request, error: type[Exception]) -> None:
    with pytest.raises(error) as raised:
        build_message(request_, Asked().output, None)
    assert isinstance(raised.value, PixtralError)
    assert len(raised.value.message) <= 120
    assert raised.value.hint


def test_what_is_not_shown_of_an_image_is_noted(tmp_path: Path) -> None:
    frames = [Picture.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    asked = Asked()
    asked(Request("What?", [str(tmp_path / "a.gif")]), "Red.")
    assert asked.err == "a.gif: animated: only the first frame is used\n"


def test_the_code_block_alone(tmp_path: Path) -> None:
    assert Asked()(Request("page", extract="html"), PAGE).out == "<p>hi</p>\n"
    asked = Asked()(Request("page", extract="html", file=tmp_path / "page.html"), PAGE)
    assert (tmp_path / "page.html").read_text() == "<p>hi</p>\n"
    assert asked.out == ""
    assert asked.err == f"Wrote {tmp_path / 'page.html'} (10 bytes)\n"


def test_in_json_the_code_block_stands_beside_the_answer() -> None:
    for format in ("json", "jsonl"):
        found = json.loads(Asked(format)(Request("page", extract="any"), PAGE).out.splitlines()[-1])
        assert (found["code"], found["language"], found["answer"]) == ("<p>hi</p>\n", "html", PAGE)


def test_an_answer_without_the_requested_block_is_not_lost(tmp_path: Path) -> None:
    asked = Asked()
    with pytest.raises(PixtralError, match="no code block in css, only html"):
        asked(Request("page", extract="css", file=tmp_path / "page.css"), PAGE)
    assert asked.out == ""
    assert asked.err == f"{PAGE}\n"
    assert not (tmp_path / "page.css").exists()


@pytest.mark.parametrize(
    ("format", "held"),
    [
        ("text", "A circle.\n"),
        ("json", '{"answer": "A circle."'),
        ("jsonl", '{"text": "A "}\n{"text": "circle."}\n{"answer": "A circle."'),
    ],
)
def test_a_file_gets_what_stdout_would_have_got(format: Format, held: str, tmp_path: Path) -> None:
    asked = Asked(format)(Request("x", file=tmp_path / "answer"), "A circle.")
    assert (tmp_path / "answer").read_text().startswith(held)
    assert asked.out == ""


def test_an_answer_that_a_file_does_not_take_goes_to_stdout() -> None:
    asked = Asked()
    with pytest.raises(PixtralError, match="/dev/full cannot be written"):
        asked(Request("x", file=Path("/dev/full")), "A circle.")
    assert asked.out == "A circle.\n"


def test_a_saved_text_is_the_model_s_own_and_what_hides_in_it_is_reported(tmp_path: Path) -> None:
    hostile = "```py\nx = 'a\u202eb' # \x1b[2J\n```"
    asked = Asked()(Request("x", extract="py", file=tmp_path / "x.py"), hostile)
    assert (tmp_path / "x.py").read_text() == "x = 'a\u202eb' # \x1b[2J\n"
    assert "Warning: 1 bidirectional control, first in line 1" in asked.err
    shown = Asked()(Request("x", extract="py"), hostile)
    assert shown.out == "x = 'a\\u202eb' # \u241b[2J\n"


def test_an_empty_answer_is_reported() -> None:
    assert Asked()(Request("?"), "").err == "The model's answer is empty\n"


def test_statistics_come_on_stderr_when_asked_for() -> None:
    asked = Asked()(Request("What is it?", verbose=True), "A circle.")
    assert asked.out == "A circle.\n"
    assert "prompt 3 tokens" in asked.err
    assert "of 1,000 of the context window used" in asked.err
    assert "first token 0.25 s" in asked.err


def test_a_dry_run_shows_what_would_be_sent_and_asks_nothing(tmp_path: Path) -> None:
    asked, engine = Asked(), FakeEngine()
    request = Request("What is this?", [picture(tmp_path, "a.png"), picture(tmp_path, "b.png", size=(8, 8))])
    dry_run(request, build_message(request, asked.output, None), Conversation("Be brief."), engine, asked.output)
    assert asked.out.splitlines() == [
        "model    fake",
        "image {1}  a.png  32×16  10 tokens",
        "image {2}  b.png  8×8  10 tokens",
        "system",
        "         Be brief.",
        "text     13 characters",
        "         What is this?",
        "prompt   25 tokens, 20 of them images",
        "context  975 of 1,000 tokens left for the answer",
    ]
    assert engine.seen == []


def test_a_dry_run_in_json(tmp_path: Path) -> None:
    asked = Asked("json")
    request = Request("What?", [picture(tmp_path, "a.png")])
    dry_run(request, build_message(request, asked.output, None), Conversation(), FakeEngine(), asked.output)
    assert json.loads(asked.out) == {
        "model": "fake",
        "system": None,
        "text": "What?",
        "images": [
            {
                "label": "{1}",
                "name": "a.png",
                "width": 32,
                "height": 16,
                "sent_width": 32,
                "sent_height": 16,
                "tokens": 10,
            }
        ],
        "prompt_tokens": 11,
        "image_tokens": 10,
        "context_window": 1000,
        "context_left": 989,
    }


def test_a_dry_run_refuses_what_does_not_fit() -> None:
    asked = Asked()
    for request in (Request("word " * 1000), Request("x", sampling=Sampling(max_tokens=1000))):
        with pytest.raises(ContextError, match="window is 1,000"):
            dry_run(request, build_message(request, asked.output, None), Conversation(), FakeEngine(), asked.output)
    assert asked.out == ""


def test_a_question_is_saved_and_continued(tmp_path: Path) -> None:
    sessions, engine, out = Sessions(tmp_path), FakeEngine(["One.", "Two.", "Three."]), Asked().output
    for kept in (ConversationChoice(), ConversationChoice(resume=""), ConversationChoice(resume="", log=False)):
        with open_conversation(sessions, kept, out) as (conversation, _):
            request = Request("And?")
            answer(request, build_message(request, out, None), conversation, engine, out)
    assert [len(messages) for messages, _ in engine.seen] == [1, 3, 5]
    assert [summary.messages for summary in sessions.list()] == [4]


def test_a_question_that_is_not_to_be_kept_leaves_nothing(tmp_path: Path) -> None:
    with open_conversation(Sessions(tmp_path), ConversationChoice(log=False, system="Be brief."), Asked().output) as (
        conversation,
        _,
    ):
        assert [part.text for part in conversation.messages] == ["Be brief."]
    assert list(tmp_path.iterdir()) == []


def test_a_new_system_prompt_holds_when_a_session_goes_on(tmp_path: Path) -> None:
    sessions, engine, out = Sessions(tmp_path), FakeEngine(["One.", "Two."]), Asked().output
    for kept in (ConversationChoice(system="Be brief."), ConversationChoice(resume="", system="Be long.")):
        with open_conversation(sessions, kept, out) as (conversation, _):
            answer(Request("x"), build_message(Request("x"), out, None), conversation, engine, out)
    assert [messages[0].text for messages, _ in engine.seen] == ["Be brief.", "Be long."]


def test_an_empty_system_prompt_is_one_and_stays_when_the_session_goes_on(tmp_path: Path) -> None:
    engine, out = FakeEngine(["One."] * 3), Asked().output
    for kept in (
        ConversationChoice(system="Be brief."),
        ConversationChoice(resume="", system=""),
        ConversationChoice(""),
    ):
        with open_conversation(Sessions(tmp_path), kept, out) as (conversation, _):
            answer(Request("x"), build_message(Request("x"), out, None), conversation, engine, out)
    assert [(messages[0].role, messages[0].text) for messages, _ in engine.seen] == [
        ("system", "Be brief."), ("system", ""), ("system", ""),
    ]  # fmt: skip


def test_a_conversation_that_cannot_be_saved_goes_on_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "sessions").write_text("in the way")
    asked = Asked()
    with open_conversation(Sessions(tmp_path / "sessions"), ConversationChoice(), asked.output) as (conversation, _):
        answer(
            Request("x"),
            build_message(Request("x"), asked.output, None),
            conversation,
            FakeEngine(["One."]),
            asked.output,
        )
    assert asked.out == "One.\n"
    assert "saved" in asked.err


def test_a_block_cut_off_by_its_length_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<p>whole</p>")
    asked = Asked()
    request = Request("A page, please", extract="html", file=page)
    message, engine = build_message(request, asked.output, None), CutOff(["```html\n<p>one two"])
    with pytest.raises(PixtralError, match="cut off within the code block") as error:
        answer(request, message, Conversation(), engine, asked.output)
    assert error.value.status == 1
    assert page.read_text() == "<p>whole</p>"
    assert "<p>one" in asked.err  # what came is not lost


def test_no_input_is_written_over(tmp_path: Path) -> None:
    keep = Path(picture(tmp_path, "keep.png"))
    (tmp_path / "hard.png").hardlink_to(keep)
    (tmp_path / "soft.png").symlink_to(keep)
    before = keep.read_bytes()
    for output in ("keep.png", "hard.png", "soft.png"):
        with pytest.raises(UsageError, match="would be written over"):
            Asked()(Request("What?", [str(keep)], file=tmp_path / output), "words")
    with pytest.raises(UsageError, match="would be written over"):
        Asked()(Request("What?", inputs=[keep.as_uri()], file=keep), "words")
    text = tmp_path / "mail.txt"
    text.write_text("Dear")
    with text.open() as stdin, pytest.raises(UsageError, match="what comes on stdin"):
        Asked()(Request("Summarise", file=text), "words", stdin)
    assert (keep.read_bytes(), text.read_text()) == (before, "Dear")


def test_a_question_that_ctrl_c_stopped_is_answered_with_the_next_one(tmp_path: Path) -> None:
    sessions, engine, out = Sessions(tmp_path), FakeEngine([KeyboardInterrupt(), "a red square"]), Asked().output
    first = build_message(Request("What is it?", [picture(tmp_path, "red.png")]), out, None)
    with pytest.raises(KeyboardInterrupt), open_conversation(sessions, ConversationChoice(), out) as (conversation, _):
        answer(Request(), first, conversation, engine, out)
    with open_conversation(sessions, ConversationChoice(""), out) as (conversation, _):
        answer(Request(), build_message(Request("go on"), out, None), conversation, engine, out)
    (asked,) = engine.seen[1][0]
    assert [part if isinstance(part, str) else part.name for part in asked.parts] == [
        "red.png",
        "What is it?",
        "\n\n",
        "go on",
    ]
    assert [message.text for message in sessions.load(sessions.newest().id).messages] == [
        "What is it?",
        "go on",
        "a red square",
    ]


def test_a_copy_of_an_open_session_is_reported_though_quiet_and_json_names_it(tmp_path: Path) -> None:
    sessions, asked = Sessions(tmp_path), Asked("json")
    with sessions.start() as session:
        list(session.conversation().ask(FakeEngine(["A"]), "one"))
        with open_conversation(sessions, ConversationChoice(""), replace(asked.output, quiet=True)) as (
            conversation,
            id,
        ):
            out = replace(asked.output, quiet=True, session=id)
            answer(Request(), build_message(Request("two"), out, None), conversation, FakeEngine(["B"]), out)
    assert f"is open in process {os.getpid()}: this is a copy of it, {id}" in asked.err
    assert json.loads(asked.out)["session"] == id == sessions.newest().id
    assert id != session.id


def test_a_pattern_in_quotes_means_the_files_that_match(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("p10.png", "p2.png", "q[1].png", "q1.png"):
        picture(tmp_path, name)
    out = Asked().output
    assert expand_folders(Request("What?", ["p*.png", "x.png"]), out).sources == ["p2.png", "p10.png", "x.png"]
    assert expand_folders(Request("What?", ["q[1].png", "https://a/?b=*"]), out).sources == [
        "q[1].png",
        "https://a/?b=*",
    ]
    with pytest.raises(ImageError, match=r"No file matches r\*.png"):
        expand_folders(Request("What?", ["r*.png"]), out)


def test_a_folder_means_its_pictures_and_more_than_eight_are_asked_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Asked().output
    for number in (10, 2, 1):
        picture(tmp_path, f"p{number}.png")
    (tmp_path / "notes.txt").write_text("words")
    request = expand_folders(Request("What?", [str(tmp_path), "x.png"]), out)
    assert [Path(source).name for source in request.sources] == ["p1.png", "p2.png", "p10.png", "x.png"]
    for number in range(20, 26):
        picture(tmp_path, f"p{number}.png")
    monkeypatch.setattr("sys.stdin", io.StringIO())  # nobody to ask
    with pytest.raises(UsageError, match="Attach all 9 pictures of ") as error:
        expand_folders(Request("What?", [str(tmp_path)]), out)
    assert "--image" in error.value.hint
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ImageError, match="is a folder without pictures"):
        expand_folders(Request("What?", [str(empty)]), out)


def test_every_picture_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    good = picture(tmp_path, "good.png")
    (tmp_path / "fake.png").write_text("words")
    asked = Asked()
    with pytest.raises(ImageError, match="2 of 3 pictures cannot be read") as error:
        build_message(
            Request("What?", [str(tmp_path / "fake.png"), good, str(tmp_path / "none.png")]), asked.output, None
        )
    assert error.value.hint == "Nothing was asked"
    assert [
        ("fake.png: looks like text" in line, "none.png: no such file" in line) for line in asked.err.splitlines()
    ] == [
        (True, False),
        (False, True),
    ]


def test_a_terminal_is_told_what_of_stdin_goes_with_the_question() -> None:
    asked = Asked()
    asked.output.stderr.isatty = lambda: True  # type: ignore[method-assign]
    with piped(b"2\n3\n") as stdin:
        assert said_to(asked, Request("What about 1?"), stdin) == ["What about 1?\n\n2\n3"]
    assert asked.err == "With the question goes stdin: 2 lines; --no-stdin leaves it unread\n"
    with piped(b"alone") as stdin:
        said_to(asked, Request(), stdin)
    assert asked.err.count("\n") == 1


@pytest.mark.parametrize(
    ("cost", "most", "hint"),
    [
        (Cost(150, 100), None, "Shorten the text or the conversation by 51 tokens"),
        (Cost(150, 100), 10, "Shorten the text or the conversation by 51 tokens"),
        (Cost(90, 100), 20, "Lower --max-tokens to 10, or shorten the text or the conversation"),
        (
            Cost(150, 100, (ImageCost(1, 1, 9),)),
            None,
            "Send fewer images, or shorten the text or the conversation by 51 tokens",
        ),
    ],
)
def test_what_does_not_fit_is_told_what_can_help(cost: Cost, most: int | None, hint: str) -> None:
    with pytest.raises(ContextError) as error:
        cost.check_fits(most)
    assert error.value.hint == hint


def test_a_prompt_that_fits_exactly_is_no_error() -> None:
    asked = Asked()
    request = Request("one two", sampling=Sampling(max_tokens=8))
    message = build_message(request, asked.output, None)
    dry_run(request, message, Conversation(), FakeEngine(context_window=10), asked.output)
    assert "8 of 10" in asked.out
    with pytest.raises(ContextError):
        dry_run(request, message, Conversation(), FakeEngine(context_window=9), asked.output)


def test_a_new_system_prompt_holds_in_a_conversation_that_is_not_saved(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path)
    with sessions.add([user("a"), assistant("b")], system="old") as session:
        name = session.id
    for system, holds in (("new", "new"), ("", ""), (None, "old")):
        kept = ConversationChoice(resume="", log=False, system=system)
        with open_conversation(sessions, kept, Asked().output) as (conversation, _):
            assert conversation.system == holds
    assert sessions.load(name).summary.system == "old"
