"""A conversation keeps whole turns, loses no question, and counts its images."""

from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Sampling
from pixtral_cli.chat.message import Message, assistant, system, user
from pixtral_cli.chat.tree import Snapshot
from pixtral_cli.errors import ContextError, ImageError, PixtralError, UsageError
from pixtral_cli.images.transform import Box
from tests.fakes import FakeEngine
from tests.images.colours import BLUE, GREEN, RED, picture

GREEDY = Sampling(temperature=0)


@dataclass
class Shelf:
    """A store in memory; `log` holds every state it was ever told to keep."""

    log: list[Snapshot] = field(default_factory=list)
    system: str | None = None
    finished: list[tuple[Message, ...]] = field(default_factory=list)

    def update(self, snapshot: Snapshot) -> None:
        self.log.append(snapshot)

    def set_system(self, text: str | None) -> None:
        self.system = text

    def start_new(self) -> None:
        self.finished.append(self.now)
        self.log.clear()

    @property
    def now(self) -> tuple[Message, ...]:
        """The branch that is shown."""
        return self.log[-1].messages if self.log else ()

    @property
    def all(self) -> list[str]:
        """The texts of every branch."""
        return [node.message.text for node in self.log[-1].nodes]


class Breaking(FakeEngine):
    """Says some words, then fails."""

    def __init__(self, words: Sequence[str], error: BaseException) -> None:
        super().__init__()
        self.words, self.error = words, error

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
        yield from (Chunk(word) for word in self.words)
        raise self.error


def told(conversation: Conversation) -> list[str]:
    return [message.text for message in conversation.turns]


def said(*texts: str, store: Shelf | None = None) -> Conversation:
    """A conversation of these questions, each answered by "A" and its place."""
    conversation = Conversation(store=store)
    for number, text in enumerate(texts, 1):
        list(conversation.ask(FakeEngine([f"A{number}"]), text))
    return conversation


def test_an_engine_is_handed_the_system_prompt_and_the_whole_history() -> None:
    engine = FakeEngine(["a red square", "yes"])
    conversation = Conversation("be brief")
    list(conversation.ask(engine, "what is it?", [RED], GREEDY))
    list(conversation.ask(engine, "sure?", sampling=GREEDY))
    first = (system("be brief"), user("what is it?", [RED]))
    assert engine.seen[0] == (first, GREEDY)
    assert engine.seen[1] == ((*first, assistant("a red square"), user("sure?")), GREEDY)
    assert conversation.messages == (*engine.seen[1][0], assistant("yes"))


def test_a_question_is_stored_before_the_engine_starts_and_the_answer_before_its_last_chunk_is_handed_out() -> None:
    shelf = Shelf()
    conversation = Conversation(store=shelf)
    seen = [(chunk.finish_reason, shelf.now) for chunk in conversation.ask(FakeEngine(["one two"]), "count")]
    question = user("count")
    assert seen[0] == (None, (question,))
    assert seen[-1] == ("stop", (question, assistant("one two")))


def test_nothing_happens_before_the_first_pull() -> None:
    shelf, engine = Shelf(), FakeEngine(["x"])
    conversation = Conversation(store=shelf)
    conversation.ask(engine, "hello")
    assert (shelf.log, engine.seen, conversation.unanswered) == ([], [], None)


def test_an_answer_closed_in_the_middle_is_kept_and_marked() -> None:
    shelf, engine = Shelf(), FakeEngine(["one two three", "next"])
    conversation = Conversation(store=shelf)
    with closing(conversation.ask(engine, "count")) as answer:
        next(answer), next(answer)
    assert engine.closed == 1
    assert conversation.turns == (user("count"), assistant("one two ", interrupted=True)) == shelf.now
    list(conversation.ask(engine, "go on"))
    assert told(conversation) == ["count", "one two ", "go on", "next"]


@pytest.mark.parametrize("error", [PixtralError("broken"), KeyboardInterrupt()])
def test_an_answer_that_breaks_in_the_middle_is_kept_and_marked(error: BaseException) -> None:
    conversation = Conversation()
    with pytest.raises(type(error)):
        list(conversation.ask(Breaking(["one ", "two "], error), "count"))
    assert conversation.turns == (user("count"), assistant("one two ", interrupted=True))
    assert conversation.unanswered is None


