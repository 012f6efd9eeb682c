"""The commands for the code blocks of the last answer: list, save, open, copy."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from pixtral_cli.errors import UsageError
from pixtral_cli.terminal.desktop import clipboard
from pixtral_cli.terminal.output.notes import count_of
from pixtral_cli.terminal.repl.commands import sessions
from pixtral_cli.terminal.repl.state import State
from pixtral_cli.util.sanitize import clean

if TYPE_CHECKING:
    from pixtral_cli.chat.codeblocks import CodeBlock

BROWSER_KINDS = {"html": "html", "htm": "html", "xhtml": "html", "svg": "svg"}  # the languages that a browser shows


def offer(blocks: "Sequence[CodeBlock]") -> str:
    """What can be typed to use the code of an answer: /open where a browser shows one of the blocks; "" without code."""
    there = [(number, block) for number, block in enumerate(blocks, 1) if block.text.strip()]
    if not there:
        return ""
    first, last = there[0][0], there[-1][0]
    shown = next((number for number, block in there if block.language in BROWSER_KINDS), 0)
    commands = [f"/save {first}", *([f"/open {shown}"] if shown else []), f"/copy {first}"]
    return " · ".join(commands) + (f" ({first} to {last})" if last > first else "")


def list_blocks(state: State, argument: str) -> None:
    blocks = _blocks(state)
    rows = [
        (
            str(number),
            block.language or "text",
            block.name,
            count_of(len(block.text.splitlines()), "line"),
            _first_line(block),
        )
        for number, block in enumerate(blocks, 1)
    ]
    state.notes.rows(rows)
    opened = " /open N," * any(block.language in BROWSER_KINDS for block in blocks)
    state.notes.say(f"/save N [FILE],{opened} /copy N take one." if rows else "The last answer holds no code block.")


def save_block(state: State, argument: str) -> None:
    """`/save 2 page.html` saves a block; anything else saves the conversation."""
    number, _, name = argument.partition(" ")
    if not number.isdecimal():
        return sessions.save_conversation(state, argument)
    from pixtral_cli.chat.code_files import write_block

    block = _block_numbered(state, number)
    name = name.strip().strip("'\"") or PurePath(block.name).name  # of the model's own word the last part alone
    written = write_block(block.text, Path.cwd(), name, language=block.language)
    for warning in written.warnings:
        state.notes.warn(warning)
    return state.notes.say(f"Written to {os.path.relpath(written.path)}")


def open_block(state: State, argument: str) -> None:
    import webbrowser

    number, _, option = argument.partition(" ")
    if option.strip() not in ("", "scripts"):
        raise UsageError(
            "/open takes a number and, to let the page run its scripts, the word scripts", "/open 1 scripts"
        )
    block = _block_numbered(state, number)
    kind = BROWSER_KINDS.get(block.language)
    if kind is None:
        raise UsageError(f"A browser shows no {block.language or 'plain text'}", "Save it instead: /save N FILE")
    file = _write_page(block, scripts=bool(option))
    if _has_browser(state.desktop().env) and webbrowser.open(file.as_uri()):
        state.notes.say(f"Opened {file}")
    else:
        state.notes.say(f"There is no browser here; the page is {file}")


def copy_text(state: State, argument: str) -> None:
    text = _block_numbered(state, argument).text if argument else _last_answer(state)
    copied = clipboard.write_text(text, state.desktop())
    if copied.sequence:
        state.notes.draw(copied.sequence)
    verb = "Sent" if copied.sequence else "Copied"
    state.notes.say(f"{verb} {len(text):,} characters {copied.destination}.")


def show_raw(state: State, argument: str) -> None:
    """Show the last answer unrendered."""
    state.notes.draw(clean(_last_answer(state)))


def _last_answer(state: State) -> str:
    """The text of the last answer."""
    answers = [message.text for message in state.conversation.turns if message.role == "assistant"]
    if not answers:
        raise UsageError("There is no answer yet", "Ask something first")
    return answers[-1]


def _blocks(state: State) -> "list[CodeBlock]":
    from pixtral_cli.chat.codeblocks import blocks

    return blocks(_last_answer(state))


def _block_numbered(state: State, argument: str) -> "CodeBlock":
    """The block with a number; without a number the only block. Raises UsageError."""
    blocks = _blocks(state)
    if not blocks:
        raise UsageError("The last answer holds no code block", "Ask for code in a fenced block")
    number = argument.strip() or ("1" if len(blocks) == 1 else "")
    if not number.isdecimal() or not 1 <= int(number) <= len(blocks):
        raise UsageError(f"Which code block? There are {len(blocks)}", "/code lists them")
    return blocks[int(number) - 1]


def _write_page(block: "CodeBlock", *, scripts: bool) -> Path:
    """Write the block, in a sandboxed frame, to a new file that only the user can read."""
    from pixtral_cli import config
    from pixtral_cli.chat.code_files import write_block
    from pixtral_cli.chat.preview import sandboxed_page
    from pixtral_cli.sessions.database import make_folder

    folder = config.paths().cache / "pages"
    make_folder(folder)
    page = sandboxed_page(block.text, block.name or "Code block", scripts=scripts)
    return write_block(page, folder, "page.html").path


def _has_browser(env: Mapping[str, str]) -> bool:
    """Whether there is a browser that does not run in the terminal."""
    return sys.platform in ("darwin", "win32") or bool(env.get("DISPLAY") or env.get("WAYLAND_DISPLAY"))


def _first_line(block: "CodeBlock") -> str:
    line = next((line.strip() for line in block.text.splitlines() if line.strip()), "")
    return line if len(line) <= 40 else f"{line[:39]}…"
