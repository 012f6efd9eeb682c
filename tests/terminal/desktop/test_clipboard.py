"""The clipboard and the screen, on every desktop: the tools are stand-ins, what they would print is real."""

import base64
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pixtral_cli.errors import ImageError, PixtralError, UsageError
from pixtral_cli.terminal.desktop import clipboard, screenshot
from pixtral_cli.terminal.desktop.clipboard import Desktop

PNG = b"\x89PNG\r\n\x1a\nrest"


@dataclass
class Tools:
    """Tools that answer by the start of their command line; `ran` is what was run."""

    answers: Mapping[str, bytes | None]
    ran: list[str] = field(default_factory=list)

    def __call__(self, command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None:
        line = " ".join(command)
        self.ran.append(line if data is None else f"{line} < {data.decode('utf-8', 'replace')}")
        return next((answer for start, answer in self.answers.items() if line.startswith(start)), None)


def desk(answers: Mapping[str, bytes | None], platform: str = "linux", **env: str) -> tuple[Desktop, Tools]:
    tools = Tools(answers)
    names = {line.split()[0] for line in answers}
    return Desktop(env, platform, lambda name: name if name in names else None, tools), tools


@pytest.mark.parametrize(
    ("platform", "env", "answers"),
    [
        (
            "linux",
            {"WAYLAND_DISPLAY": "wayland-0"},
            {"wl-paste --list": b"text/html\nimage/png\n", "wl-paste --no": PNG},
        ),
        ("linux", {"DISPLAY": ":0"}, {"xclip -selection clipboard -o -t TARGETS": b"TARGETS\nimage/png", "xclip": PNG}),
        ("linux", {"WSL_DISTRO_NAME": "Debian"}, {"powershell.exe": base64.b64encode(PNG) + b"\r\n"}),
        ("win32", {}, {"powershell.exe": base64.b64encode(PNG)}),
        ("darwin", {}, {"pngpaste -": PNG}),
        (
            "darwin",
            {},
            {"osascript -e the clipboard": "«data PNGf".encode() + PNG.hex().upper().encode() + "»".encode()},
        ),
    ],
)
def test_an_image_is_read_from_the_clipboard(platform: str, env: dict[str, str], answers: dict[str, bytes]) -> None:
    there, _ = desk(answers, platform, **env)
    assert clipboard.read_image(there) == PNG


def test_a_copied_picture_file_gives_its_path() -> None:
    answers = {"wl-paste --list": b"text/uri-list", "wl-paste --no": b"# copied\r\nfile:///home/me/My%20Cat.png\r\n"}
    there, _ = desk(answers, WAYLAND_DISPLAY="wayland-0")
    assert clipboard.read_image(there) == "/home/me/My Cat.png"


@pytest.mark.parametrize(
    ("env", "hint"),
    [
        ({"WAYLAND_DISPLAY": "wayland-0"}, "wl-clipboard"),
        ({"DISPLAY": ":0"}, "xclip"),
        ({"SSH_CONNECTION": "1 2 3 4"}, "scp"),
        ({}, "/image"),
    ],
)
def test_where_nothing_reads_the_clipboard_the_hint_says_what_would(env: dict[str, str], hint: str) -> None:
    there, _ = desk({}, **env)
    with pytest.raises(PixtralError) as error:
        clipboard.read_image(there)
    assert hint in error.value.hint


def test_text_goes_to_the_clipboard_by_a_tool_or_else_by_the_terminal() -> None:
    there, tools = desk({"xclip -selection clipboard -i": b""}, DISPLAY=":0")
    assert clipboard.write_text("né", there).sequence == ""
    assert tools.ran == ["xclip -selection clipboard -i < né"]
    there, _ = desk({}, SSH_CONNECTION="1 2 3 4")
    assert clipboard.write_text("né", there).sequence == f"\x1b]52;c;{base64.b64encode('né'.encode()).decode()}\x07"


def test_a_tool_that_fails_hangs_or_is_missing_gives_nothing() -> None:
    assert clipboard.run(["sh", "-c", "printf out"]) == b"out"
    assert clipboard.run(["sh", "-c", "echo out; exit 1"]) is None
    assert clipboard.run(["no-such-tool-here"]) is None
    assert clipboard.run(["sleep", "5"], seconds=0.1) is None


def test_a_tool_that_stays_to_serve_the_clipboard_is_not_waited_for(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    script = f"cat > {taken}; sleep 30 & echo $! > {tmp_path}/pid"
    assert clipboard.run(["sh", "-c", script], b"text", seconds=5) == b""
    subprocess.run(["kill", (tmp_path / "pid").read_text().strip()], check=True)
    assert taken.read_bytes() == b"text"


def shooting(answers: Mapping[str, bytes | None], platform: str = "linux", **env: str) -> tuple[Desktop, Tools]:
    """A desktop whose screenshot tools write a picture into the last path of their command line."""
    there, tools = desk(answers, platform, **env)

    def shoot(command: Sequence[str], data: bytes | None = None, seconds: float = 10) -> bytes | None:
        taken = tools(command, data, seconds)
        if taken:
            Path(command[-1]).write_bytes(taken)
        return taken

    return Desktop(there.env, there.platform, there.which, shoot), tools


@pytest.mark.parametrize(
    ("platform", "env", "tools", "region", "screen"),
    [
        ("linux", {"WAYLAND_DISPLAY": "w"}, ["grim", "slurp"], 'sh -c grim -g "$(slurp)" "$0"', 'sh -c grim "$0"'),
        ("linux", {"WAYLAND_DISPLAY": "w"}, ["gnome-screenshot"], "gnome-screenshot -a -f", "gnome-screenshot -f"),
        ("linux", {"WAYLAND_DISPLAY": "w"}, ["spectacle"], "spectacle -b -n -r -o", "spectacle -b -n -f -o"),
        ("linux", {"DISPLAY": ":0"}, ["maim"], "maim -s", "maim"),
        ("linux", {"DISPLAY": ":0"}, ["scrot"], "scrot -s", "scrot"),
        ("linux", {"DISPLAY": ":0"}, ["import"], "import", "import -window root"),
        ("darwin", {}, ["screencapture"], "screencapture -i -x", "screencapture -x"),
    ],
)
def test_a_screenshot_is_taken_by_the_tool_the_desktop_has(
    platform: str, env: dict[str, str], tools: list[str], region: str, screen: str
) -> None:
    for area, command in (("region", region), ("screen", screen)):
        there, ran = shooting({**dict.fromkeys(tools, PNG), "sh": PNG}, platform, **env)
        assert screenshot.take_screenshot(screenshot.screenshot_command(area, there), there) == PNG
        assert ran.ran[0].rpartition(" ")[0] == command


def test_a_cancelled_screenshot_a_missing_tool_and_an_unknown_area_are_errors() -> None:
    there, _ = shooting({"scrot": None}, DISPLAY=":0")
    with pytest.raises(ImageError, match="No picture was taken"):
        screenshot.take_screenshot(screenshot.screenshot_command("region", there), there)
    there, _ = shooting({}, WAYLAND_DISPLAY="w")
    with pytest.raises(PixtralError) as error:
        screenshot.screenshot_command("screen", there)
    assert "grim" in error.value.hint
    with pytest.raises(UsageError):
        screenshot.screenshot_command("moon", there)
