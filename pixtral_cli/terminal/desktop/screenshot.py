"""Takes screenshots by the program that the desktop has."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pixtral_cli.errors import ImageError, PixtralError, UsageError
from pixtral_cli.terminal.desktop.clipboard import Desktop

AREAS = ("region", "screen")
SELECT_TIMEOUT = 120  # seconds within which the user must select a region
FILE_PLACEHOLDER = "\0"  # replaced by the file's path in the commands

_POWERSHELL = (
    "Add-Type -AssemblyName System.Windows.Forms,System.Drawing;"
    "$b=[Windows.Forms.SystemInformation]::VirtualScreen;"
    "$i=New-Object Drawing.Bitmap $b.Width,$b.Height;"
    "[Drawing.Graphics]::FromImage($i).CopyFromScreen($b.Location,[Drawing.Point]::Empty,$b.Size);"
    "$i.Save('\0')"
)


def screenshot_command(area: str, desktop: Desktop) -> list[str]:
    """The command that takes a screenshot. Raises UsageError for an unknown area, PixtralError when no program is installed."""
    if area not in AREAS:
        raise UsageError(f"No area {area!r} to take a picture of", "/shot region or /shot screen")
    if command := next(_commands(area, desktop), None):
        return command
    raise _no_tool_error(desktop)


def take_screenshot(command: list[str], desktop: Desktop) -> bytes:
    """Run the command; returns the bytes of the image file. Raises ImageError when no screenshot was taken."""
    with tempfile.TemporaryDirectory(prefix="pixtral-") as folder:
        file = Path(folder) / "screenshot.png"
        desktop.run([word.replace(FILE_PLACEHOLDER, str(file)) for word in command], seconds=SELECT_TIMEOUT)
        if not file.is_file() or not file.stat().st_size:
            raise ImageError("No picture was taken", "The selection was cancelled, or the desktop forbids it")
        return file.read_bytes()


def _commands(area: str, desktop: Desktop) -> Iterator[list[str]]:
    """The commands for the installed programs, the most suitable first."""
    region = area == "region"
    if desktop.platform == "darwin":
        yield ["screencapture", *(["-i"] if region else []), "-x", FILE_PLACEHOLDER]
    if desktop.windows and desktop.platform == "win32":
        yield [desktop.windows, "-NoProfile", "-Command", _POWERSHELL]
    if desktop.wayland and desktop.has("grim", *(["slurp"] if region else [])):
        yield ["sh", "-c", 'grim -g "$(slurp)" "$0"' if region else 'grim "$0"', FILE_PLACEHOLDER]
    if desktop.wayland or desktop.x11:
        for program, region_options, screen_options in (
            ("spectacle", ["-b", "-n", "-r", "-o"], ["-b", "-n", "-f", "-o"]),
            ("gnome-screenshot", ["-a", "-f"], ["-f"]),
        ):
            if desktop.has(program):
                yield [program, *(region_options if region else screen_options), FILE_PLACEHOLDER]
    if desktop.x11:
        for program, region_options, screen_options in (
            ("maim", ["-s"], []),
            ("scrot", ["-s"], []),
            ("import", [], ["-window", "root"]),
        ):
            if desktop.has(program):
                yield [program, *(region_options if region else screen_options), FILE_PLACEHOLDER]


def _no_tool_error(desktop: Desktop) -> PixtralError:
    if desktop.remote and not (desktop.wayland or desktop.x11):
        return PixtralError(
            "There is no screen here: you came by SSH", "Take it on your machine and copy it here with scp"
        )
    if not (desktop.wayland or desktop.x11):
        return PixtralError("There is no desktop here to take a picture of", "Attach a file with /image PATH")
    tools = "grim and slurp" if desktop.wayland else "maim, scrot or ImageMagick"
    return PixtralError("No tool here takes a screenshot", f"Install {tools}, or attach a file with /image PATH")
