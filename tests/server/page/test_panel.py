"""The preview of a page that the model wrote: it follows, it keeps its scroll, and nothing of it reaches the network."""

import socket
import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.fakes import FakeEngine
from tests.server.page.chromium import Held, ask, begin
from tests.server.serving import Running

pytestmark = pytest.mark.slow


class Ears:
    """A TCP and a UDP port of this machine, and what arrives at them."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self.tcp, self.udp = self._tcp.getsockname()[1], self._udp.getsockname()[1]
        for listen in (self._accept, self._receive):
            threading.Thread(target=listen, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            self.heard.append("a TCP connection")
            connection.close()

    def _receive(self) -> None:
        while True:
            try:
                self._udp.recvfrom(2000)
            except OSError:
                return
            self.heard.append("a UDP packet")

    def close(self) -> None:
        self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()
        self._udp.close()


@pytest.fixture
def ears() -> Iterator[Ears]:
    ears = Ears()
    yield ears
    ears.close()


STUN = "new W.RTCPeerConnection({iceServers: [{urls: 'stun:127.0.0.1:PORT_U'}]})"
CALL = f"const peer = {STUN}; peer.createDataChannel('x'); peer.createOffer().then((offer) => peer.setLocalDescription(offer));"

ATTACKS = {
    "WebRTC": "<script>const W = window; CALL</script>",
    "WebRTC of a prefix": "<script>new webkitRTCPeerConnection({iceServers: [{urls: 'stun:127.0.0.1:PORT_U'}]}).createDataChannel('x')</script>",
    "WebRTC in an empty frame": "<script>const f = document.createElement('iframe'); document.body.append(f); const W = f.contentWindow; CALL</script>",
    "WebRTC in a frame with a document": '<iframe srcdoc="<script>const W = window; CALL</script>"></iframe>',
    "WebRTC in a frame with a script's address": '<iframe src="javascript:const W = window; CALL"></iframe>',
    "WebRTC in a frame made from a string": '<script>document.body.innerHTML += `<iframe srcdoc="<script>const W = window; CALL<\\/script>"></iframe>`</script>',
    "WebRTC in a frame in a template": "<template><iframe srcdoc='<script>const W = window; CALL</script>'></iframe></template>"
    "<script>document.body.append(document.importNode(document.querySelector('template').content, true))</script>",
    "WebRTC in a frame made by a shadow root": "<div id=d></div><script>d.attachShadow({mode: 'open'}).innerHTML = "
    '`<iframe srcdoc="<script>const W = window; CALL<\\/script>"></iframe>`</script>',
    "WebRTC in a frame written": '<script>document.write(`<iframe srcdoc="<script>const W = window; CALL<\\/script>"></iframe>`)</script>',
    "a frame in the SVG namespace's HTML": "<svg><foreignObject><iframe xmlns='http://www.w3.org/1999/xhtml' src='http://127.0.0.1:PORT_T/'></iframe></foreignObject></svg>",
    "a frame by namespace": "<script>const f = document.createElementNS('http://www.w3.org/1999/xhtml', 'h:iframe'); f.src = 'http://127.0.0.1:PORT_T/';"
    "document.body.append(f)</script>",
    "a frame by name object": "<script>const f = document.createElement({toString: () => 'iframe'}); f.src = 'http://127.0.0.1:PORT_T/'; document.body.append(f)</script>",
    "a frame from another document": "<script>const f = document.implementation.createHTMLDocument('').createElement('iframe');"
    "f.src = 'http://127.0.0.1:PORT_T/'; document.body.append(f)</script>",
    "a frame of XML": "<script>const f = document.implementation.createDocument('http://www.w3.org/1999/xhtml', 'iframe').documentElement;"
    "f.setAttribute('src', 'http://127.0.0.1:PORT_T/'); document.body.append(f)</script>",
    "frames, objects, embeds": "<iframe src='http://127.0.0.1:PORT_T/'></iframe><object data='http://127.0.0.1:PORT_T/'></object><embed src='http://127.0.0.1:PORT_T/'>",
    "the address": "<script>location.href = 'http://127.0.0.1:PORT_T/'</script>",
    "the address in a moment": "<script>setTimeout(() => location.assign('http://127.0.0.1:PORT_T/'), 50)</script>",
    "a refresh": "<meta http-equiv=refresh content='0;url=http://127.0.0.1:PORT_T/'>",
    "a refresh made": "<script>document.head.innerHTML += \"<meta http-equiv=refresh content='0;url=http://127.0.0.1:PORT_T/'>\"</script>",
    "a link": "<a id=a ping='http://127.0.0.1:PORT_T/' href='http://127.0.0.1:PORT_T/'>x</a><script>a.click()</script>",
    "a link of SVG": "<svg><a id=a href='http://127.0.0.1:PORT_T/'><text>x</text></a></svg><script>a.dispatchEvent(new MouseEvent('click', {bubbles: true}))</script>",
    "windows": "<a id=a target=_blank href='http://127.0.0.1:PORT_T/'>x</a><script>a.click(); open('http://127.0.0.1:PORT_T/')</script>",
    "a form": "<form id=f action='http://127.0.0.1:PORT_T/'><input name=a></form><script>f.submit(); f.requestSubmit()</script>",
    "hints": "<link rel=preconnect href='http://127.0.0.1:PORT_T/'><link rel=dns-prefetch href='http://127.0.0.1:PORT_T/'><link rel=prefetch href='http://127.0.0.1:PORT_T/'>"
    "<link rel=preload as=image href='http://127.0.0.1:PORT_T/'><link rel=modulepreload href='http://127.0.0.1:PORT_T/'>",
    "hints made": "<script>for (const rel of ['preconnect', 'prefetch', 'prerender']) { const l = document.createElement('link'); l.rel = rel;"
    "l.href = 'http://127.0.0.1:PORT_T/'; document.head.append(l) }</script>",
    "rules of speculation": '<script type=speculationrules>{"prefetch": [{"source": "list", "urls": ["http://127.0.0.1:PORT_T/"], "eagerness": "immediate"}]}</script>',
    "media": "<img src='http://127.0.0.1:PORT_T/'><video src='http://127.0.0.1:PORT_T/' poster='http://127.0.0.1:PORT_T/' autoplay></video><audio src='http://127.0.0.1:PORT_T/'></audio>"
    "<style>@import 'http://127.0.0.1:PORT_T/'; body { background: url(http://127.0.0.1:PORT_T/) } @font-face { font-family: f; src: url(http://127.0.0.1:PORT_T/) }</style><p style='font-family: f'>x",
    "requests": "<script>fetch('http://127.0.0.1:PORT_T/').catch(() => 0); navigator.sendBeacon('http://127.0.0.1:PORT_T/', 'x');"
    "new Image().src = 'http://127.0.0.1:PORT_T/'; import('http://127.0.0.1:PORT_T/').catch(() => 0)</script>",
    "sockets": "<script>for (const open of [() => new WebSocket('ws://127.0.0.1:PORT_T/'), () => new EventSource('http://127.0.0.1:PORT_T/'),"
    "() => new WebTransport('https://127.0.0.1:PORT_U/')]) try { open() } catch {}</script>",
    "scripts": "<script src='http://127.0.0.1:PORT_T/'></script><script type=module>import 'http://127.0.0.1:PORT_T/'</script>",
    "a worker": "<script>try { new Worker(URL.createObjectURL(new Blob([`fetch('http://127.0.0.1:PORT_T/')`]))) } catch {}</script>",
    "the nonce by a violation": "<script>document.addEventListener('securitypolicyviolation', ({originalPolicy}) => { const n = /nonce-([\\w-]+)/.exec(originalPolicy)[1];"
    "const f = document.createElement('div'); f.innerHTML = `<iframe srcdoc=\"<script nonce=${n}>const W = window; CALL<\\/script>\"></iframe>`; document.body.append(f) });"
    "new Image().src = 'http://127.0.0.1:PORT_T/'</script>",
    "the nonce of a script": "<script>document.title = document.currentScript.nonce || document.currentScript.getAttribute('nonce') || 'none';"
    "if (document.title !== 'none') location = 'http://127.0.0.1:PORT_T/'</script>",
    "a handler": "<img src='data:,' onerror=\"const W = window; CALL\">",
    "a customized frame": "<script>try { class F extends HTMLIFrameElement {} ; customElements.define('x-f', F, {extends: 'iframe'}); document.body.append(new F()) } catch {};"
    "document.querySelectorAll('iframe').forEach((f) => f.src = 'http://127.0.0.1:PORT_T/')</script>",
}


@pytest.mark.parametrize("scripts", [False, True])
def test_nothing_of_a_previewed_page_reaches_the_network(
    browser: Browser, running: Running, engine: FakeEngine, ears: Ears, scripts: bool
) -> None:
    context = browser.new_context()
    page = context.new_page()  # not watched: the attacks are refused aloud
    page.goto(running.url)
    for name, attack in ATTACKS.items():
        body = attack.replace("CALL", CALL).replace("PORT_T", str(ears.tcp)).replace("PORT_U", str(ears.udp))
        engine.answers = [[f"```html\n<!doctype html><h1>{name}</h1>{body}<script></script>\n```\n"]]
        ask(page, name)
        page.get_by_role("button", name="Preview", exact=True).last.click()
        if scripts:
            page.get_by_role("button", name="Run scripts").click()
        if not scripts:  # with them, some leave the page at once
            expect(page.frame_locator("#frame").get_by_role("heading", name=name)).to_be_visible()
        page.wait_for_timeout(500)
        assert ears.heard == [], name
    context.close()


def test_the_ears_hear_what_an_open_page_says(browser: Browser, ears: Ears) -> None:
    """The test above is worth something: where nothing is closed, both ports are reached."""
    context = browser.new_context()
    page = context.new_page()
    page.set_content(
        ATTACKS["WebRTC"].replace("CALL", CALL).replace("PORT_U", str(ears.udp))
        + f"<img src='http://127.0.0.1:{ears.tcp}/'>"
    )
    for _ in range(100):
        if {"a TCP connection", "a UDP packet"} <= set(ears.heard):
            break
        page.wait_for_timeout(100)
    context.close()
    assert {"a TCP connection", "a UDP packet"} <= set(ears.heard)


APPLICATION = """```html
<!doctype html><html lang="de"><style>button { color: rgb(1, 2, 3) }</style><body onload="ready()">
<h1>Counter</h1><button id="more">0</button><ul></ul><p id="state"></p>
<script>
let count = 0;
function ready() { document.querySelector("#state").textContent = "loaded"; }
document.addEventListener("DOMContentLoaded", () => {
  more.addEventListener("click", () => {
    more.textContent = ++count;
    document.querySelector("ul").innerHTML += `<li onclick="this.remove()">item ${count}</li>`;
  });
});
</script><script type="module">document.querySelector("h1").append("!");</script></body></html>
```
"""


def test_a_page_with_scripts_works_when_they_are_run(page: Page, engine: FakeEngine) -> None:
    engine.answers = [APPLICATION]
    ask(page, "Write a counter")
    page.get_by_role("button", name="Preview", exact=True).click()
    frame = page.frame_locator("#frame")
    frame.locator("#more").click()
    expect(frame.locator("#more")).to_have_text("0")
    page.get_by_role("button", name="Run scripts").click()
    expect(page.locator("#preview")).to_contain_text("enter no passwords")
    expect(frame.get_by_role("heading")).to_have_text("Counter!")
    expect(frame.locator("#state")).to_have_text("loaded")
    for count in (1, 2):
        frame.locator("#more").click()
        expect(frame.locator("li")).to_have_count(count)
    frame.locator("li").first.click()
    expect(frame.locator("li")).to_have_text(["item 2"])
    page.get_by_role("button", name="Run again").click()
    expect(frame.locator("#more")).to_have_text("0")
    page.keyboard.press("Escape")
    expect(page.locator("#preview")).to_have_count(0)


def test_the_preview_keeps_its_scroll_while_the_page_grows(page: Page, engine: FakeEngine) -> None:
    held = threading.Event()
    lines = [f"<p>paragraph {n}</p>\n" for n in range(100)]
    engine.answers = [Held(held, "```html\n<!doctype html>\n", *lines, "<h2>The end</h2>\n```\n")]
    begin(page, "a page")
    expect(page.locator(".assistant .said")).to_contain_text("paragraph 99")
    page.get_by_role("button", name="Preview", exact=True).click()
    frame = page.frame_locator("#frame")
    expect(frame.get_by_text("paragraph 99")).to_be_attached()
    inner = page.frames[-1]
    inner.evaluate("scrollTo(0, 700)")
    held.set()
    expect(frame.get_by_role("heading", name="The end")).to_be_attached()
    assert inner.evaluate("scrollY") == 700


def test_escape_closes_the_preview_from_wherever_the_keys_go(page: Page, engine: FakeEngine) -> None:
    engine.answers = ["```html\n<h1>x</h1>\n```"]
    ask(page, "a page")
    page.get_by_role("button", name="Preview", exact=True).click()
    page.frame_locator("#frame").get_by_role("heading").click()
    page.keyboard.press("Escape")
    expect(page.locator("#preview")).to_have_count(0)
