"""The desktop's clipboard, through the programs that are installed: reads an image, writes text."""

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
    """Runs a program; see `run`."""

    def __call__(self, command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None: ...


def run(command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None:
    """The stdout of a program; None when it fails, takes longer than `seconds`, or cannot be started.

    With `data` for its stdin, stdout is not read: a program that continues to serve the clipboard keeps it open.
    """
    out = subprocess.PIPE if data is None else subprocess.DEVNULL
    try:
        completed = subprocess.run(
            command, input=data or b"", stdout=out, stderr=subprocess.DEVNULL, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return (completed.stdout or b"") if completed.returncode == 0 else None


@dataclass(frozen=True, slots=True)
class Desktop:
    """What is known of the desktop: environment variables, platform (`sys.platform`), `which` and `run` for programs."""

    env: Mapping[str, str]
    platform: str
    which: Callable[[str], str | None]
    run: Run

    def has(self, *tools: str) -> bool:
        """Whether all these programs are installed."""
        return all(self.which(tool) for tool in tools)

    @property
    def wayland(self) -> bool:
        return bool(self.env.get("WAYLAND_DISPLAY"))

    @property
    def x11(self) -> bool:
        return bool(self.env.get("DISPLAY"))

    @property
    def windows(self) -> str | None:
        """The path of PowerShell on Windows and WSL; None elsewhere."""
        return self.which("powershell.exe") if self.platform == "win32" or "WSL_DISTRO_NAME" in self.env else None

    @property
    def remote(self) -> bool:
        """Whether this is an SSH session."""
        return bool(self.env.get("SSH_CONNECTION") or self.env.get("SSH_TTY"))


def desktop() -> Desktop:
    """The desktop of this process."""
    return Desktop(os.environ, sys.platform, shutil.which, run)


def read_image(desktop: Desktop) -> bytes | str:
    """The image on the clipboard as bytes, or the path of a file that was copied.

    Raises ImageError when there is no image, PixtralError when no installed program reads the clipboard.
    """
    if desktop.platform == "darwin":
        image = _macos(desktop)
    elif desktop.windows:
        image = _decoded(desktop.run([desktop.windows, "-NoProfile", "-STA", "-Command", _POWERSHELL]))
    elif desktop.wayland and desktop.has("wl-paste"):
        image = _read_offered(
            desktop, ["wl-paste", "--list-types"], lambda media_type: ["wl-paste", "--no-newline", "--type", media_type]
        )
    elif desktop.x11 and desktop.has("xclip"):
        base = ["xclip", "-selection", "clipboard", "-o", "-t"]
        image = _read_offered(desktop, [*base, "TARGETS"], lambda media_type: [*base, media_type])
    else:
        raise _no_clipboard_error(desktop)
    if not image:
        raise ImageError("The clipboard holds no image", "Copy a picture, or a picture file, and /paste again")
    return image


@dataclass(frozen=True, slots=True)
class Copied:
    """Where a text was copied to, as a phrase, and the control sequence that the terminal must be sent, if any."""

    destination: str
    sequence: str = ""


def write_text(text: str, desktop: Desktop) -> Copied:
    """Copy text to the clipboard by an installed program, else to tmux's buffer, else by the terminal (OSC 52)."""
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


def _read_offered(
    desktop: Desktop, list_command: list[str], read_command: Callable[[str], list[str]]
) -> bytes | str | None:
    """The image on the clipboard, or the path of the first copied file.

    `list_command` lists the media types on offer, `read_command(type)` writes the content of one.
    """
    media_types = (desktop.run(list_command) or b"").decode("utf-8", "replace").split()
    for media_type in sorted(
        (media_type for media_type in media_types if media_type.startswith("image/")),
        key=lambda media_type: media_type != "image/png",
    ):
        if data := desktop.run(read_command(media_type)):
            return data
    if "text/uri-list" in media_types:
        for line in (desktop.run(read_command("text/uri-list")) or b"").decode("utf-8", "replace").splitlines():
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