@pytest.mark.parametrize("error", [ContextError("too long"), KeyboardInterrupt()])
def test_a_failure_before_the_first_text_leaves_the_history_and_keeps_the_question(error: BaseException) -> None:
    shelf = Shelf()
    conversation = said("hello", store=shelf)
    conversation.stage(RED)
    before = conversation.turns
    with pytest.raises(type(error)):
        list(conversation.ask(FakeEngine([error]), conversation.compose("what is it?")))
    assert conversation.turns == before
    assert conversation.staged == (RED,)
    assert conversation.unanswered == user("what is it?", [RED])
    assert shelf.now == (*before, conversation.unanswered)


def test_an_unanswered_question_is_asked_again_by_regenerate_also_after_a_restart() -> None:
    conversation = Conversation(messages=[user("hi"), assistant("hello"), user("and?")])
    assert told(conversation) == ["hi", "hello"]
    list(conversation.regenerate(FakeEngine(["that is all"])))
    assert told(conversation) == ["hi", "hello", "and?", "that is all"]
    assert conversation.unanswered is None


def test_a_question_that_was_stopped_is_answered_together_with_the_next_one() -> None:
    engine = FakeEngine([KeyboardInterrupt(), "a red square"])
    conversation = Conversation()
    with pytest.raises(KeyboardInterrupt):
        list(conversation.ask(engine, "what is it?", [RED]))
    list(conversation.ask(engine, "go on"))
    assert engine.seen[1][0] == (Message("user", (RED, "what is it?", "\n\n", "go on")),)
    assert conversation.history == (user("what is it?", [RED]), user("go on"), assistant("a red square"))


def test_a_question_that_cannot_be_answered_gives_way_to_another_and_stays_a_version() -> None:
    engine = FakeEngine([ContextError("too long"), "fine"])
    shelf = Shelf()
    conversation = Conversation(store=shelf)
    with pytest.raises(ContextError):
        list(conversation.ask(engine, "an endless question"))
    conversation = Conversation(snapshot=shelf.log[-1], store=shelf)  # also after a restart
    list(conversation.ask(engine, "how are you?"))
    assert engine.seen[1][0] == (user("how are you?"),)
    assert told(conversation) == ["how are you?", "fine"]
    assert [version.question.text for version in conversation.versions()] == ["an endless question", "how are you?"]


def test_the_same_question_asked_again_is_there_once() -> None:
    engine = FakeEngine([PixtralError("no network"), "fine"])
    conversation = Conversation()
    with pytest.raises(PixtralError):
        list(conversation.ask(engine, "how are you?"))
    list(conversation.ask(engine, "how are you?"))
    assert engine.seen[1][0] == (user("how are you?"),)
    assert told(conversation) == ["how are you?", "fine"]


def test_what_was_thought_is_kept_with_the_answer_also_when_it_was_stopped_there() -> None:
    engine = FakeEngine(
        [[Chunk(reasoning="Hm"), Chunk(reasoning=", so."), Chunk("Yes")], [Chunk(reasoning="Well"), "No"]]
    )
    talk = Conversation()
    list(talk.ask(engine, "one"))
    with closing(talk.ask(engine, "two")) as chunks:
        next(chunks)
    assert talk.history == (
        user("one"), assistant("Yes", reasoning="Hm, so."), user("two"),
        assistant("", reasoning="Well", interrupted=True),
    )  # fmt: skip


def test_an_answer_without_a_word_is_a_turn() -> None:
    conversation = Conversation()
    list(conversation.ask(FakeEngine([[]]), "say nothing"))
    assert conversation.turns == (user("say nothing"), assistant(""))


def test_a_finished_answer_is_shown_until_a_new_one_is_whole() -> None:
    shelf = Shelf()
    conversation = said("one", "two", store=shelf)
    with pytest.raises(PixtralError):
        list(conversation.regenerate(FakeEngine([PixtralError("no")])))
    with closing(conversation.regenerate(FakeEngine(["worse and worse"]))) as answer:
        next(answer)
    with pytest.raises(KeyboardInterrupt):
        list(conversation.regenerate(Breaking(["wor", "se"], KeyboardInterrupt())))
    assert told(conversation) == ["one", "A1", "two", "A2"] == [message.text for message in shelf.now]
    engine = FakeEngine(["better"])
    list(conversation.regenerate(engine, Sampling(temperature=1)))
    assert [message.text for message in engine.seen[0][0]] == ["one", "A1", "two"]
    assert told(conversation) == ["one", "A1", "two", "better"] == [message.text for message in shelf.now]
    assert all("A2" in [node.message.text for node in state.nodes] for state in shelf.log[4:])
    answers = [(version.answer and version.answer.text, version.current) for version in conversation.versions()]
    assert answers == [("A2", False), ("worse ", False), ("worse", False), ("better", True)]


