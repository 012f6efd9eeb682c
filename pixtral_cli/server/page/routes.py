"""Serves the web page's files under a content security policy that lets nothing foreign run or be fetched."""

import base64
import hashlib
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pixtral_cli.chat.preview import NO_SOURCES, PREVIEW_SOURCES, WITH_SCRIPTS
from pixtral_cli.server.http.errors import ApiError

FOLDER = Path(__file__).parent
MEDIA_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
}
PREVIEW = "preview.html"
PREVIEW_WITH_SCRIPTS = "preview-scripts.html"

PAGE_SOURCES = f"{NO_SOURCES}; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; frame-src 'self'"
PAGE_POLICY = f"{PAGE_SOURCES}; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify"
# A page that the model wrote: without an origin and without network access.
PREVIEW_POLICY = f"{PREVIEW_SOURCES}; sandbox allow-scripts; frame-ancestors 'self'"

COMMON_HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def routes() -> list[Route]:
    """The page at `/`, its files under `/page/`."""
    names = {
        f"page/{file.relative_to(FOLDER).as_posix()}": file for file in FOLDER.rglob("*") if file.suffix in MEDIA_TYPES
    }
    names |= {"": FOLDER / "index.html", f"page/{PREVIEW_WITH_SCRIPTS}": FOLDER / PREVIEW}

    async def send(request: Request) -> Response:
        name = request.url.path.removeprefix("/")
        if name not in names:
            raise ApiError(404, "Not Found", code="not_found")
        file = names[name]
        headers = {**COMMON_HEADERS, "Content-Security-Policy": content_security_policy(name)}
        return Response(file.read_bytes(), media_type=MEDIA_TYPES[file.suffix], headers=headers)

    return [Route("/", send), Route("/page/{name:path}", send)]


def content_security_policy(name: str) -> str:
    """The content security policy of a file: the preview may run its own script only, or all scripts in the variant with scripts."""
    if name == f"page/{PREVIEW}":
        return f"{PREVIEW_POLICY}; script-src '{_preview_script_hash()}'"
    if name == f"page/{PREVIEW_WITH_SCRIPTS}":
        return f"{PREVIEW_POLICY}; {WITH_SCRIPTS}"
    return PAGE_POLICY


def _preview_script_hash() -> str:
    """Of the one script that stands in the preview's page."""
    script = re.search(r"<script>(.*)</script>", (FOLDER / PREVIEW).read_text(encoding="utf-8"), re.DOTALL)
    assert script
    return "sha256-" + base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
