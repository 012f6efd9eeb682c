"""Opens files and texts in the user's editor."""

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
TERMINAL_EDITORS = {
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
    """The editor's command: VISUAL, EDITOR, or an installed editor. Raises PixtralError when there is none."""
    command = env.get("VISUAL") or env.get("EDITOR")
    if command:
        return shlex.split(command, posix=os.name != "nt")
    editor = next((tool for tool in FALLBACKS if shutil.which(tool)), None)
    if editor is None:
        raise PixtralError("There is no editor here", "Set EDITOR, e.g. export EDITOR=nano")
    return [editor]


def check_terminal(file: Path, env: Mapping[str, str] = os.environ) -> None:
    """Raises UsageError if the editor needs a terminal and there is none."""
    name = Path(editor_command(env)[0]).name
    if name in TERMINAL_EDITORS and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(f"The editor {name} needs a terminal, and there is none", f"Write the file: {file}")


def edit_file(file: Path, env: Mapping[str, str] = os.environ) -> None:
    """Open a file in the editor and wait until the editor ends. Raises PixtralError if it cannot be run or fails."""
    check_terminal(file, env)
    command = editor_command(env)
    try:
        status = subprocess.run([*command, str(file)], check=False).returncode
    except OSError as error:
        raise PixtralError(f"The editor {command[0]} cannot be run: {error.strerror}", "Set EDITOR") from error
    if status:
        raise PixtralError(f"The editor {command[0]} ended with status {status}", "Nothing was taken from it")


def edit_text(text: str, env: Mapping[str, str] = os.environ) -> str:
    """The text after the user has edited it. Raises what `edit_file` raises."""
    with tempfile.TemporaryDirectory(prefix="pixtral-") as folder:
        file = Path(folder) / "question.md"
        file.write_text(text, encoding="utf-8")
        edit_file(file, env)
        return file.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