def test_an_answer_that_was_stopped_gives_way_to_the_part_of_a_new_one() -> None:
    conversation = Conversation()
    for words in ("one two", "three four"):
        with closing(conversation.ask(FakeEngine([words]), "count")) as answer:
            next(answer)
        if words == "one two":
            with closing(conversation.regenerate(FakeEngine(["eins zwei"]))) as answer:
                next(answer)
            assert conversation.turns[-1].text == "eins "


def test_edit_asks_something_else_and_keeps_what_was_there() -> None:
    shelf = Shelf()
    conversation = said("one", "two", store=shelf)
    with pytest.raises(PixtralError):
        list(conversation.edit(FakeEngine([PixtralError("no")]), "zwei"))
    assert [message.text for message in conversation.history] == ["one", "A1", "zwei"]
    assert shelf.all == ["one", "A1", "two", "A2", "zwei"]
    conversation.select(1)
    assert told(conversation) == ["one", "A1", "two", "A2"] == [message.text for message in shelf.now]
    engine = FakeEngine(["gut"])
    list(conversation.edit(engine, "zwo"))
    assert [message.text for message in engine.seen[0][0]] == ["one", "A1", "zwo"]
    assert told(conversation) == ["one", "A1", "zwo", "gut"] == [message.text for message in shelf.now]
    assert [version.question.text for version in conversation.versions()] == ["two", "zwei", "zwo"]


def test_undo_goes_back_and_redo_forth() -> None:
    shelf = Shelf()
    conversation = said("one", store=shelf)
    list(conversation.ask(FakeEngine(["red"]), "two", [RED]))
    assert conversation.undo() == (RED, "two")
    assert told(conversation) == ["one", "A1"] == [message.text for message in shelf.now]
    assert conversation.undo() == ("one",)
    assert conversation.history == ()
    with pytest.raises(UsageError, match="no question"):
        conversation.undo()
    assert (conversation.redo(), conversation.redo()) == (("one",), (RED, "two"))
    assert told(conversation) == ["one", "A1", "two", "red"] == [message.text for message in shelf.now]
    with pytest.raises(UsageError, match="nothing to bring back"):
        conversation.redo()


def test_redo_goes_back_to_the_version_that_undo_left_and_after_a_restart_to_the_newest() -> None:
    shelf = Shelf()
    conversation = said("one", store=shelf)
    list(conversation.regenerate(FakeEngine(["other"])))
    conversation.select(1)
    conversation.undo()
    conversation.redo()
    assert told(conversation) == ["one", "A1"]
    conversation.undo()
    again = Conversation(snapshot=shelf.log[-1])
    assert again.history == ()
    again.redo()
    assert told(again) == ["one", "other"]


def test_after_undo_another_question_is_a_version_beside_the_old_one() -> None:
    conversation = said("one", "two")
    conversation.undo()
    list(conversation.ask(FakeEngine(["B2"]), "zwei"))
    with pytest.raises(UsageError, match="nothing to bring back"):
        conversation.redo()
    assert [(version.question.text, version.current) for version in conversation.versions()] == [
        ("two", False),
        ("zwei", True),
    ]
    assert (len(conversation.versions(1)), conversation.branch) == (1, (2, 2))
    conversation.select(1)
    assert (told(conversation), conversation.branch) == (["one", "A1", "two", "A2"], (1, 2))


def test_a_version_of_an_earlier_turn_brings_what_followed_it() -> None:
    conversation = said("one", "two", "three")
    conversation.undo(), conversation.undo()
    list(conversation.edit(FakeEngine(["eins"]), "1"))
    conversation.select(1, turn=1)
    assert told(conversation) == ["one", "A1", "two", "A2", "three", "A3"]
    for wrong in ((3, 1), (0, 1)):
        with pytest.raises(UsageError, match="No version"):
            conversation.select(*wrong)
    with pytest.raises(UsageError, match="No question 9"):
        conversation.versions(9)


