"""Checks of the terminal and the clipboard."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from pixtral_cli.doctor.check import Check

KITTY = ("kitty", "ghostty", "wezterm", "konsole")
SIXEL = ("foot", "mlterm", "contour", "iterm", "mintty", "vscode", "rio")
CLIPBOARDS = {"wayland": ("WAYLAND_DISPLAY", "wl-paste", "wl-clipboard"), "X11": ("DISPLAY", "xclip", "xclip")}


def terminal_checks(
    env: Mapping[str, str], system: str, which: Callable[[str], str | None], drawn: bool, encoding: str
) -> Iterator[Check]:
    """Abilities of the terminal, guessed from the environment, and the tool that reads pictures from the clipboard."""
    term = env.get("TERM", "")
    known = " ".join(env.get(name, "") for name in ("TERM", "TERM_PROGRAM", "LC_TERMINAL")).lower()
    graphics = (
        known + (" kitty" if env.get("KITTY_WINDOW_ID") else "") + (" konsole" if env.get("KONSOLE_VERSION") else "")
    )
    images = "Kitty's graphics" if any(name in graphics for name in KITTY) else "half blocks"
    if images == "half blocks" and (any(name in graphics for name in SIXEL) or env.get("WT_SESSION")):
        images = "sixel"
    if not drawn:
        yield Check("terminal", "ok", "stdout is no terminal: plain text, nothing is drawn")
    elif term in ("", "dumb") and system != "win32":
        advice = "Use a terminal that sets TERM, e.g. xterm-256color"
        yield Check("terminal", "warning", f"TERM is {term or 'not set'}: plain text, no images", advice)
    else:
        true = env.get("COLORTERM") in ("truecolor", "24bit")
        colours = "no colours (NO_COLOR)" if env.get("NO_COLOR") else "16 million colours" if true else "colours"
        yield Check("terminal", "ok", f"{term or system}, {colours}; images probably as {images}")
    if "utf" not in encoding.lower():
        advice = "Set a UTF-8 locale, e.g. LC_ALL=C.UTF-8"
        yield Check("text", "warning", f"{encoding}: characters it lacks are replaced", advice)
    yield _clipboard(env, system, which)


def _clipboard(env: Mapping[str, str], system: str, which: Callable[[str], str | None]) -> Check:
    if system in ("darwin", "win32"):
        return Check("clipboard", "ok", "the system's own")
    for kind, (variable, tool, package) in CLIPBOARDS.items():
        if env.get(variable):
            if which(tool):
                return Check("clipboard", "ok", f"{tool} ({kind})")
            return Check("clipboard", "warning", f"{kind}, but no {tool}: /paste cannot work", f"Install {package}")
    return Check("clipboard", "ok", "none: no desktop here")
