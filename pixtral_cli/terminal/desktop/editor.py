"""Opens a text in the user's editor."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from pixtral_cli.errors import PixtralError, UsageError

FALLBACKS = ("sensible-editor", "nano", "vim", "vi", "notepad.exe")
IN_TERMINAL = {
    "sensible-editor",
    "editor",
    "nano",
    "pico",
    "vim",
    "vi",
    "nvim",
    "view",
    "emacs",
    "micro",
    "hx",
    "helix",
    "joe",
    "ne",
    "mcedit",
    "kak",
}


def editor_command(env: Mapping[str, str] = os.environ) -> list[str]:
    """VISUAL, EDITOR, or what there is. Raises PixtralError when there is none."""
    command = env.get("VISUAL") or env.get("EDITOR")
    if command:
        return shlex.split(command, posix=os.name != "nt")
    tool_found = next((tool for tool in FALLBACKS if shutil.which(tool)), None)
    if tool_found is None:
        raise PixtralError("There is no editor here", "Set EDITOR, e.g. export EDITOR=nano")
    return [tool_found]


def check_terminal(file: Path, env: Mapping[str, str] = os.environ) -> None:
    """Raises UsageError where the editor would need a terminal, and there is none."""
    name = Path(editor_command(env)[0]).name
    if name in IN_TERMINAL and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"The editor {name} needs a terminal, and there is none", f"Write the file: {file}")


def edit_file(file: Path, env: Mapping[str, str] = os.environ) -> None:
    """Open a file in the editor and wait until it is left. Raises PixtralError if it cannot run or says that it failed."""
    check_terminal(file, env)
    words = editor_command(env)
    try:
        status = subprocess.run([*words, str(file)], check=False).returncode
    except OSError as error:
        raise PixtralError(f"The editor {words[0]} cannot be run: {error.strerror}", "Set EDITOR") from error
    if status:
        raise PixtralError(f"The editor {words[0]} ended with status {status}", "Nothing was taken from it")


def edit_text(text: str, env: Mapping[str, str] = os.environ) -> str:
    """The text as the user left it in the editor. Raises what `edit_file` raises."""
    with tempfile.TemporaryDirectory(prefix="pixtral-") as folder:
        file = Path(folder) / "question.md"
        file.write_text(text, encoding="utf-8")
        edit_file(file, env)
        return file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