def test_clear_keeps_the_system_prompt_and_what_was_stored() -> None:
    shelf = Shelf()
    conversation = said("one", store=shelf)
    conversation.system = "be brief"
    conversation.stage(RED)
    conversation.clear()
    assert (conversation.messages, conversation.images) == ((system("be brief"),), ())
    assert [message.text for message in shelf.finished[0]] == ["one", "A1"]
    assert shelf.system == "be brief"


def test_images_are_numbered_in_the_order_of_attachment_and_equal_ones_once() -> None:
    conversation = Conversation()
    assert (conversation.stage(RED), conversation.stage(GREEN), conversation.stage(RED)) == (1, 2, 1)
    list(conversation.ask(FakeEngine(["ok"]), conversation.compose("these two")))
    assert conversation.staged == ()
    assert conversation.stage(BLUE) == 3
    assert conversation.stage(picture("green", "copy.png")) == 2
    assert [image.name for image in conversation.images] == ["red.png", "green.png", "blue.png"]
    assert conversation.image(3) is BLUE
    with pytest.raises(UsageError, match=r"No image #4: there are #1 to #3"):
        conversation.image(4)


def test_a_number_in_the_question_places_that_image_there() -> None:
    conversation = Conversation(messages=[user("", [RED, GREEN]), assistant("ok")])
    conversation.stage(BLUE)
    assert conversation.compose("is #2 left of #1, and this?") == (BLUE, "is ", GREEN, " left of ", RED, ", and this?")
    assert conversation.compose("#3 beside #1") == (BLUE, " beside ", RED)


@pytest.mark.parametrize(
    "text", ["#4", "#0", "#222222", "C#1", "&#1;", "##1", "http://a/#1", "#1st", "a#1"], ids=lambda text: text
)
def test_what_is_no_image_stays_text(text: str) -> None:
    conversation = Conversation(messages=[user("", [RED, GREEN, BLUE]), assistant("ok")])
    assert conversation.compose(text) == (text,)


def test_a_backslash_keeps_a_number_text_and_missing_numbers_are_reported() -> None:
    conversation = Conversation(messages=[user("", [RED]), assistant("ok")])
    assert conversation.compose(r"issue \#1 in #1") == ("issue #1 in ", RED)
    assert conversation.missing(r"#1 #2 \#3 and #9") == (2, 9)


def test_a_crop_is_an_image_of_its_own() -> None:
    conversation = Conversation(messages=[user("", [RED]), assistant("ok")])
    assert conversation.crop(1, Box(2, 1, 4, 3)) == 2
    assert conversation.image(2).size == (4, 3)
    with pytest.raises(ImageError):
        conversation.crop(1, Box(5, 5, 40, 40))


def test_a_number_stays_whatever_is_dropped_undone_or_placed_in_another_order() -> None:
    conversation = Conversation()
    for image in (RED, GREEN, BLUE):
        conversation.stage(image)
    conversation.drop(1)
    list(conversation.ask(FakeEngine(["ok"]), conversation.compose("is #3 left of #2?")))
    assert conversation.numbered == {2: GREEN, 3: BLUE}
    again = Conversation(snapshot=conversation.snapshot())
    assert again.numbered == {2: GREEN, 3: BLUE}
    again.undo()
    assert (again.images, again.compose("and #2?")) == ((), ("and #2?",))
    assert again.stage(picture("yellow", "new.png")) == 4
    again.redo()
    assert list(again.numbered) == [2, 3, 4]


def test_drop_unstages_or_takes_an_image_out_of_the_history() -> None:
    shelf = Shelf()
    conversation = Conversation(
        messages=[user("look", [RED, GREEN]), assistant("ok"), user("and this", [RED])], store=shelf
    )
    conversation.stage(BLUE)
    assert conversation.drop(3) is BLUE
    assert conversation.staged == ()
    conversation.drop(1)
    assert conversation.images == (GREEN,)
    assert (conversation.image(2), conversation.stage(picture("blue", "again.png"))) == (GREEN, 3)
    with pytest.raises(
        UsageError, match="No image #1: it was dropped, or belongs to another version; there are #2 and #3"
    ):
        conversation.image(1)
    conversation.drop(3)
    assert conversation.turns == (user("look", [GREEN]), assistant("ok"))
    assert conversation.unanswered == user("and this")
    assert shelf.now == (*conversation.turns, conversation.unanswered)


