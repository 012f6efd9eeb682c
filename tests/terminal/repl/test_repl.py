"""The REPL: what is typed, what the engine is asked, what is said, what is saved."""

import io
import re
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image as PIL

from pixtral_cli.chat.engine import Chunk, Cost, Sampling
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import ContextError, ModelError, NetworkError
from pixtral_cli.sessions.library import Sessions
from pixtral_cli.terminal.desktop.clipboard import Desktop
from tests.fakes import FakeEngine
from tests.terminal.repl.driver import EMPTY, Room


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    """A REPL in a folder with three pictures."""
    monkeypatch.chdir(tmp_path)
    for name, colour, size in (
        ("red.png", "red", (64, 32)),
        ("my blue.png", "blue", (32, 64)),
        ("c.gif", "green", (8, 8)),
    ):
        PIL.new("RGB", size, colour).save(name)
    return Room(tmp_path, FakeEngine([f"Answer {number}." for number in range(1, 9)]))


def test_a_question_is_asked_answered_and_saved(room: Room) -> None:
    room.type("What is this?")
    assert room.answers == ["Answer 1."]
    [saved] = Sessions(room.folder / "data").list()
    assert saved.title == "What is this?"


def test_every_turn_hands_the_engine_the_whole_history(room: Room) -> None:
    room.type("one", "two")
    assert [message.text for message in room.engine.seen[1][0]] == ["one", "Answer 1.", "two"]


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("red.png what is this?", ["[red.png]", "what is this?"]),
        ("what is in red.png?", ["[red.png]", "what is in red.png?"]),
        ("look: @my\\ blue.png", ["[my blue.png]", "look:"]),
        ("is red.png larger than my blue.png?", ["[red.png]", "[my blue.png]", "is red.png larger than my blue.png?"]),
    ],
)
def test_pictures_in_the_line_precede_the_question(room: Room, line: str, asked: list[str]) -> None:
    room.type(line)
    assert room.asked() == asked


def test_attaching_stages_and_the_next_question_sends(room: Room) -> None:
    said = room.type("red.png", "/image 'my blue.png' c.*", "what are these?", "and now?")
    assert room.asked(0) == ["[red.png]", "[my blue.png]", "[c.gif]", "what are these?"]
    assert room.asked(1) == ["and now?"]
    assert "#1 red.png  64×32  10 tokens\n990 of 1,000 tokens left\n" in said
    assert "#3 c.gif" in said
    assert [image.name for image in room.shown] == ["red.png", "my blue.png", "c.gif"]


def test_an_image_by_its_number_is_placed_where_it_is_named(room: Room) -> None:
    room.type("red.png", "my blue.png what?", "is #2 like `#1` or #1?")
    assert room.asked() == ["is ", "[my blue.png]", " like `#1` or ", "[red.png]", "?"]


def test_a_number_that_no_image_has_is_an_error_and_stays_in_the_line(room: Room) -> None:
    said = room.keys("red.png what is #4?\r" + "\x7f\x7f1?\r")
    assert "No image #4: there is #1 alone. /images lists them; \\#4 sends it as text" in said
    assert room.asked() == ["what is ", "[red.png]", "?"]


def test_numbers_are_text_where_there_are_no_images_and_colours_always(room: Room) -> None:
    room.type("what is the #1 song?", "red.png make it #333")
    assert room.asked(0) == ["what is the #1 song?"]
    assert room.asked(1) == ["[red.png]", "make it #333"]


def test_a_picture_that_cannot_be_read_is_an_error_at_once_and_the_text_stays_for_mending(room: Room) -> None:
    said = room.keys("rd.png what?\r" + "\x01\x06e\r")  # Ctrl-A, Ctrl-F, the missing letter
    assert "rd.png: no such file or directory." in said
    assert len(room.engine.seen) == 1
    assert room.asked() == ["[red.png]", "what?"]


def test_one_bad_picture_is_named_and_the_others_are_attached(room: Room) -> None:
    Path("bad.png").write_text("<html>")
    said = room.keys("/image red.png bad.png\r" + EMPTY + "hello\r")
    assert "bad.png" in said
    assert room.asked() == ["[red.png]", "hello"]


