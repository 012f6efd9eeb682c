"""Serves the files of the web page with a content security policy that allows only its own scripts and connections."""

import base64
import functools
import hashlib
import re
import secrets
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
    ".woff2": "font/woff2",
}

PAGE_POLICY = (
    f"{NO_SOURCES}; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; connect-src 'self'; frame-src 'self'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'; script-src 'self'"
)
# For a page that a model wrote: no origin, no network access.
PREVIEW_POLICY = f"{PREVIEW_SOURCES}; sandbox allow-scripts; frame-ancestors 'self'"
# Two policies, both of which must allow a script: the first requires a nonce, so that nested frames run none, the second
# allows inline scripts only, so that none is fetched.
PREVIEW_WITH_SCRIPTS_POLICY = (
    f"{PREVIEW_POLICY}; require-trusted-types-for 'script'; trusted-types default raw; script-src 'nonce-NONCE', "
    f"{WITH_SCRIPTS}"
)

COMMON_HEADERS = {
    "Cache-Control": "no-cache",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
}


def routes() -> list[Route]:
    """The page at `/`, its files under `/page/`."""
    names = {
        f"page/{file.relative_to(FOLDER).as_posix()}": file for file in FOLDER.rglob("*") if file.suffix in MEDIA_TYPES
    }
    names |= {"": FOLDER / "index.html"}

    async def send(request: Request) -> Response:
        name = request.url.path.removeprefix("/")
        if name not in names:
            raise ApiError(404, "Not Found", code="not_found")
        file = names[name]
        body, policy = file.read_bytes(), content_security_policy(file.name)
        if "NONCE" in policy:
            nonce = secrets.token_urlsafe(16)
            body, policy = body.replace(b"NONCE", nonce.encode()), policy.replace("NONCE", nonce)
        headers = {**COMMON_HEADERS, "Content-Security-Policy": policy}
        if policy.startswith(PREVIEW_POLICY):
            headers["Connection-Allowlist"] = (
                "()"  # no connections, including WebRTC, in browsers that support the header
            )
        return Response(body, media_type=MEDIA_TYPES[file.suffix], headers=headers)

    return [Route("/", send), Route("/page/{name:path}", send)]


def content_security_policy(name: str) -> str:
    """The content security policy of the file `name`. NONCE in it stands for a nonce of each response."""
    match name:
        case "index.html":
            return f"{PAGE_POLICY} '{_inline_script_hash(name)}'"
        case "preview.html":
            return f"{PREVIEW_POLICY}; script-src '{_inline_script_hash(name)}'"
        case "preview-scripts.html":
            return PREVIEW_WITH_SCRIPTS_POLICY
        case _:
            return PAGE_POLICY


@functools.cache
def _inline_script_hash(name: str) -> str:
    """The hash of a file's only inline script or import map, as a CSP source expression."""
    html = (FOLDER / name).read_text(encoding="utf-8")
    script = re.search(r"<script(?: type=\"importmap\")?>(.+?)</script>", html, re.DOTALL)
    assert script
    return "sha256-" + base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
