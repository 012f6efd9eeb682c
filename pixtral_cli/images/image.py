"""A checked image: where it comes from, what its header says, and its pixels when they are needed.

Bytes are fetched in `sources`, judged in `headers` and decoded in `decode`, which are imported when there is work.
"""

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from pixtral_cli.errors import ImageError, OutOfMemory
from pixtral_cli.images.transform import UNCHANGED, Box, Transform

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from pixtral_cli.images.formats import Header

_URL = re.compile(r"https?://\S|file:/|data:[\w.+-]+/[\w.+-]+[;,]|data:[;,]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Image:
    """The original bytes of a picture and what was checked of them.

    `name` is for people: one line, harmless on a terminal. `format` is PNG, JPEG, GIF, WEBP or HEIF; `width` and
    `height` are those of the whole upright picture; `notes` say what is not shown, such as further frames.
    """

    data: bytes = field(repr=False, compare=False)
    name: str
    format: str
    width: int
    height: int
    sha256: str
    transform: Transform = UNCHANGED
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of what is sent: after the transform."""
        return self.transform.size((self.width, self.height))

    @property
    def key(self) -> str:
        """Equal for equal pixels: the hash of the bytes, and the transform if there is one."""
        return f"{self.sha256}@{self.transform}" if self.transform else self.sha256

    def cropped(self, box: Box) -> "Image":
        """A part of this image (of its crop, if it has one). Raises `ImageError` if the box reaches outside."""
        width, height = self.size
        if not box.fits(self.size):
            asked = f"{box.width}×{box.height} at {box.left},{box.top}"
            raise ImageError(f"the crop {asked} is not inside the picture", f"It is {width}×{height} pixels.")
        outer = self.transform.crop or Box(0, 0, width, height)
        crop = replace(box, left=outer.left + box.left, top=outer.top + box.top)
        return replace(self, transform=replace(self.transform, crop=crop))

    def rotated(self, degrees: int) -> "Image":
        """This image turned clockwise by a multiple of 90 degrees, its crop with it."""
        crop, size = self.transform.crop, self.transform.turned_size((self.width, self.height))
        turned = Transform(crop and crop.turned(degrees, size), (self.transform.rotate + degrees) % 360)
        return replace(self, transform=turned)

    def pixels(self, at_least: tuple[int, int] | None = None) -> "PILImage":
        """Decode to upright RGB, transformed; reduced where that is cheap, never below `at_least`.

        A crop is always taken from full resolution. The result is the caller's own.
        """
        from pixtral_cli.images import decode

        return decode.pixels(self.data, self.format, self.sha256, self.transform, at_least)


def is_url(text: str) -> bool:
    """Whether a source is a URL that `load` understands rather than a path."""
    return _URL.match(text) is not None


def load(source: str, *, allow_private: bool = False, typed: bool = False) -> Image:
    """A path, `~`, file://, http(s) or data URL as a checked image.

    `typed` says that the user named it at the prompt or as a flag: then a URL may lead to a private address, as with
    `allow_private`. Raises `ImageError`, and `NetworkError` if a URL cannot be had.
    """
    from pixtral_cli.images import sources

    return _checked(*sources.read(source, allow_private=allow_private or typed))


def from_stdin(stream: BinaryIO) -> Image:
    """The picture whose bytes come on a stream. Raises `ImageError`."""
    from pixtral_cli.images import sources

    return from_bytes(sources.read_stream(stream, "stdin"), "stdin")


def from_bytes(data: bytes, name: str) -> Image:
    """Bytes that are at hand as a checked image. Raises `ImageError`."""
    return _checked(data, name, name)


def _checked(data: bytes, where: str, name: str) -> Image:
    """Check header and limits and decode once, as proof that it can be done. Errors name `where`."""
    import hashlib

    from pixtral_cli.images import formats
    from pixtral_cli.util.sanitize import visible

    header = formats.read_header(data, where)
    sha256 = hashlib.sha256(data).hexdigest()
    width, height = _upright_size(data, header, sha256, where)
    notes = ("animated: only the first frame is used",) if header.animated else ()
    return Image(data, visible(name), header.format, width, height, sha256, notes=notes)


def _upright_size(data: bytes, header: "Header", sha256: str, where: str) -> tuple[int, int]:
    """Upright width and height of a picture that decodes."""
    from pixtral_cli.images import decode, formats

    try:
        stored = decode.stored_size(data, header.format)
        if header.format == "HEIF":
            formats.check_size(*stored, where)
        elif stored != (header.width, header.height):
            formats.refuse(where, "the file contradicts itself about its size", "Save it again with another program.")
        return decode.check_decodable(data, header.format, sha256)
    except ModuleNotFoundError as error:
        formats.refuse(where, "reading HEIC needs one more package", "Run `pip install 'pixtral[heic]'`.", error)
    except MemoryError as error:
        raise OutOfMemory(f"{header.width} × {header.height} pixels do not fit into memory") from error
    except decode.DECODE_ERRORS as error:
        cut = "truncated" in str(error).lower()
        why = f"this {formats.display_name(header.format)} is {'cut short' if cut else 'damaged'}"
        formats.refuse(where, why, "Save or download it again.", error)
