"""Pictures for an agent: files under one folder, public http(s) URLs and data URLs, with the checks of `pixtral ask`."""

import os
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli import images
from pixtral_cli.errors import ImageError, UsageError
from pixtral_cli.images import pages, sources
from pixtral_cli.images.image import Image
from pixtral_cli.util.sanitize import visible

BASE64_SHOWN = 200  # characters from which a source that is no path counts as base64


@dataclass(frozen=True, slots=True)
class PictureRules:
    """`root`: the folder that no path may leave, by `..` or a symbolic link. `allow_private`: URLs may lead to private
    addresses; `urls`: there may be URLs at all."""

    root: Path
    allow_private: bool = False
    urls: bool = True

    def load(self, source: str) -> list[Image]:
        """One image, or the pages of a document. Raises ImageError, NetworkError, UsageError."""
        path = sources.local_path(source)
        if path is None:
            return [self._load_url(source)]
        if len(source) > BASE64_SHOWN and len(os.fsencode(path.name)) > 255:
            raise ImageError("This is no path; base64 wants its beginning", "Put data:image/png;base64, before it.")
        return images.load_all(str(self._inside(path)), all_formats=True)

    def _load_url(self, source: str) -> Image:
        if source[:5].lower() != "data:" and not self.urls:
            raise UsageError("This server takes paths and data URLs only", "Save the picture to a file and name that")
        return images.load(source, allow_private=self.allow_private, all_formats=True)

    def _inside(self, path: Path) -> Path:
        """The path without symbolic links, its pages (`report.pdf#2`) kept. A path that is relative begins at the root."""
        root = self.root.resolve()
        name = str(root / path)
        named = pages.split_pages(name)
        file, wanted = (named[0], named[1]) if named and not Path(name).exists() else (name, "")
        try:
            real = Path(os.path.realpath(file))
        except (OSError, ValueError):
            raise ImageError(f"{visible(str(path), 80)}: not a possible file name") from None
        if not real.is_relative_to(root):
            raise ImageError(f"{visible(str(path), 80)}: outside {root}", "Only files in that folder are read.")
        return Path(f"{real}#{wanted}") if wanted else real
