"""Torture H: hostile values in every field of every file that we write for others to open."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from pixtral_cli import images
from pixtral_cli.chat.message import Message, assistant, system, user
from pixtral_cli.chat.preview import sandboxed_page
from pixtral_cli.cli import evaluate
from pixtral_cli.errors import UsageError
from pixtral_cli.evals import report_html, run_folder, task_registry
from pixtral_cli.images.image import Image
from pixtral_cli.sessions import harmless, transcript
from pixtral_cli.sessions.transcript import Format, Transcript
from tests.server.serving import png

SCRIPT = "\"><script>evil()</script><img src=http://evil/x onerror=evil()> '><svg/onload=evil()> --></style></title>]]> {evil} &lt;"
ACTS = "\x1b]0;evil\x07\x1b[2J\x9b31m\x00\x7f \u202eevil\u2066\r\n\x85\ud800"
REMOTE = "![evil](http://evil/x.png) ![evil][r] <img src=http://evil> <iframe src=http://evil></iframe>\n\n[r]: http://evil/r.png\n"
HOSTILE = f"{SCRIPT}\n{ACTS}\n{REMOTE}[link](javascript:evil()) [data](data:text/html,<script>evil()</script>)"
TAGS = frozenset(["html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "span", "a", "figure", "img", "figcaption", "table", "thead", "tbody", "tr", "td", "th", "pre", "code", "blockquote", "ul", "ol", "li", "em", "strong", "hr", "br", "details", "summary", "article", "dl", "dt", "dd"])  # fmt: skip
ATTRIBUTES = frozenset(
    [
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "class",
        "dir",
        "id",
        "href",
        "src",
        "alt",
        "title",
        "start",
        "style",
    ]
)


class Audit(HTMLParser):
    """Collects what of a page could run or fetch."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in TAGS:
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            value = value or ""
            if name not in ATTRIBUTES:
                self.wrong.append(f"{tag} {name}={value}")
            if name == "src" and not value.startswith("data:image/"):
                self.wrong.append(f"{tag} {name}={value}")
            if name == "href" and not re.match(r"#|https?://", value):
                self.wrong.append(f"{tag} {name}={value}")

    def handle_decl(self, decl: str) -> None:
        if decl != "doctype html":
            self.wrong.append(decl)

    def handle_comment(self, data: str) -> None:
        self.wrong.append(data)


def check_page(page: str) -> None:
    assert Audit(page).wrong == []
    assert "default-src 'none'" in page
    check_terminal(page)


