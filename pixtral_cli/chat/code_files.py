"""Writes a code block into a folder and nowhere else, never over an existing file."""

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
STEMS = {"html": "page", "svg": "drawing", "csv": "table"}

# Names that Windows takes for devices, with any ending: Microsoft, "Naming Files, Paths, and Namespaces".
DEVICES = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?", re.IGNORECASE)
REFUSED = re.compile(r'[<>:"|?*]')


@dataclass(frozen=True, slots=True)
class SavedBlock:
    """The new file, and a line for each way its text could deceive a reader."""

    path: Path
    warnings: tuple[str, ...]


def write_block(text: str, folder: Path, name: str = "", *, language: str = "") -> SavedBlock:
    """Write the text as a new file under `folder`: `name`, or one for its language. `page.html` gives way to `page-2.html`.

    `name` may lead into a folder below, never outside, not by a link either. Raises UsageError for a name that is not
    safe everywhere, PixtralError where it cannot be written.
    """
    name = name or default_name(language)
    pieces = path_pieces(name)
    data = text.encode("utf-8", "replace")
    try:
        parent = _parent(folder, pieces[:-1], name)
        for candidate in _numbered_names(pieces[-1]):
            if _create(parent / candidate, data):
                return SavedBlock(parent / candidate, tuple(deception_warnings(text)))
    except OSError as error:
        raise PixtralError(f"Cannot write {visible(name, 60)}: {error.strerror}.", "Choose another place") from error
    raise PixtralError(f"Every version of {visible(name, 60)} is taken.", "Choose another name")


def default_name(language: str) -> str:
    """`page.html`, `code.py`: what a block without a name is called."""
    ending = EXTENSIONS.get(language.lower(), "txt")
    return f"{STEMS.get(ending, 'code')}.{ending}"


def path_pieces(name: str) -> list[str]:
    """The folders and the file that a relative name is made of. Raises UsageError for one that is not safe everywhere."""
    pieces = re.split(r"[/\\]", name.removeprefix("./"))
    if not pieces[0] or re.match(r"[A-Za-z]:", name):
        _refuse(name, "it is absolute")
    for piece in pieces:
        _check(piece, name)
    return pieces


def _check(piece: str, name: str) -> None:
    if piece == "..":
        _refuse(name, "it leads outside")
    if not piece or piece.startswith((".", "~")):
        _refuse(name, "it is hidden or empty")
    if piece != piece.rstrip(". "):
        _refuse(name, "it ends in a dot or a space")
    if REFUSED.search(piece) or not piece.isprintable():
        _refuse(name, "it holds a character that no file name should")
    if DEVICES.fullmatch(piece):
        _refuse(name, "it is the name of a device on Windows")
    if len(piece.encode("utf-8", "replace")) > 200:
        _refuse(name, "it is too long")


def _refuse(name: str, why: str) -> None:
    raise UsageError(f"Not saved as {visible(name, 60)}: {why}.", "Give a plain name, such as page.html")


def _parent(folder: Path, below: list[str], name: str) -> Path:
    """The folder the file goes into, made if need be; a link on the way must not lead out of `folder`."""
    root = folder.resolve()
    parent = root
    for piece in below:
        parent = parent / piece
        if parent.is_symlink() and not parent.resolve().is_relative_to(root):
            _refuse(name, f"{piece} is a link that leads outside")
        parent.mkdir(exist_ok=True)
    return parent


def _numbered_names(name: str) -> Iterator[str]:
    yield name
    stem, dot, ending = name.rpartition(".")
    for number in range(2, 10_000):
        yield f"{stem}-{number}{dot}{ending}" if dot else f"{name}-{number}"


def _create(path: Path, data: bytes) -> bool:
    """Write a new file; False if anything, be it a dangling link, has that name already."""
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