def test_a_name_of_an_image_that_is_there_already_is_words(room: Room) -> None:
    room.type("red.png what?")
    Path("red.png").unlink()
    room.state = Room(room.folder).state
    again = Room(room.folder, FakeEngine(["Yes."]))
    again.state.session = again.sessions.resume()
    again.state.conversation = again.state.session.conversation()
    again.type("what else is in red.png?")
    assert again.asked() == ["what else is in red.png?"]


def test_a_pasted_block_attaches_nothing_and_keeps_its_lines(room: Room) -> None:
    said = room.keys("explain: \x1b[200~Hello,\rsee red.png\x1b[201~\r")
    assert room.asked() == ["explain: Hello,\nsee red.png"]
    assert "pasted text attaches nothing: red.png" in said


def test_a_pasted_block_attaches_nothing_when_it_is_called_back_either(room: Room) -> None:
    room.keys("\x1b[200~Hello,\nsee red.png\x1b[201~\r")
    room.recall = type(room.recall)(room.folder / "lines.jsonl")
    room.state = Room(room.folder, room.engine).state
    room.keys("\x1b[A\r")
    assert room.asked(0) == room.asked(1) == ["Hello,\nsee red.png"]


def test_a_dropped_file_arrives_as_a_paste_of_one_line_and_attaches(room: Room) -> None:
    room.keys(f"\x1b[200~'{room.folder}/my blue.png'\x1b[201~ what?\r")
    assert room.asked() == ["[my blue.png]", "what?"]


@pytest.mark.parametrize("keys", ["one\ntwo\r", "one\x1b\rtwo\r", '"""one\rtwo"""\r', '"""\rone\rtwo\r"""\r'])
def test_several_lines_are_one_question(room: Room, keys: str) -> None:
    room.keys(keys)
    assert room.asked() == ["one\ntwo"]


def test_an_unknown_command_suggests_and_an_existing_path_is_no_command(room: Room) -> None:
    said = room.keys("/imgae\r" + EMPTY + f"{room.folder}/red.png\r" + " /etc?\r")
    assert "There is no command /imgae. Did you mean /image?" in said
    assert room.asked() == ["[red.png]", "/etc?"]


def test_images_are_listed_and_dropped_and_the_others_keep_their_numbers(room: Room) -> None:
    said = room.type("red.png what?", "my blue.png", "/images", "/drop 1", "is it blue?")
    assert "#1 red.png      64×32  10 tokens\n#2 my blue.png  32×64  10 tokens  not sent yet" in said
    assert said.rstrip().endswith("#1 red.png is out, also of the question that it was sent in: the words stay.")
    assert room.asked() == ["[my blue.png]", "is it blue?"]
    assert not room.engine.seen[1][0][0].images


def test_crop_sends_a_part_of_an_image_in_pixels_or_percent(room: Room) -> None:
    said = room.type("red.png what?", "/crop 1 50% 0 50% 100%", "/crop 1 0 0 10 10", "closer?")
    assert [image.size for image in room.engine.seen[1][0][-1].images] == [(32, 32), (10, 10)]
    assert "#2 red.png, part at 32,0  32×32" in said
    assert "#3 red.png, part at 0,0  10×10" in said


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("/drop", "Give the number of an image"),
        ("/drop 7", "No image #7"),
        ("/crop 1 0 0 5", "A crop is four numbers"),
        ("/crop 1 60 0 10 10", "not inside the picture"),
        ("/image", "/image needs a path or a URL"),
        ("/image *.tiff", "No file matches *.tiff"),
        ("/regen hot", "temperature must be a number"),
        ("/set colour red", "There is no setting colour"),
        ("/set temperature hot", "temperature must be 0 to 10"),
        ("/load zzz", "There is no session 'zzz'"),
        ("/load", "No other conversation is saved yet"),
        ("/model nosuch", "There is no model named 'nosuch'"),
        ("/code 1", ""),
        ("/save 1", "The last answer holds no code block"),
        ("/copy 3", "The last answer holds no code block"),
        ("/shot moon", "No area 'moon'"),
        ("/paste", "There is no desktop here, and so no clipboard"),
        ("/show me", "nothing to show"),
    ],
)
def test_a_command_that_makes_no_sense_says_what_would(room: Room, line: str, complaint: str) -> None:
    said = room.keys(f"red.png what?\r{line}\r")
    assert complaint in said
    assert len(room.engine.seen) == 1


@pytest.mark.parametrize("line", ["/undo", "/edit", "/regen", "/stats", "/copy", "/code"])
def test_commands_about_an_answer_need_one(room: Room, line: str) -> None:
    assert "There is no" in room.type(line)