STEPS = st.lists(
    st.sampled_from(
        ["ask", "fail", "break", "stop", "regen", "regen-stop", "edit", "edit-fail", "undo", "redo", "select", "drop"]
    ),
    max_size=14,
)


@given(STEPS)
def test_whatever_is_done_nothing_is_lost_and_the_store_holds_it(steps: list[str]) -> None:
    shelf = Shelf()
    conversation = Conversation(store=shelf)
    texts: list[str] = []
    for number, step in enumerate(steps):
        with suppress(PixtralError):
            take(conversation, step, str(number))
        snapshot = conversation.snapshot()
        if not snapshot.nodes:
            continue
        assert texts == [node.message.text for node in snapshot.nodes][: len(texts)]
        texts = [node.message.text for node in snapshot.nodes]
        assert shelf.log[-1] == snapshot
        again = Conversation(snapshot=snapshot)
        assert (again.history, again.numbered, again.branch) == (
            conversation.history, conversation.numbered, conversation.branch,
        )  # fmt: skip
        roles = [message.role for message in conversation.history]
        assert "assistant assistant" not in " ".join(roles)
        assert roles[:1] in ([], ["user"])
        sent = [message.role for message in conversation.messages_with(user("next"))]
        assert sent == ["user", "assistant"] * (len(sent) // 2) + ["user"]


def take(conversation: Conversation, step: str, text: str) -> None:
    failing = FakeEngine([ContextError("too long")])
    match step:
        case "ask":
            list(conversation.ask(FakeEngine(["well"]), text, [RED]))
        case "fail":
            list(conversation.ask(failing, text))
        case "break":
            list(conversation.ask(Breaking(["a "], PixtralError("cut")), text))
        case "stop":
            with closing(conversation.ask(FakeEngine(["a b c"]), text)) as answer:
                next(answer)
        case "regen":
            list(conversation.regenerate(FakeEngine(["again"])))
        case "regen-stop":
            list(conversation.regenerate(Breaking([""], PixtralError("stopped"))))
        case "edit":
            list(conversation.edit(FakeEngine(["edited"]), text))
        case "edit-fail":
            list(conversation.edit(failing, text))
        case "undo":
            conversation.undo()
        case "redo":
            conversation.redo()
        case "select":
            conversation.select(1)
        case "drop":
            conversation.drop(1)


def test_an_image_that_is_attached_while_an_answer_comes_waits_for_the_next_question() -> None:
    conversation = Conversation()
    conversation.stage(RED)
    answer = conversation.ask(FakeEngine(["one two"]), conversation.compose("what is it?"))
    next(answer)
    conversation.stage(GREEN)
    list(answer)
    assert conversation.staged == (GREEN,)


def test_an_image_that_comes_back_with_its_question_is_not_sent_again() -> None:
    conversation = Conversation()
    list(conversation.ask(FakeEngine(["red"]), "what is it?", [RED]))
    conversation.undo()
    conversation.stage(RED)
    conversation.stage(GREEN)
    conversation.redo()
    assert conversation.staged == (GREEN,)


def test_a_question_that_is_answered_at_the_second_try_has_not_failed() -> None:
    shelf = Shelf()
    conversation = Conversation(store=shelf)
    with pytest.raises(ContextError):
        list(conversation.ask(FakeEngine([ContextError("too long")]), "long"))
    assert [node.failed for node in shelf.log[-1].nodes] == [True]
    list(conversation.regenerate(FakeEngine(["fine"])))
    assert [node.failed for node in shelf.log[-1].nodes] == [False, False]


def test_a_number_that_shows_no_image_any_more_is_told_from_one_that_never_did() -> None:
    conversation = Conversation()
    conversation.stage(RED)
    conversation.stage(GREEN)
    conversation.drop(2)
    with pytest.raises(
        UsageError, match="No image #2: it was dropped, or belongs to another version; there is #1 alone"
    ):
        conversation.image(2)
    with pytest.raises(UsageError, match="No image #3: there is #1 alone"):
        conversation.image(3)


def test_an_answer_that_is_closed_closes_the_engines_stream_before_it_returns() -> None:
    """Also one that somebody else still holds, and which therefore nothing collects."""

    class Held(FakeEngine):
        def stream(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[Chunk]:
            self.held = super().stream(messages, sampling)
            return self.held

    engine = Held(["one two three"])
    with closing(Conversation().ask(engine, "count")) as answer:
        next(answer)
    assert engine.closed == 1
