"""Checks of the terminal and the clipboard."""

from collections.abc import Callable, Iterator, Mapping

from pixtral_cli.doctor.check import Check

KITTY_TERMINALS = ("kitty", "ghostty", "wezterm", "konsole")
SIXEL_TERMINALS = ("foot", "mlterm", "contour", "iterm", "mintty", "vscode", "rio")
CLIPBOARD_TOOLS = {"wayland": ("WAYLAND_DISPLAY", "wl-paste", "wl-clipboard"), "X11": ("DISPLAY", "xclip", "xclip")}


def terminal_checks(
    env: Mapping[str, str], system: str, which: Callable[[str], str | None], is_terminal: bool, encoding: str
) -> Iterator[Check]:
    """The terminal's colours, graphics and encoding, guessed from the environment, and the clipboard's tool.

    `which` finds a program's path by its name; `is_terminal`: whether stdout is one.
    """
    term = env.get("TERM", "")
    known = " ".join(env.get(name, "") for name in ("TERM", "TERM_PROGRAM", "LC_TERMINAL")).lower()
    graphics = (
        known + (" kitty" if env.get("KITTY_WINDOW_ID") else "") + (" konsole" if env.get("KONSOLE_VERSION") else "")
    )
    images = "Kitty's graphics" if any(name in graphics for name in KITTY_TERMINALS) else "half blocks"
    if images == "half blocks" and (any(name in graphics for name in SIXEL_TERMINALS) or env.get("WT_SESSION")):
        images = "sixel"
    if not is_terminal:
        yield Check("terminal", "ok", "stdout is not a terminal: plain text, no images")
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
    yield _clipboard_check(env, system, which)


def _clipboard_check(env: Mapping[str, str], system: str, which: Callable[[str], str | None]) -> Check:
    if system in ("darwin", "win32"):
        return Check("clipboard", "ok", "the system's own")
    for kind, (variable, tool, package) in CLIPBOARD_TOOLS.items():
        if env.get(variable):
            if which(tool):
                return Check("clipboard", "ok", f"{tool} ({kind})")
            return Check("clipboard", "warning", f"{kind}, but no {tool}: /paste cannot work", f"Install {package}")
    return Check("clipboard", "ok", "none: there is no desktop session")