def test_undo_is_as_if_the_question_had_not_been_sent(room: Room) -> None:
    said = room.type("red.png what?", "my blue.png and this?", "/undo", "again?")
    assert "Taken back: and this?\n#2 my blue.png waits for your next question; /drop 2 lets go of it." in said
    assert room.asked() == ["[my blue.png]", "again?"]
    assert [message.text for message in room.engine.seen[-1][0]] == ["what?", "Answer 1.", "again?"]


def test_regen_asks_again_with_another_temperature(room: Room) -> None:
    room.type("one", "/regen 0.9", "/regen")
    assert [sampling.temperature for _, sampling in room.engine.seen] == [0.35, 0.9, 0.35]
    assert [len(messages) for messages, _ in room.engine.seen] == [1, 1, 1]
    assert room.answers == ["Answer 1.", "Answer 2.", "Answer 3."]


def test_edit_puts_the_last_question_in_the_line_and_replaces_it(room: Room) -> None:
    room.keys("red.png my blue.png which is \\#2 like c#1?\r" + "/edit\r" + "\x7f!\r")
    assert room.asked(0) == ["[red.png]", "[my blue.png]", "which is #2 like c#1?"]
    assert room.asked(1) == ["[red.png]", "[my blue.png]", "which is #2 like c#1!"]
    assert len(room.engine.seen[1][0]) == 1


def test_clear_begins_a_new_conversation_and_keeps_the_old_one_saved(room: Room) -> None:
    room.type("one", "/clear", "two")
    assert [message.text for message in room.engine.seen[1][0]] == ["two"]
    assert {saved.title for saved in room.sessions.list()} == {"one", "two"}


def test_settings_and_the_system_prompt_reach_the_engine(room: Room) -> None:
    said = room.type("/set temperature 0.7", "/set seed 5", "/set stop END", "/system Be brief.", "one")
    messages, sampling = room.engine.seen[0]
    assert sampling == Sampling(0.7, seed=5, stop=("END",))
    assert messages[0] == Message("system", ("Be brief.",))
    assert "temperature: 0.7" in said
    room.state = Room(room.folder, room.engine).state
    said = room.type("/set temperature 0.7", "/set temperature default", "/system off", "/set", "two")
    assert room.engine.seen[1][1] == Sampling()


def test_penalties_and_filters_are_settings_too(room: Room) -> None:
    names = ("top_k 5", "min-p 0.1", "repetition_penalty 1.2", "frequency_penalty -1", "presence_penalty 2")
    said = room.type(*(f"/set {name}" for name in names), "/set top_k -1", "one")
    assert room.engine.seen[0][1] == Sampling(
        top_k=5, min_p=0.1, repetition_penalty=1.2, frequency_penalty=-1, presence_penalty=2
    )
    assert "top_k must be 0 or more" in said


def test_show_prints_the_state_and_the_history(room: Room) -> None:
    said = room.type("red.png what?", "/show", "/show history")
    assert re.search(r"model +fake \(ready\)", said)
    assert re.search(r"questions +1\n", said)
    assert "> [#1 red.png] what?\nAnswer 1.\n" in said


def test_thinking_is_a_line_all_of_it_or_nothing_as_it_is_set(room: Room) -> None:
    thought: list[str | Chunk] = [Chunk(reasoning="Hm, "), Chunk(reasoning="so."), "Yes."]
    room = Room(room.folder, FakeEngine([list(thought) for _ in range(3)]))
    said = room.type(
        "one", "/set thinking show", "two", "/show history", "/set thinking hide", "three", "/set thinking loud"
    )
    assert room.answers == ["(Thought, 2 words)", "", "Yes.", "[THINK]", "Hm, so.", "[/THINK]", "", "Yes.", "Yes."]
    assert said.count("Hm, so.\nYes.\n") == 2
    assert "thinking must be show | fold | hide, not 'loud'" in said
    assert [message.reasoning for message in room.engine.seen[2][0]] == ["", "Hm, so.", "", "Hm, so.", ""]


def test_stats_tell_tokens_and_times(room: Room) -> None:
    said = room.type("one", "/stats", "/set stats on", "two")
    assert said.count("of 1,000 of the context") == 2
    assert "first token 0.25 s" in said


