"""Renders a transcript as one HTML file: images embedded, no script, nothing fetched when it is opened."""

from collections.abc import Mapping, Sequence
from html import escape

from markdown_it import MarkdownIt

from pixtral_cli.api import messages
from pixtral_cli.chat import tool_rounds
from pixtral_cli.chat.message import Message, Part
from pixtral_cli.images.image import Image
from pixtral_cli.util.sanitize import clean

PAGE_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="pixtral">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --ground: #faf9f7; --ink: #1f1d1a; --faint: #6d675e; --line: #e2ddd4; --mine: #fff1e0;
  --code: #f1eee8; --accent: #c2410c }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #191816; --ink: #ece8e1; --faint: #a29b8f; --line: #38342e;
  --mine: #33261a; --code: #24221e; --accent: #fb923c }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0 auto; max-width: 46rem; padding: 2rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.6 system-ui, sans-serif; overflow-wrap: anywhere }}
h1 {{ font-size: 1.5rem; line-height: 1.25; margin: 0 }}
.about, figcaption, .stopped, .who {{ color: var(--faint); font-size: .85rem }}
.about {{ margin: .3rem 0 2rem; padding-bottom: 1rem; border-bottom: 1px solid var(--line) }}
.who {{ font-weight: 600; margin: 1.6rem 0 .3rem }}
.user {{ background: var(--mine); border-radius: .8rem; padding: .8rem 1rem }}
.typed {{ white-space: pre-wrap }}
details {{ color: var(--faint); margin: .3rem 0 .8rem }}
details .typed {{ border-left: 3px solid var(--line); padding-left: 1rem }}
.system {{ border-left: 3px solid var(--line); padding-left: 1rem; color: var(--faint) }}
figure {{ margin: .4rem 0 }}
img {{ display: block; max-width: 100%; max-height: 28rem; border-radius: .5rem; border: 1px solid var(--line) }}
pre {{ background: var(--code); padding: .8rem 1rem; border-radius: .5rem; overflow-x: auto; font-size: .875rem }}
code {{ font-family: ui-monospace, monospace; background: var(--code); border-radius: .25rem; padding: 0 .2em }}
pre code {{ padding: 0 }}
table {{ border-collapse: collapse }}
td, th {{ border: 1px solid var(--line); padding: .3rem .6rem }}
blockquote {{ margin: 0; padding-left: 1rem; border-left: 3px solid var(--line) }}
a {{ color: var(--accent) }}
</style>
</head>
<body>
<h1 dir="auto">{title}</h1>
<p class="about">{summary_line}</p>
{body}
</body>
</html>
"""


def html(
    messages: Sequence[Message],
    numbers: Mapping[str, int],
    *,
    system: str | None,
    title: str,
    summary_line: str,
    model: str,
) -> str:
    """The HTML page. `numbers`: the number of each image by its key.

    All text is escaped, and control characters become visible. Markdown in answers is rendered, its images as links.
    """
    shown: set[str] = set()
    pieces = []
    if system:
        pieces.append(f'<div class="who">System</div>\n<div class="system typed" dir="auto">{escape(system)}</div>')
    for message in messages:
        author = "You" if message.role == "user" else model or "Answer"
        pieces.append(f'<div class="who">{escape(author)}</div>\n<div class="{message.role}" dir="auto">')
        pieces.append(
            _answer(message, numbers, shown) if message.role == "assistant" else _question(message, numbers, shown)
        )
        pieces.append("</div>")
    return clean(PAGE_TEMPLATE.format(title=escape(title), summary_line=escape(summary_line), body="\n".join(pieces)))


def _answer(message: Message, numbers: Mapping[str, int], shown: set[str]) -> str:
    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    interrupted = '<p class="stopped">(interrupted)</p>' if message.interrupted else ""
    parts = tool_rounds.split(message)
    said = "".join(
        _result(part, numbers, shown) if part.role == "tool" else reader.render(part.text) + _calls(part)
        for part in parts
    )
    return f"{_thinking(message)}{said}{interrupted}"


def _calls(message: Message) -> str:
    return "".join(
        f'<p class="who">Tool call</p><pre><code>{escape(f"{call.name}({call.arguments})")}</code></pre>\n'
        for call in message.tool_calls
    )


def _result(message: Message, numbers: Mapping[str, int], shown: set[str]) -> str:
    images = "".join(_part(image, numbers, shown) for image in message.images)
    return (
        f'<p class="who">Result of {escape(message.name)}</p><pre><code>{escape(message.text)}</code></pre>{images}\n'
    )


def _thinking(message: Message) -> str:
    if not message.reasoning:
        return ""
    words = len(message.reasoning.split())
    text = f'<div class="typed" dir="auto">{escape(message.reasoning.strip())}</div>'
    return f"<details><summary>Thinking, {words:,} word{'' if words == 1 else 's'}</summary>{text}</details>\n"


def _question(message: Message, numbers: Mapping[str, int], shown: set[str]) -> str:
    return "".join(_part(part, numbers, shown) for part in message.parts if part)


def _part(part: Part, numbers: Mapping[str, int], shown: set[str]) -> str:
    if isinstance(part, str):
        return f'<span class="typed">{escape(part)}</span>'
    number = numbers[part.key]
    if part.key in shown:
        return f'<a href="#image-{number}">image {number}</a>'
    shown.add(part.key)
    return _figure(part, number)


def _figure(image: Image, number: int) -> str:
    width, height = image.size
    caption = f"image {number} · {escape(image.name)} · {width}×{height}"
    source = messages.data_url(image)
    return (
        f'<figure id="image-{number}"><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'
    )
