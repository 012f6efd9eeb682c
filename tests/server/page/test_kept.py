"""Messages, drafts and staged pictures outlive a reload, a second tab, a full disk and a browser without storage."""

import json
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fakes import FakeEngine
from tests.server.page.chromium import Held, ask, begin, give, watched_context
from tests.server.serving import Running, png

pytestmark = pytest.mark.slow


def question(page: Page) -> str:
    return page.get_by_label("Question", exact=True).input_value()


def new(page: Page) -> None:
    page.get_by_role("button", name="New conversation").click()
    expect(page.locator("#welcome")).to_be_visible()


def test_the_address_holds_the_conversation(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One.", "Two."]
    ask(page, "first")
    first = page.url
    new(page)
    ask(page, "second")
    assert page.url != first
    page.reload()
    expect(page.locator(".user .said")).to_have_text("second")
    page.go_back()
    expect(page.locator(".user .said")).to_have_text("first")
    page.goto("about:blank")
    page.goto(first)
    expect(page.locator(".assistant .said")).to_have_text("One.")
    page.goto(f"{first}0")
    expect(page.get_by_role("status")).to_contain_text("not in this browser")


def test_a_reload_in_mid_answer_keeps_the_conversation(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    engine.answers = [Held(held, "So ", "far ", "so good", " and the rest"), "A whole answer."]
    begin(page, "question")
    expect(page.locator(".assistant .said")).to_contain_text("so good")
    page.reload()
    expect(page.locator(".assistant .said")).to_have_text("So far so good")
    expect(page.locator(".assistant")).to_contain_text("Interrupted")
    held.set()
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    page.get_by_role("button", name="Regenerate").click()
    expect(page.locator(".assistant .said")).to_have_text("A whole answer.")
    page.locator(".assistant .versions").get_by_role("button", name="Earlier version").click()
    expect(page.locator(".assistant .said")).to_have_text("So far so good")


def test_an_answer_goes_on_when_its_conversation_is_left(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    engine.answers = [Held(held, "Slow beginning", ", slow end."), "Quick."]
    begin(page, "slow question")
    expect(page.locator(".assistant .said")).to_contain_text("Slow beginning")
    new(page)
    expect(page.get_by_role("img", name="being answered")).to_be_visible()
    ask(page, "quick question")
    expect(page.locator(".assistant .said")).to_have_text("Quick.")
    page.get_by_role("button", name="slow question", exact=True).click()
    expect(page.locator(".assistant .said")).to_have_text("Slow beginning")
    new(page)
    held.set()
    expect(page.get_by_role("img", name="being answered")).to_have_count(0)
    page.get_by_role("button", name="slow question", exact=True).click()
    expect(page.locator(".assistant .said")).to_have_text("Slow beginning, slow end.")
    assert engine.closed == 0


def test_drafts_and_staged_pictures_survive_reload_and_switching(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One.", "Two."]
    ask(page, "first")
    page.get_by_label("Question", exact=True).fill("a draft\nof two lines")
    give(page, "drop", png(3, 3), png(4, 4))
    expect(page.locator("#staged li")).to_have_count(2)
    expect(page.locator("#staged")).not_to_contain_text("reading")
    new(page)
    assert question(page) == ""
    page.get_by_label("Question", exact=True).fill("another")
    page.get_by_role("button", name="first", exact=True).click()
    expect(page.get_by_label("Question", exact=True)).to_have_value("a draft\nof two lines")
    expect(page.locator("#staged li")).to_have_count(2)
    page.get_by_label("Question", exact=True).press_sequentially("!")
    page.reload()  # at once: nothing has rested
    expect(page.get_by_label("Question", exact=True)).to_have_value("a draft\nof two lines!")
    expect(page.locator("#staged img")).to_have_count(2)
    page.get_by_label("Question", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".assistant .said")).to_have_text(["One.", "Two."])
    assert [image.size for image in engine.seen[-1][0][-1].images] == [(3, 3), (4, 4)]
    new(page)
    expect(page.get_by_label("Question", exact=True)).to_have_value("another")
    page.get_by_role("button", name="first", exact=True).click()
    expect(page.locator(".user")).to_have_count(2)
    assert question(page) == ""
    expect(page.locator("#staged li")).to_have_count(0)


LATE_STORE = """() => {
  const open = IDBFactory.prototype.open;
  IDBFactory.prototype.open = function (...names) {
    const request = open.apply(this, names);
    Object.defineProperty(request, "onsuccess", {
      set: (act) => request.addEventListener("success", (event) => setTimeout(() => act.call(request, event), 1500)),
    });
    return request;
  };
}"""


def test_what_is_typed_while_the_page_opens_stays_and_is_asked(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["One.", "Two."]
    ask(page, "first")
    page.add_init_script(f"({LATE_STORE})()")
    page.reload()
    begin(page, "typed early")
    expect(page.locator(".user .said")).to_have_text(["first", "typed early"])
    expect(page.locator(".assistant .said")).to_have_text(["One.", "Two."])
    page.reload()
    page.get_by_label("Question", exact=True).fill("not sent yet")
    expect(page.locator(".user .said")).to_have_text(["first", "typed early"])
    page.wait_for_timeout(500)
    assert question(page) == "not sent yet"


def test_a_draft_of_a_closed_tab_is_taken_up_and_one_of_an_open_tab_is_not(browser: Browser, running: Running) -> None:
    with watched_context(browser, running) as (context, watch):
        left, right = (watch.over(context.new_page()) for _ in range(2))
        left.goto(running.url)
        left.get_by_label("Question", exact=True).fill("left draft")
        left.wait_for_timeout(600)
        right.goto(running.url)
        right.wait_for_timeout(1500)
        assert question(right) == ""
        right.get_by_label("Question", exact=True).fill("right draft")
        right.wait_for_timeout(600)
        assert question(left) == "left draft"
        left.close()
        third = watch.over(context.new_page())
        third.goto(running.url)
        expect(third.get_by_label("Question", exact=True)).to_have_value("left draft")
        assert question(right) == "right draft"


def test_several_deletions_can_be_undone(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["1", "2", "3"]
    for name in ("alpha", "beta", "gamma"):
        ask(page, name)
        new(page)
    for name in ("alpha", "beta", "gamma"):
        page.get_by_role("button", name=f"Delete {name}").click()
        expect(page.get_by_role("button", name=f"Delete {name}")).to_have_count(0)
    expect(page.locator("#conversations li")).to_have_count(0)
    page.get_by_role("button", name="Undo (3)").click()
    expect(page.locator(".user .said")).to_have_text("gamma")
    page.get_by_role("button", name="Undo (2)").click()
    page.get_by_role("button", name="Undo", exact=True).click()
    expect(page.locator("#conversations li")).to_have_count(3)
    page.get_by_role("button", name="Delete beta").click()
    expect(page.locator("#conversations li")).to_have_count(2)
    page.reload()
    expect(page.locator("#conversations li")).to_have_count(2)
    page.get_by_role("button", name="Settings").click()
    page.get_by_text("Deleted in the last 30 days").click()
    page.get_by_role("button", name="Restore").click()
    page.keyboard.press("Escape")
    expect(page.locator("#conversations li")).to_have_count(3)


QUOTA = """() => {
  const put = IDBObjectStore.prototype.put;
  window.full = false;
  IDBObjectStore.prototype.put = function (...given) {
    if (window.full) throw new DOMException("full", "QuotaExceededError");
    return put.apply(this, given);
  };
}"""


def test_a_full_storage_is_reported_while_it_matters_and_nothing_is_lost(
    page: Page, engine: FakeEngine, tmp_path: Path
) -> None:
    page.add_init_script(f"({QUOTA})()")
    page.reload()
    engine.answers = ["One.", "Two.", "Three."]
    ask(page, "kept")
    page.evaluate("window.full = true")
    ask(page, "not kept")
    notice = page.locator("#trouble")
    expect(notice).to_contain_text("storage is full")
    with page.expect_download() as saved:
        notice.get_by_role("button", name="Export").click()
    content = json.loads(Path(saved.value.path()).read_text())
    said = [part["text"] for message in content["conversations"][0]["messages"] for part in message["parts"]]
    assert sorted(said) == ["One.", "Two.", "kept", "not kept"]
    page.evaluate("window.full = false")
    ask(page, "kept again")
    expect(notice).to_have_count(0)
    page.reload()
    expect(page.locator(".user .said")).to_have_text(["kept", "not kept", "kept again"])


@pytest.mark.parametrize(
    "taken", ["delete window.indexedDB; Object.defineProperty(window, 'indexedDB', {value: undefined})",
              "IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError') }",
              ("Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError') }});"
              "Object.defineProperty(window, 'sessionStorage', {get() { throw new DOMException('no', 'SecurityError') }});"
              "delete window.BroadcastChannel; IDBFactory.prototype.open = () => { throw new DOMException('no', 'SecurityError') }")]
)  # fmt: skip
def test_without_a_store_the_page_works_and_says_so(page: Page, engine: FakeEngine, taken: str) -> None:
    page.add_init_script(taken)
    page.reload()
    expect(page.locator("#trouble")).to_contain_text("lost when the page is closed")
    engine.answers = ["One.", "Two.", "Three."]
    ask(page, "first")
    new(page)
    ask(page, "second")
    page.get_by_role("button", name="first", exact=True).click()
    expect(page.locator(".assistant .said")).to_have_text("One.")
    ask(page, "third")
    expect(page.locator(".assistant .said")).to_have_text(["One.", "Three."])
    expect(page.locator("#trouble")).to_be_visible()


OLD = """async (version) => {
  const gone = indexedDB.deleteDatabase("pixtral");
  await new Promise((resolve) => (gone.onsuccess = gone.onerror = resolve));
  const opened = indexedDB.open("pixtral", version);
  opened.onupgradeneeded = () => {
    opened.result.createObjectStore("conversations", {keyPath: "id"});
    if (version > 1) opened.result.createObjectStore("titles", {keyPath: "id"});
  };
  await new Promise((resolve) => (opened.onsuccess = resolve));
  const names = version > 1 ? ["conversations", "titles"] : ["conversations"];
  const writing = opened.result.transaction(names, "readwrite");
  const picture = {name: "p.png", url: PNG, width: 2, height: 1, tokens: 10};
  const messages = [
    {role: "user", text: "asked of old", pictures: [picture, picture]},
    {role: "assistant", text: "An old answer", usage: {total_tokens: 77, completion_tokens: 7}, timings: {ttft: 0.5, decode: 1}, finish_reason: "stop"},
    {role: "user", text: "", pictures: [picture]},
    {role: "assistant", text: "Broken", error: "The server failed."},
    {role: "user", text: "again", pictures: []},
    {role: "assistant", text: "Half", interrupted: true},
  ];
  writing.objectStore("conversations").put({id: "old", title: "An old one", changed: 1, messages});
  if (version > 1) writing.objectStore("titles").put({id: "old", title: "An old one", changed: 1});
  await new Promise((resolve) => (writing.oncomplete = resolve));
  opened.result.close();
}"""


@pytest.mark.parametrize("version", [1, 2])
def test_everything_an_older_page_kept_is_still_there(
    page: Page, running: Running, engine: FakeEngine, version: int
) -> None:
    from tests.server.serving import data_url

    page.goto(f"{running.url}/page/icon.svg")  # nothing here has the database open
    page.evaluate(OLD.replace("PNG", f'"{data_url()}"'), version)
    page.goto(running.url)
    engine.answers = ["A new answer."]
    for _ in range(2):
        page.get_by_role("button", name="An old one", exact=True).click()
        expect(page.locator(".user .said")).to_have_text(["asked of old", "again"])
        expect(page.locator(".assistant .said")).to_have_text(["An old answer", "Broken", "Half"])
        expect(page.locator(".user img")).to_have_count(3)
        expect(page.locator(".error")).to_have_text("The server failed.")
        expect(page.locator(".assistant").last).to_contain_text("Stopped.")
        expect(page.locator("#budget")).to_contain_text("77 of")
        page.reload()
    ask(page, "and now")
    assert [len(message.images) for message in engine.seen[-1][0]] == [2, 0, 1, 0, 0, 0, 0]


BAD = b'{"format": "pixtral-conversations", "conversations": [{"id": 1}]}'


def test_export_and_import_keep_every_version_and_picture(
    browser: Browser, running: Running, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.answers = ["One.", "Other."]
    with watched_context(browser, running) as (context, watch):
        page = watch.over(context.new_page())
        page.goto(running.url)
        give(page, "drop", png(5, 5))
        ask(page, "first <b>")
        page.get_by_role("button", name="Regenerate").click()
        expect(page.locator(".assistant .said")).to_have_text("Other.")
        page.get_by_role("button", name="Settings").click()
        with page.expect_download() as saved:
            page.get_by_role("button", name="Export all").click()
        saved.value.save_as(tmp_path / "all.json")
        with page.expect_download() as saved:
            page.get_by_role("button", name="Export this one as Markdown").click()
        transcript = Path(saved.value.path()).read_text()
        assert r"first \<b>" in transcript and "Other." in transcript and "(version 2 of 2)" in transcript
    with watched_context(browser, running) as (context, watch):
        page = watch.over(context.new_page())
        page.goto(running.url)
        page.get_by_role("button", name="Settings").click()
        bad = {"name": "bad.json", "mimeType": "application/json", "buffer": BAD}
        for given, said in ((tmp_path / "all.json", "1 conversation is here now"), (bad, "bad.json is damaged")) * 2:
            page.get_by_label("Import").set_input_files(given)  # type: ignore[arg-type]
            expect(page.locator("#settings")).to_contain_text(said)
        expect(page.locator("#conversations li")).to_have_count(1)
        page.keyboard.press("Escape")
        page.get_by_role("button", name="first <b>", exact=True).click()
        expect(page.locator(".assistant .said")).to_have_text("Other.")
        expect(page.locator(".user img")).to_be_visible()
        page.locator(".assistant .versions").get_by_role("button", name="Earlier version").click()
        expect(page.locator(".assistant .said")).to_have_text("One.")


def test_rename_and_search(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["About zebras.", "About lions."]
    ask(page, "stripes")
    new(page)
    ask(page, "manes")
    page.get_by_role("button", name="Rename stripes").click()
    page.get_by_label("New name").fill("Striped <i>animals</i>")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Striped <i>animals</i>", exact=True)).to_be_visible()
    page.get_by_label("Search conversations").fill("zebra")
    expect(page.locator("#conversations .open")).to_have_text(["Striped <i>animals</i>"])
    page.get_by_label("Search conversations").fill("MANES")
    expect(page.locator("#conversations .open")).to_have_text(["manes"])
    page.get_by_label("Search conversations").fill("nowhere")
    expect(page.locator("#sidebar")).to_contain_text("Nothing found.")
    page.get_by_label("Search conversations").fill("")
    page.reload()
    expect(page.locator("#conversations .open")).to_have_count(2)
    for name in ("Striped <i>animals</i>", "manes"):
        expect(page.get_by_role("button", name=name, exact=True)).to_be_visible()
