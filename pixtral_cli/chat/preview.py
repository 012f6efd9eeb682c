"""Wraps HTML that a model wrote so that a browser shows it without network access and, unless allowed, without scripts."""

import re
from html import escape

# Content security policy: inline styles, embedded images and fonts; nothing is fetched.
NO_SOURCES = "default-src 'none'; base-uri 'none'; form-action 'none'"
PREVIEW_SOURCES = f"{NO_SOURCES}; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
WITH_SCRIPTS = "script-src 'unsafe-inline'"

_WRAPPER = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>html, body {{ margin: 0; height: 100% }} iframe {{ border: 0; width: 100%; height: 100%; display: block }}</style>
<iframe sandbox="{sandbox}" srcdoc="{page}"></iframe>
"""


def sandboxed_page(page: str, title: str, *, scripts: bool = False) -> str:
    """An HTML document that shows `page` (HTML or SVG) in a sandboxed frame. The server's preview has the same policy."""
    policy = f"{PREVIEW_SOURCES}; {WITH_SCRIPTS}" if scripts else PREVIEW_SOURCES
    sandbox = "allow-scripts" if scripts else ""
    page = re.sub(r"^\s*<\?xml[^>]*\?>", "", page)
    return _WRAPPER.format(policy=policy, title=escape(title), sandbox=sandbox, page=escape(page))
