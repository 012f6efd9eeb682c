"""Writes a code block to a new file in a folder. Never outside of it, never over an existing file."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.util.sanitize import deception_warnings, visible

EXTENSIONS = {
    "": "txt", "bash": "sh", "c": "c", "c++": "cpp", "cpp": "cpp", "c#": "cs", "csharp": "cs", "css": "css", "csv": "csv",
    "diff": "diff", "dockerfile": "dockerfile", "go": "go", "html": "html", "java": "java", "javascript": "js", "js": "js",
    "json": "json", "jsx": "jsx", "kotlin": "kt", "latex": "tex", "lua": "lua", "markdown": "md", "md": "md", "mermaid": "mmd",
    "php": "php", "python": "py", "py": "py", "r": "r", "ruby": "rb", "rust": "rs", "scss": "scss", "sh": "sh", "shell": "sh",
    "sql": "sql", "svelte": "svelte", "svg": "svg", "swift": "swift", "tex": "tex", "toml": "toml", "ts": "ts", "tsx": "tsx",
    "typescript": "ts", "vue": "vue", "xml": "xml", "yaml": "yaml", "yml": "yml", "zsh": "sh",
}  # fmt: skip
STEMS = {"html": "page", "svg": "drawing", "csv": "table"}  # of a default name, by extension; "code" for all others

# Names that Windows takes for devices, with any ending: Microsoft, "Naming Files, Paths, and Namespaces".
WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
UNSAFE_CHARACTERS = re.compile(r'[<>:"|?*]')


@dataclass(frozen=True, slots=True)
class SavedBlock:
    """A file that was written; `warnings` are lines about characters in it that could deceive a reader."""

    path: Path
    warnings: tuple[str, ...]


def write_block(text: str, folder: Path, name: str = "", *, language: str = "") -> SavedBlock:
    """Write the text to a new file under `folder`, by default `default_name(language)`; `page-2.html` if `page.html` exists.

    `name` may be a path below `folder`; missing folders are created. Raises UsageError for a name that is not safe on
    every system or that leaves `folder` (by `..` or a symbolic link), PixtralError when the file cannot be written.
    """
    name = name or default_name(language)
    components = path_components(name)
    data = text.encode("utf-8", "replace")
    try:
        parent = _parent(folder, components[:-1], name)
        for candidate in numbered_names(components[-1]):
            if _create(parent / candidate, data):
                return SavedBlock(parent / candidate, tuple(deception_warnings(text)))
    except OSError as error:
        raise PixtralError(f"Cannot write {visible(name, 60)}: {error.strerror}.", "Choose another place") from error
    raise PixtralError(f"Every version of {visible(name, 60)} is taken.", "Choose another name")


def default_name(language: str) -> str:
    """The file name for a block without one: `page.html`, `code.py`."""
    ending = EXTENSIONS.get(language.lower(), "txt")
    return f"{STEMS.get(ending, 'code')}.{ending}"


def path_components(name: str) -> list[str]:
    """The components of a relative path, the file name last. Raises UsageError for a name that is not safe on every system."""
    components = re.split(r"[/\\]", name.removeprefix("./"))
    if not components[0] or re.match(r"[A-Za-z]:", name):
        _refuse(name, "it is absolute")
    for component in components:
        _check_component(component, name)
    return components


def _check_component(component: str, name: str) -> None:
    if component == "..":
        _refuse(name, "it leads outside")
    if not component or component.startswith((".", "~")):
        _refuse(name, "it is hidden or empty")
    if component != component.rstrip(". "):
        _refuse(name, "it ends in a dot or a space")
    if UNSAFE_CHARACTERS.search(component) or not component.isprintable():
        _refuse(name, "it holds a character that no file name should")
    if WINDOWS_DEVICES.fullmatch(component):
        _refuse(name, "it is the name of a device on Windows")
    if len(component.encode("utf-8", "replace")) > 200:
        _refuse(name, "it is too long")


def _refuse(name: str, reason: str) -> None:
    raise UsageError(f"Not saved as {visible(name, 60)}: {reason}.", "Give a plain name, such as page.html")


def _parent(folder: Path, below: list[str], name: str) -> Path:
    """The folder of the file, created if missing. Raises UsageError if a symbolic link on the way leads out of `folder`."""
    root = folder.resolve()
    parent = root
    for component in below:
        parent = parent / component
        if parent.is_symlink() and not parent.resolve().is_relative_to(root):
            _refuse(name, f"{component} is a link that leads outside")
        parent.mkdir(exist_ok=True)
    return parent


def numbered_names(name: str) -> Iterator[str]:
    """`page.html`, `page-2.html` and so on."""
    yield name
    stem, dot, ending = name.rpartition(".")
    for number in range(2, 10_000):
        yield f"{stem}-{number}{dot}{ending}" if dot else f"{name}-{number}"


def _create(path: Path, data: bytes) -> bool:
    """Write a new file; returns False if the name exists already, as a dangling symbolic link too."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return True