def check_terminal(text: str) -> None:
    """Nothing in it acts on a terminal, and it is valid UTF-8."""
    text.encode()
    assert re.findall("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text) == []


def check_markdown(text: str) -> None:
    """A viewer of Markdown fetches nothing but what lies beside it."""
    check_terminal(text)
    for token in (each for block in MarkdownIt("commonmark").enable("table").parse(text) for each in (block, *(block.children or ()))):  # fmt: skip
        assert token.type not in ("html_block", "html_inline"), token.content
        if token.type == "image":
            assert not re.match(r"\w+:|//", str(token.attrs["src"])) or str(token.attrs["src"]).startswith("data:image/")  # fmt: skip


def picture() -> Image:
    return replace(images.from_bytes(png(), "x.png"), name=HOSTILE)


def hostile() -> Transcript:
    said: tuple[Message, ...] = (
        user(HOSTILE, [picture()]),
        assistant(f"{HOSTILE}\n\n```html\n{HOSTILE}\n```\n\n    {HOSTILE}\n\n| a | b |\n|--|--|\n| ` | {REMOTE.splitlines()[0]} |"),
        user("```\nleft open"),
        replace(assistant("thought"), reasoning=HOSTILE),
        assistant(f"```\n{REMOTE}\n```\n`\n\n{REMOTE}\n\n`\n\\{REMOTE}"),
        user("again", [picture()]),
    )  # fmt: skip
    return Transcript(said, HOSTILE, HOSTILE, HOSTILE, HOSTILE, 0.0)


def test_a_transcript_as_html_holds_no_tag_that_was_said() -> None:
    page = transcript.render(hostile(), Format.html)
    check_page(page)
    assert page.count("evil()") > 5  # it is shown


def test_a_transcript_as_markdown_fetches_nothing_and_keeps_code(tmp_path: Path) -> None:
    check_markdown(transcript.render(hostile(), Format.md))
    transcript.write(hostile(), tmp_path / "x.md")
    text = (tmp_path / "x.md").read_text()
    check_markdown(text)
    assert "![image 1: " in text
    code = "Look:\n\n```rust\nvec![1]; a<b>();\n```\n\n- a\n\n  ```\n  <b>![x](y)\n  ```\n\nand `vec![2]`, `<b>`."
    assert harmless.markdown(code) == code


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a ![x](http://e)", r"a \![x](http://e)"),
        (r"\![x](http://e)", r"\![x](http://e)"),
        (r"\\![x](http://e)", r"\\\![x](http://e)"),
        ("`![x]`", "`![x]`"),
        ("`\n\n![x](http://e)\n\n`", "`\n\n\\![x](http://e)\n\n`"),
        ("vector<int>", r"vector\<int>"),
        ("1 < 2, a<=b, <3, x <- y", "1 < 2, a<=b, <3, x <- y"),
        ("<https://e.example/a>", "<https://e.example/a>"),
        ("<https://e onload=x>", r"\<https://e onload=x>"),
        ("```\nopen", "```\nopen\n```\n"),
        ("~~~\nopen\n```", "~~~\nopen\n```\n~~~\n"),
        ("```\nclosed\n```", "```\nclosed\n```"),
    ],
)
def test_what_is_made_inert_and_what_stays(text: str, shown: str) -> None:
    assert harmless.markdown(text) == shown


@pytest.mark.parametrize("form", [Format.json, Format.jsonl])
def test_a_transcript_as_json_acts_on_no_terminal_and_is_read_back_whole(tmp_path: Path, form: Format) -> None:
    text = HOSTILE.replace("\ud800", "")
    said = Transcript((user(text), assistant(text)), text, text, "m")
    file = tmp_path / f"x.{form}"
    transcript.write(said, file)
    written = file.read_bytes().decode()
    check_terminal(written)
    back, _ = transcript.read(file)
    assert [message.text for message in back.messages] == [text, text]
    assert back.system == text


def test_a_page_of_the_model_cannot_leave_its_frame() -> None:
    page = sandboxed_page(HOSTILE.replace("\ud800", ""), HOSTILE)
    found = re.findall(r"<(\w+)", page)
    assert found == ["meta", "meta", "meta", "title", "style", "iframe"]


def record(value: Any) -> dict[str, Any]:
    return {
        "row": 0, "key": value, "place": 0, "of": 1, "groups": [value],
        "messages": [
            {"role": "system", "parts": [value]},
            {"role": value, "parts": [value, {"image": "a" * 64, "name": value, "size": [1, 1]}, {"image": "b" * 64, "name": value, "size": [1, 1]}]},
        ],
        "follow_ups": [value], "answers": [value, value], "references": [value], "scores": {value: 0.5, "exact": 0.0},
        "weights": {value: 1.0}, "verdict": value, "error": value, "prompt_tokens": 1, "completion_tokens": 1, "seconds": 0.5,
    }  # fmt: skip


ABOUT = {"task": "mmlu", "model": {"name": "m"}, "prompts": {"source": "own"}, "limit": None}


