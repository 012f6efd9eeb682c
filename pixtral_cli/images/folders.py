"""Lists the pictures in a folder by their extensions, without hidden files and subfolders."""

import glob
import re
from pathlib import Path

from pixtral_cli.errors import ImageError
from pixtral_cli.images import pages, video
from pixtral_cli.images.formats import has_picture_extension
from pixtral_cli.images.sources import local_path
from pixtral_cli.util.sanitize import visible

CONFIRM_ABOVE = 8  # pictures of one folder or pattern; the user is asked before more are attached


def is_folder(source: str) -> bool:
    """Whether a source is a folder on this machine."""
    path = local_path(source)
    try:
        return path is not None and path.is_dir()
    except OSError:
        return False


def pictures_in(source: str) -> list[str]:
    """The paths of the pictures and documents in a folder, in natural order. Raises ImageError if there are none."""
    folder = local_path(source)
    assert folder is not None
    try:
        names = [entry.name for entry in folder.iterdir() if entry.name[0] != "." and has_picture_extension(entry.name)]
        paths = [str(Path(source).expanduser() / name) for name in sorted(names, key=natural_order)]
        pictures = [name for name in paths if Path(name).is_file()]
    except OSError as error:
        raise ImageError(f"{visible(source)}: {error.strerror or 'cannot be read'}", "Check the folder") from error
    if not pictures:
        raise ImageError(
            f"{visible(source)} is a folder without pictures", "Name a picture, or a folder that holds some"
        )
    return pictures


def matches(pattern: str) -> list[str]:
    """The files that match a pattern with `*`, `?`, `[…]` or `**`, in natural order; a name without them, or of a file
    that exists, alone. Raises ImageError if none matches.
    """
    if not re.search(r"[*?\[]", pattern) or re.match(r"https?:|data:", pattern, re.IGNORECASE) or path_exists(pattern):
        return [pattern]
    found = sorted(glob.glob(str(Path(pattern).expanduser()), recursive=True), key=natural_order)  # noqa: PTH207
    files = [name for name in found if Path(name).is_file()]
    if not files:
        raise ImageError(f"No file matches {visible(pattern)}", "Paths start here: " + str(Path.cwd()))
    return files


def path_exists(name: str) -> bool:
    """Whether a name as typed is a path that exists (`~` expanded, a PDF's pages or a video's second set aside)."""
    split = pages.split_pages(name) or video.split_moment(name)
    try:
        return any(Path(path).expanduser().exists() for path in {name, split[0] if split else name})
    except (OSError, ValueError, RuntimeError):  # too long, holds a NUL, ~unknown: no path
        return False


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts `page2.png` before `page10.png`."""
    pieces = re.split(r"(\d{1,15})", name.lower())
    return [(int(piece), "") if place % 2 else (0, piece) for place, piece in enumerate(pieces)]
