"""Loads the pictures that an agent names: files under one folder, http(s) URLs and data URLs."""

import os
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli import images
from pixtral_cli.errors import ImageError, UsageError
from pixtral_cli.images import pages, sources
from pixtral_cli.images.image import Image
from pixtral_cli.util.sanitize import visible

MAX_PATH_GUESS = 200  # a longer source whose file name is impossible is taken for base64


@dataclass(frozen=True, slots=True)
class PictureRules:
    """`root`: the folder that contains all files that may be read; `..` and symbolic links do not lead out of it.
    `urls`: http(s) URLs are allowed; `allow_private`: also those of private addresses."""

    root: Path
    allow_private: bool = False
    urls: bool = True

    def load(self, source: str) -> list[Image]:
        """One image, or the pages of a document. Raises ImageError, NetworkError, UsageError."""
        path = sources.local_path(source)
        if path is None:
            return [self._load_url(source)]
        if len(source) > MAX_PATH_GUESS and len(os.fsencode(path.name)) > 255:
            raise ImageError("This is no path; base64 needs its prefix", "Put data:image/png;base64, before it.")
        return images.load_all(str(self._resolved(path)), all_formats=True)

    def _load_url(self, source: str) -> Image:
        if source[:5].lower() != "data:" and not self.urls:
            raise UsageError("This server takes paths and data URLs only", "Save the picture to a file and name that")
        return images.load(source, allow_private=self.allow_private, all_formats=True)

    def _resolved(self, path: Path) -> Path:
        """The path with symbolic links resolved and its pages (`report.pdf#2`) kept; relative paths start at `root`."""
        root = self.root.resolve()
        name = str(root / path)
        split = pages.split_pages(name)
        file, page_range = (split[0], split[1]) if split and not Path(name).exists() else (name, "")
        try:
            real = Path(os.path.realpath(file))
        except (OSError, ValueError):
            raise ImageError(f"{visible(str(path), 80)}: not a possible file name") from None
        if not real.is_relative_to(root):
            raise ImageError(f"{visible(str(path), 80)}: outside {root}", "Only files in that folder are read.")
        return Path(f"{real}#{page_range}") if page_range else real