def written(folder: Path, about: dict[str, Any], *records: Any) -> Path:
    """A run that somebody else made."""
    (folder / "images").mkdir(parents=True)
    for name in "ab":
        (folder / "images" / f"{name * 64}.webp").write_bytes(b"RIFF\0\0\0\0WEBP")
    (folder / "run.json").write_text(json.dumps({"about": about, "rows": 1, "versions": [{}]}))
    (folder / "answers.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    return folder


def test_the_page_of_a_run_holds_no_tag_of_its_records(tmp_path: Path) -> None:
    value = HOSTILE.replace("\ud800", "")
    about = {**ABOUT, "model": {"name": value, value: value}, "limit": value, "data": value, value: {value: [value]}}
    run = run_folder.open_run(written(tmp_path / "run", about, record(value)))
    page = report_html.render_html(task_registry.get_task("mmlu"), run, run.records())
    check_page(page)
    assert page.count("evil()") > 10


def changed(value: Any, path: tuple[Any, ...], to: Any) -> Any:
    if not path:
        return to
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], to)
    return copy


def paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield before
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from paths(value[key], (*before, key))


WRONG_TYPES = ["<script>", None, [], {}, ["<b>"], {"<b>": "<b>"}, -1, 1e300, True]


def test_a_value_of_another_type_in_a_record_is_told_or_shown_as_text(tmp_path: Path) -> None:
    """Each value of a record is replaced by each of these in turn."""
    task, plain = task_registry.get_task("mmlu"), record("x")
    folder = written(tmp_path / "run", ABOUT)
    run = run_folder.open_run(folder)
    for path in paths(plain):
        for value in WRONG_TYPES:
            (folder / "answers.jsonl").write_text(json.dumps(changed(plain, path, value)) + "\n")
            try:
                check_page(report_html.render_html(task, run, run.records()))
            except UsageError as error:
                assert "line 1 is damaged" in error.message


def test_a_value_of_another_type_in_a_runs_settings_is_told_or_shown_as_text(tmp_path: Path) -> None:
    task = task_registry.get_task("mmlu")
    folder = written(tmp_path / "run", ABOUT, record("x"))
    plain = json.loads((folder / "run.json").read_text())
    for path in paths(plain):
        for value in WRONG_TYPES:
            (folder / "run.json").write_text(json.dumps(changed(plain, path, value)))
            try:
                run = run_folder.open_run(folder)
                check_page(report_html.render_html(task, run, run.records()))
            except UsageError as error:
                assert "damaged" in error.message


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "a" * 63, "A" * 64, ""])
def test_a_record_names_no_picture_outside_its_run(tmp_path: Path, name: str) -> None:
    plain = record("x")
    plain["messages"][1]["parts"][1]["image"] = name
    run = run_folder.open_run(written(tmp_path / "run", ABOUT, plain))
    with pytest.raises(UsageError, match="line 1 is damaged"):
        run.records()


def test_a_run_whose_page_is_a_link_does_not_write_through_it(tmp_path: Path) -> None:
    folder = written(tmp_path / "run", ABOUT, record("x"))
    own = tmp_path / "mine.txt"
    own.write_text("mine")
    (folder / "report.html").symlink_to(own)
    evaluate.show(str(folder), output=None, most=9)
    assert own.read_text() == "mine"
    assert "<article" in (folder / "report.html").read_text()


def test_the_system_prompt_of_a_transcript_stays_in_its_quotation() -> None:
    told = Transcript((system("s"), user("u")), "a\n\n# Not a heading\x1b[2J", "t")
    assert "> # Not a heading" in transcript.render(told, Format.md)


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("demo", True), ("pixtral-12b", True), ("mistralai/Pixtral-12B-2409", True), ("org/name@main", True), ("gpt-4o", True),
        ("/tmp/evil", False), ("./evil", False), ("../evil", False), ("~/evil", False), ("evil", False), ("evil/model", False),
        ("org/name@../../x", False), ("a/b/c", False), ("C:\\evil", False), (".evil", False), ("file:///evil", False), ("", False),
    ],
)  # fmt: skip
def test_the_model_of_an_imported_transcript_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, kept: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil" / "model").mkdir(parents=True)
    file = tmp_path / "x.json"
    file.write_text(json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}]}))
    read, notes = transcript.read(file)
    assert read.model == (model if kept else "")
    assert bool(notes) is (bool(model) and not kept)