def test_switching_the_model_keeps_the_conversation(room: Room) -> None:
    other = FakeEngine(["Other."])
    room.others["other"] = other
    said = room.type("one", "/model other", "two", "/model")
    assert [message.text for message in other.seen[0][0]] == ["one", "Answer 1.", "two"]
    assert "other answers from now on." in said
    assert "*  other" in said
    assert room.sessions.list()[0].model == "other"


def test_a_model_that_cannot_be_loaded_is_one_line_and_another_can_be_switched_to(room: Room) -> None:
    def broken() -> FakeEngine:
        raise ModelError("The weights are damaged", "Fetch them again")

    room = Room(room.folder, open=broken, others={"other": FakeEngine(["Fine."])})
    said = room.type("one", "/model other", "/regen")
    assert "The weights are damaged. Fetch them again. Your question is kept: /regen asks it again\n" in said
    assert room.answers == ["Fine."]


def test_a_library_that_fails_while_loading_is_one_line_too(room: Room) -> None:
    def broken() -> FakeEngine:
        raise ImportError("no module named torch")

    said = Room(room.folder, open=broken).type("one")
    assert "fake cannot be loaded: no module named torch" in said
    assert "Traceback" not in said


def test_a_question_asked_early_waits_for_the_model(room: Room) -> None:
    told = threading.Event()

    class Heard(io.StringIO):
        def write(self, text: str) -> int:
            if "loading fake; your question waits" in text:
                told.set()
            return super().write(text)

    def slow() -> FakeEngine:
        assert told.wait(120)
        return room.engine

    room = Room(room.folder, room.engine, open=slow, said=Heard())
    room.type("early")
    assert room.answers == ["Answer 1."]


class Interrupted(FakeEngine):
    """Says two words; then the user presses Ctrl-C."""

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        if len(self.answers) > 1:
            yield from super().stream(messages, sampling)
            return
        self.seen.append((tuple(messages), sampling))
        yield Chunk(self.answers.pop())
        signal.raise_signal(signal.SIGINT)
        yield Chunk("never seen")


def test_ctrl_c_keeps_the_part_marks_it_and_the_next_turn_works(room: Room) -> None:
    engine = Interrupted(["Two words "])
    room = Room(room.folder, engine)
    room.type("one", "/show history")
    assert "Stopped. The part above is kept." in room.said.getvalue()
    [_, answer] = room.sessions.load(room.sessions.list()[0].id).messages
    assert (answer.text, answer.interrupted) == ("Two words ", True)
    assert "Two words \n(interrupted)\n" in room.said.getvalue()


def test_ctrl_c_before_the_first_word_keeps_the_question_for_regen(room: Room) -> None:
    room = Room(room.folder, FakeEngine([KeyboardInterrupt(), "Now."]))
    said = room.type("red.png one", "/regen")
    assert "Stopped. /regen asks it again." in said
    assert room.asked() == ["[red.png]", "one"]
    assert room.answers == ["Now."]


class InterruptedCount(FakeEngine):
    """The user presses Ctrl-C while the tokens of the first picture are counted."""

    def measure(self, messages: Sequence[Message], tools: object = ()) -> Cost:
        if self.interrupted:
            return super().measure(messages)
        self.interrupted = True
        raise KeyboardInterrupt

    interrupted = False


def test_what_is_typed_before_ctrl_c_is_a_line_of_its_own_and_the_question_can_be_called_back(room: Room) -> None:
    room = Room(room.folder, InterruptedCount(["One.", "Two."]))
    said = room.keys("red.png what?\r" + "my draft\r")
    assert "Stopped." in said
    assert room.asked(0) == ["my draft"]
    room.keys("\x1b[A\x1b[A\r")
    assert room.asked(1) == ["[red.png]", "what?"]


def test_a_picture_whose_question_was_stopped_before_it_was_asked_leaves_no_session(room: Room) -> None:
    room = Room(room.folder, InterruptedCount())
    room.type("red.png what?")
    assert room.state.conversation.staged == ()
    assert list(room.sessions.list()) == []


@pytest.mark.parametrize("line", ["/set temprature 3", "/image none.png", "/clear all", "/nonsense", "/rename"])
def test_a_refused_command_leaves_an_empty_line_and_can_be_called_back(room: Room, line: str) -> None:
    room.state.session = None
    room.keys(f"{line}\r" + "hello\r")
    assert room.asked() == ["hello"]
    assert [each.text for each in room.recall.lines] == [line, "hello"]


