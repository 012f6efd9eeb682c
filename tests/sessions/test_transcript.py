"""Transcripts: Markdown, HTML and JSON of a conversation, and reading them back."""

import base64
import json
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import PIL.Image
import pytest

from pixtral_cli.chat.message import Message, assistant, user
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.images.transform import Box
from pixtral_cli.sessions import transcript
from pixtral_cli.sessions.transcript import Format, Transcript
from tests.images.colours import GREEN, RED, picture

CROP = RED.cropped(Box(1, 1, 4, 3))
SAID = (
    user("What is *this*?", [RED, picture("green", "a [b] c.jpg", "JPEG")]),
    assistant("A **square**:\n\n```html\n<b>&</b>\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"),
    Message("user", ("and ", CROP, " beside ", RED, "?")),
    assistant("I thi", interrupted=True),
)
TALK = Transcript(SAID, "be brief", "What is *this*?", "pixtral-12b", "abc234", 1_000_000_000.0)


def same(one: tuple[Message, ...], other: tuple[Message, ...]) -> bool:
    return [[getattr(part, "key", part) for part in m.parts] + [m.role, m.interrupted] for m in one] == [
        [getattr(part, "key", part) for part in m.parts] + [m.role, m.interrupted] for m in other
    ]


@pytest.mark.parametrize("name", ["talk.json", "talk.jsonl"])
def test_json_comes_back_with_names_crops_and_interruptions(tmp_path: Path, name: str) -> None:
    transcript.write(TALK, tmp_path / name)
    read, notes = transcript.read(tmp_path / name)
    assert same(read.messages, SAID)
    assert (read.system, notes) == ("be brief", [])
    assert [image.name for image in read.messages[2].images] == ["red.png", "red.png"]
    if name == "talk.json":
        assert (read.title, read.model) == (TALK.title, TALK.model)


def test_json_is_in_openais_shape(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in transcript.render(TALK, Format.jsonl).splitlines()]
    assert [line["role"] for line in lines] == ["system", "user", "assistant", "user", "assistant"]
    assert lines[1]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    (tmp_path / "bare.json").write_text(json.dumps(lines))
    assert same(transcript.read(tmp_path / "bare.json")[0].messages, SAID)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"talk\.json: messages: is empty"),
        ("not json\nat all\n", r"talk\.json: not valid JSON"),
        ('{"role": "user", "content": "x"}\nbroken\n{"role": "user", "content": "y"}\n', "Line 2: not valid JSON"),
        ('{"messages": []}', "messages: is empty"),
        ('[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "URL", "crop": [1]}}]}]', "crop"),
        ('[{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc/passwd"}]}]', "must be a data"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, why: str) -> None:
    from pixtral_cli.api.messages import data_url

    (tmp_path / "talk.json").write_text(text.replace("URL", data_url(RED)))
    with pytest.raises(UsageError, match=why):
        transcript.read(tmp_path / "talk.json")


def test_markdown_has_its_images_in_a_folder_beside_it(tmp_path: Path) -> None:
    transcript.write(TALK, tmp_path / "talk.md")
    text = (tmp_path / "talk.md").read_text()
    assert text.startswith("# What is *this*?\n\n*pixtral-12b · 2001-09-")
    assert "\n\n> be brief\n\n## You\n\n![image 1: red.png](<talk.images/1-red.png>)" in text
    assert "![image 2: a  b  c.jpg](<talk.images/2-a-b-c.jpeg>)" in text
    assert text.count("talk.images/1-red.png") == 2
    assert text.endswith("## pixtral-12b\n\nI thi\n\n*(interrupted)*\n")
    assert (tmp_path / "talk.images" / "1-red.png").read_bytes() == RED.data
    with PIL.Image.open(tmp_path / "talk.images" / "3-red.png") as crop:
        assert crop.size == (4, 3)


def test_markdown_in_one_piece_has_its_images_inside() -> None:
    assert transcript.render(TALK, Format.md).count("](<data:image/") == 4


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_html_is_one_file_with_its_images_inside() -> None:
    text = transcript.render(TALK, Format.html)
    page = Page(text)
    sources = [image["src"] or "" for image in page.all("img")]
    assert [source.partition(";")[0] for source in sources] == ["data:image/png", "data:image/jpeg", "data:image/png"]
    assert base64.b64decode(sources[0].partition(",")[2]) == RED.data
    assert {"strong", "table", "pre", "code"} <= {tag for tag, _ in page.tags}
    assert {link["href"] for link in page.all("a")} == {"#image-1"}
    assert all(
        word in page.text for word in ("What is *this*?", "<b>&</b>", "be brief", "(interrupted)", "session abc234")
    )


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> ![x](https://evil.example/track.png) "
    "[click](javascript:alert(1)) <iframe src=//evil.example></iframe> </div></body> &lt;b&gt;\n\n"
    "```html\"><script>alert(2)</script>\n</code></pre><script>alert(3)</script>\n```\n"
)  # fmt: skip


def test_html_lets_nothing_act_and_fetches_nothing() -> None:
    name = '"><script>alert(4)</script>.png'
    talk = Transcript(
        (user(HOSTILE, [picture("blue", name)]), assistant(HOSTILE)), HOSTILE, HOSTILE, HOSTILE, HOSTILE, None
    )
    text = transcript.render(talk, Format.html)
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "link", "form"})
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert all((image["src"] or "").startswith("data:") for image in page.all("img"))
    assert not any((link["href"] or "").lower().startswith("javascript") for link in page.all("a"))
    (policy,) = [meta["content"] or "" for meta in page.all("meta") if "http-equiv" in meta]
    assert policy.startswith("default-src 'none'")
    assert page.text.count("alert(1)</script>") >= 4  # shown, not run
    assert not re.search(r"url\(|@import", text)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "talk.html"
    file.write_text("precious")
    file.chmod(0o640)
    transcript.write(TALK, file)
    assert file.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    with pytest.raises(PixtralError, match="Cannot write"):
        transcript.write(TALK, tmp_path / "nowhere" / "talk.html")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.html"]


@pytest.mark.parametrize(
    ("name", "form"), [("a.MD", "md"), ("a.markdown", "md"), ("a.htm", "html"), ("a.jsonl", "jsonl")]
)
def test_the_ending_names_the_form(name: str, form: str) -> None:
    assert transcript.format_of(Path(name)) == form


def test_another_ending_is_asked_about() -> None:
    with pytest.raises(UsageError, match="which format") as error:
        transcript.format_of(Path("talk.docx"))
    assert ".md, .html, .json, .jsonl" in error.value.hint


def test_an_empty_conversation_has_transcripts_too() -> None:
    assert [bool(transcript.render(Transcript(()), form)) for form in (Format.md, Format.html, Format.json)] == [
        True
    ] * 3
    assert GREEN.key not in Transcript(SAID).numbers
