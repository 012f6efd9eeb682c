"""The desktop's clipboard, by the tool the desktop has: reads an image, writes text."""

import base64
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

from pixtral_cli.errors import ImageError, PixtralError

_POWERSHELL = (
    "Add-Type -AssemblyName System.Windows.Forms,System.Drawing;"
    "$i=[Windows.Forms.Clipboard]::GetImage();"
    "if($i){$m=New-Object IO.MemoryStream;$i.Save($m,[Drawing.Imaging.ImageFormat]::Png);"
    "[Convert]::ToBase64String($m.ToArray())}"
)


class Run(Protocol):
    def __call__(self, command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None: ...


def run(command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None:
    """A tool's output; None when it fails, takes too long, or cannot be started.

    With `data` for its input nothing is read: a tool that goes on serving the clipboard keeps its output open.
    """
    out = subprocess.PIPE if data is None else subprocess.DEVNULL
    try:
        done = subprocess.run(
            command, input=data or b"", stdout=out, stderr=subprocess.DEVNULL, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (done.stdout or b"") if done.returncode == 0 else None


@dataclass(frozen=True, slots=True)
class Desktop:
    """The desktop: the environment, the platform, the tools on the path, and how one is run."""

    env: Mapping[str, str]
    platform: str
    which: Callable[[str], str | None]
    run: Run

    def has(self, *tools: str) -> bool:
        return all(self.which(tool) for tool in tools)

    @property
    def wayland(self) -> bool:
        return bool(self.env.get("WAYLAND_DISPLAY"))

    @property
    def x11(self) -> bool:
        return bool(self.env.get("DISPLAY"))

    @property
    def windows(self) -> str | None:
        """PowerShell, on Windows and in its Linux subsystem."""
        return self.which("powershell.exe") if self.platform == "win32" or "WSL_DISTRO_NAME" in self.env else None

    @property
    def remote(self) -> bool:
        return bool(self.env.get("SSH_CONNECTION") or self.env.get("SSH_TTY"))


def desktop() -> Desktop:
    return Desktop(os.environ, sys.platform, shutil.which, run)


def read_image(desktop: Desktop) -> bytes | str:
    """The clipboard's image as bytes, or the path of a picture file that was copied.

    Raises ImageError when there is no image, PixtralError when nothing here can read the clipboard.
    """
    if desktop.platform == "darwin":
        image = _macos(desktop)
    elif desktop.windows:
        image = _decoded(desktop.run([desktop.windows, "-NoProfile", "-STA", "-Command", _POWERSHELL]))
    elif desktop.wayland and desktop.has("wl-paste"):
        image = _read_offered(
            desktop, ["wl-paste", "--list-types"], lambda kind: ["wl-paste", "--no-newline", "--type", kind]
        )
    elif desktop.x11 and desktop.has("xclip"):
        base = ["xclip", "-selection", "clipboard", "-o", "-t"]
        image = _read_offered(desktop, [*base, "TARGETS"], lambda kind: [*base, kind])
    else:
        raise _no_clipboard_error(desktop)
    if not image:
        raise ImageError("The clipboard holds no image", "Copy a picture, or a picture file, and /paste again")
    return image


@dataclass(frozen=True, slots=True)
class Copied:
    """The destination of a copied text, in words, and what the terminal must be sent for it."""

    where: str
    sequence: str = ""


def write_text(text: str, desktop: Desktop) -> Copied:
    """Put text on the clipboard: by the desktop's tool, else into tmux's buffer, else by asking the terminal (OSC 52)."""
    tools: list[list[str]] = []
    if desktop.platform == "darwin":
        tools = [["pbcopy"]]
    elif desktop.windows:
        tools = [["clip.exe"]]
    elif desktop.wayland:
        tools = [["wl-copy"]]
    elif desktop.x11:
        tools = [["xclip", "-selection", "clipboard", "-i"], ["xsel", "--clipboard", "--input"]]
    data = text.encode("utf-16-le" if desktop.windows else "utf-8", "replace")
    if any(desktop.has(tool[0]) and desktop.run(tool, data) is not None for tool in tools):
        return Copied("to the clipboard")
    if desktop.env.get("TMUX") and desktop.has("tmux"):
        for command in (["tmux", "load-buffer", "-w", "-"], ["tmux", "load-buffer", "-"]):  # -w: tmux 3.2
            if desktop.run(command, text.encode("utf-8", "replace")) is not None:
                return Copied("to tmux's buffer (prefix ] pastes it)")
    encoded = base64.b64encode(text.encode("utf-8", "replace")).decode()
    return Copied("to the terminal, which may put it on the clipboard (OSC 52)", f"\x1b]52;c;{encoded}\x07")


def _macos(desktop: Desktop) -> bytes | str | None:
    if desktop.has("pngpaste") and (data := desktop.run(["pngpaste", "-"])):
        return data
    reply = desktop.run(["osascript", "-e", "the clipboard as «class PNGf»"]) or b""
    if image := re.search(rb"PNGf([0-9A-Fa-f]+)", reply):
        return bytes.fromhex(image[1].decode())
    path = desktop.run(["osascript", "-e", "POSIX path of (the clipboard as «class furl»)"]) or b""
    return os.fsdecode(path.strip()) or None


def _read_offered(desktop: Desktop, listing: list[str], read: Callable[[str], list[str]]) -> bytes | str | None:
    """The clipboard's content under a MIME type: an image, or the first of the files that were copied."""
    kinds = (desktop.run(listing) or b"").decode("utf-8", "replace").split()
    for kind in sorted((kind for kind in kinds if kind.startswith("image/")), key=lambda kind: kind != "image/png"):
        if data := desktop.run(read(kind)):
            return data
    if "text/uri-list" in kinds:
        for line in (desktop.run(read("text/uri-list")) or b"").decode("utf-8", "replace").splitlines():
            if line.startswith("file://"):
                return unquote(urlsplit(line).path)
    return None


def _decoded(text: bytes | None) -> bytes | None:
    try:
        return base64.b64decode(text or b"") or None
    except ValueError:
        return None


def _no_clipboard_error(desktop: Desktop) -> PixtralError:
    if desktop.remote and not (desktop.wayland or desktop.x11):
        return PixtralError(
            "The clipboard is on the machine you came from by SSH",
            "Copy the file here with scp, forward X11 (ssh -X), or paste a data: URL of the picture",
        )
    if not (desktop.wayland or desktop.x11):
        return PixtralError("There is no desktop here, and so no clipboard", "Attach a file with /image PATH")
    tool = "wl-clipboard" if desktop.wayland else "xclip"
    return PixtralError("No tool here reads the clipboard", f"Install {tool}, or attach a file with /image PATH")