def test_ctrl_c_on_an_empty_line_hints_and_otherwise_empties_the_line_which_can_be_called_back(room: Room) -> None:
    said = room.keys("\x03hello\x03")
    assert said.count("Ctrl-D or /bye leaves.") == 1
    assert room.engine.seen == []
    room.keys("\x1b[A\r")
    assert room.asked() == ["hello"]


def test_an_engine_s_error_is_one_line_and_keeps_the_question(room: Room) -> None:
    room = Room(room.folder, FakeEngine([ContextError("Too long", "Be brief"), "Now."]))
    said = room.type("one", "/regen")
    assert "Too long. Be brief. Your question is kept: /regen asks it again" in said
    assert room.answers == ["Now."]


def test_a_question_that_no_server_took_stands_in_the_line_and_enter_asks_it_once_more(room: Room) -> None:
    away = NetworkError("example.org cannot be reached", "Is the server running?")
    room = Room(room.folder, FakeEngine([away, "Now."]))
    said = room.keys("one\r" + "\r")
    assert "Is the server running? Your question is kept: Enter asks it again\n" in said
    assert room.answers == ["Now."]
    assert [message.text for message in room.state.conversation.history] == ["one", "Now."]


@pytest.mark.parametrize("debug", ["", "1"])
def test_a_bug_ends_no_chat_and_keeps_the_question(room: Room, monkeypatch: pytest.MonkeyPatch, debug: str) -> None:
    monkeypatch.setenv("PIXTRAL_DEBUG", debug)
    room = Room(room.folder, FakeEngine([KeyError("at 0x7f"), "Now.", "And now."]))
    said = room.type("one", "/regen", "two")
    assert "Internal error: KeyError. PIXTRAL_DEBUG=1 shows where. Your question is kept: /regen asks it again" in said
    assert ("Traceback" in said) == bool(debug)
    assert room.answers == ["Now.", "And now."]
    assert [message.text for message in room.sessions.load(room.sessions.list()[0].id).messages][::2] == ["one", "two"]


def test_what_was_typed_is_called_back_in_another_session_and_found_by_search(room: Room) -> None:
    room.type("a question about cats", "another one")
    Room(room.folder, room.engine).keys("\x1b[A\x1b[A\r")
    Room(room.folder, room.engine).keys("\x12cats\r\r")
    assert room.asked(2) == room.asked(3) == ["a question about cats"]


def test_a_session_is_resumed_and_listed_and_searched(room: Room) -> None:
    room.type("red.png a question about cats")
    name = room.sessions.list()[0].id
    room = Room(room.folder, room.engine)
    said = room.type("/sessions", "/sessions CATS", "/sessions dogs", f"/load {name[:3]}", "and now?")
    assert f"{name}  just now  1 image  a question about cats" in said
    assert "No conversation holds 'dogs'." in said
    assert (
        "1 question and 1 image so far; /show history shows all.\n> [#1 red.png] a question about cats\nAnswer 1.\n"
        in said
    )
    assert [message.text for message in room.engine.seen[-1][0]] == ["a question about cats", "Answer 1.", "and now?"]


def test_a_session_that_is_open_elsewhere_is_copied_and_the_user_warned_at_once(room: Room) -> None:
    room.type("one")
    elsewhere = room.sessions.resume()
    second = Room(room.folder, room.engine)
    second.state.session = second.sessions.resume()
    second.state.conversation = second.state.session.conversation()
    said = second.type("two")
    elsewhere.close()
    assert said.startswith(f"Session {elsewhere.id} is open in process")
    assert {saved.messages for saved in room.sessions.list()} == {2, 4}


def test_a_conversation_that_is_not_kept_can_be_saved_later(room: Room) -> None:
    room = Room(room.folder, room.engine, log=False)
    room.type("red.png one")
    assert room.sessions.list() == ()
    assert "Saved as session" in room.type("/save", "two")
    [saved] = room.sessions.list()
    assert (saved.messages, saved.images) == (4, 1)


def test_a_session_that_is_loaded_into_a_chat_that_is_not_kept_is_not_added_to(room: Room) -> None:
    room.type("one")
    name = room.sessions.list()[0].id
    unlogged = Room(room.folder, room.engine, log=False)
    assert "What follows is not saved" in unlogged.type(f"/load {name}", "two")
    assert [message.text for message in room.engine.seen[-1][0]] == ["one", "Answer 1.", "two"]
    assert [saved.messages for saved in room.sessions.list()] == [2]


def test_a_conversation_is_written_to_a_file_but_not_over_one(room: Room) -> None:
    said = room.type("red.png one", "/save talk.md", "/save talk.md", "")
    assert "Written to talk.md" in said
    assert "Written to talk-2.md" in said
    assert "Answer 1." in Path("talk.md").read_text()


def test_the_user_is_warned_once_that_nothing_is_saved(room: Room) -> None:
    (room.folder / "data").write_text("a file where the folder should be")
    said = Room(room.folder, room.engine).type("one", "two", "/save talk.md", "three")
    assert said.count("This conversation is not being saved.") == 1
    assert len(room.engine.seen) == 3
    assert "two\n\n## fake\n\nAnswer 2." in Path("talk.md").read_text()


PAGE = "Here:\n\n```html\n<p>hi</p>\n```\n\nand\n\n```python\nprint(1)\n```\n"


def test_code_is_listed_saved_beside_the_old_version_and_copied(room: Room) -> None:
    copied: list[bytes | None] = []

    def run(command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None:
        copied.append(data)
        return b""

    desktop = Desktop({"WAYLAND_DISPLAY": "w"}, "linux", lambda name: name, run)
    room = Room(room.folder, FakeEngine([PAGE]), desktop=desktop)
    said = room.type("draw", "/code", "/save 1", "/save 1", "/save 2 x/y.py", "/save 2 ../y.py", "", "/copy 2", "/copy")
    assert "1  html      1 line  <p>hi</p>\n2  python    1 line  print(1)\n" in said
    assert Path("page.html").read_text() == Path("page-2.html").read_text() == "<p>hi</p>\n"
    assert Path("x/y.py").read_text() == "print(1)\n"
    assert "it leads outside" in said
    assert [data.decode() for data in copied if data] == ["print(1)\n", PAGE]


def test_a_page_is_written_for_the_browser_and_its_place_named_where_there_is_none(room: Room) -> None:
    room = Room(room.folder, FakeEngine([PAGE]))
    said = room.type("draw", "/open 1", "/open 2")
    place = Path(said.partition("the page is ")[2].split("\n")[0])
    assert 'srcdoc="&lt;p&gt;hi&lt;/p&gt;' in place.read_text()
    assert "A browser shows no python" in said


def test_paste_and_shot_attach_what_the_desktop_gives(room: Room) -> None:
    file = io.BytesIO()
    PIL.new("RGB", (5, 5), "blue").save(file, "PNG")

    def run(command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None:
        if command[0] == "maim":
            Path(command[-1]).write_bytes(file.getvalue())
        return b"image/png" if command[-1] == "TARGETS" else file.getvalue()

    desktop = Desktop({"DISPLAY": ":0"}, "linux", lambda name: name if name in ("xclip", "maim") else None, run)
    room = Room(room.folder, room.engine, desktop=desktop)
    said = room.keys("/paste\r" + "what is \x16it?\r" + "/shot screen\rand this?\r")
    assert room.asked(0) == ["[clipboard]", "what is it?"]
    assert room.asked(1) == ["[screenshot]", "and this?"]
    assert "#1 clipboard  5×5" in said


def test_previews_can_be_switched_off(room: Room) -> None:
    room.type("/set preview off", "red.png", "/set preview on", "my blue.png")
    assert [image.name for image in room.shown] == ["my blue.png"]


def test_enter_on_an_empty_line_says_what_waits(room: Room) -> None:
    assert "Ask something about what is attached" in room.type("red.png", "")
    assert room.engine.seen == []


@pytest.mark.parametrize("line", ["/bye", "/exit", "/quit"])
def test_leaving(room: Room, line: str) -> None:
    room.keys(f"{line}\rnever asked\r")
    assert room.engine.seen == []


def test_help_names_every_command(room: Room) -> None:
    said = room.type("/help", "/? crop")
    from pixtral_cli.terminal.repl.commands.table import TABLE

    assert all(f"/{row.name}" in said for row in TABLE)
    assert said.count("Attach a part of an image") == 1


def test_an_answer_that_was_cut_off_says_so(room: Room) -> None:
    class Short(FakeEngine):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            yield Chunk("half")
            yield Chunk(finish_reason="length")

    assert "The answer was cut off at" in Room(room.folder, Short()).type("one")
