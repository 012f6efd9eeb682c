"""A checked image: where it comes from, what its header says, and its pixels when they are needed.

Bytes are fetched in `sources`, checked in `formats` and decoded in `decode`, which are imported when there is work.
"""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pixtral_cli.errors import ImageError, OutOfMemory
from pixtral_cli.extras import install_command
from pixtral_cli.images.transform import UNCHANGED, Box, Transform

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

    from pixtral_cli.images.headers import Header

_URL = re.compile(r"https?://\S|file:/|data:[\w.+-]+/[\w.+-]+[;,]|data:[;,]", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Image:
    """A picture as a file, its original bytes or what a rarer format was converted to, and what was checked of it.

    `name` is for people: one line, harmless on a terminal. `format` is PNG, JPEG, GIF, WEBP or (once saved so) HEIF; `width` and
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


def load(source: str, *, allow_private: bool = False, typed: bool = False, all_formats: bool = False) -> Image:
    """A path, `~`, file://, http(s) or data URL as a checked image.

    `typed` says that the user named it at the prompt or as a flag: then a URL may lead to a private address, as with
    `allow_private`, and it may be of any format, as with `all_formats`; else PNG, JPEG, WebP and GIF alone are read.
    Raises `ImageError`, and `NetworkError` if a URL cannot be fetched.
    """
    from pixtral_cli.images import sources

    content = sources.read(source, allow_private=allow_private or typed)
    return _checked(*content, all_formats=all_formats or typed)


def load_all(
    source: str, *, allow_private: bool = False, typed: bool = False, all_formats: bool = False
) -> list[Image]:
    """What a source means when it may be more: the pages of `report.pdf#2-4` or `scan.tif#2`, the frame of `clip.mp4#t=3`.

    See `load`. A PDF, by its path or behind a URL, is read only where all formats are.
    """
    from pixtral_cli.images import isolated, pages, sources, video

    path = sources.local_path(source)
    if path and (typed or all_formats) and (filmed := video.split_moment(str(path))) and not _is_picture(path):
        return [_video_frame(*filmed, source)]
    named = pages.split_pages(str(path)) if path and (typed or all_formats) else None
    if path is None and (typed or all_formats):
        return _from_url(source, allow_private=allow_private or typed)
    if path is not None and named is not None and path.is_file() and not pages.is_pdf(str(path)):
        return _tiff_pages(*sources.read(source, allow_private=False))
    if path is None or named is None or (path.exists() and not pages.is_pdf(str(path))):
        return [load(source, allow_private=allow_private, typed=typed, all_formats=all_formats)]
    file, numbers_text = Path(named[0]), named[1]
    if pages.is_pdf(named[0]):
        sources.check_document(file, source)
        return _pdf_pages(file, numbers_text, file.name)
    data, where, name = sources.read(str(file), allow_private=False)
    numbers = pages.page_numbers(numbers_text, isolated.count_pages(data, where), name)
    return [_checked(data, where, f"{name}#{number}", all_formats=True, page=number) for number in numbers]


def _from_url(source: str, *, allow_private: bool) -> list[Image]:
    """What is behind a URL, of any format: the pages of a short PDF, else one image."""
    from pixtral_cli.images import formats, sources

    found = sources.read(source, allow_private=allow_private)
    if formats.rare_format(found.data) == "PDF":
        return _pdf_pages(found.data, "", found.name)
    return _tiff_pages(*found)


def _tiff_pages(data: bytes, where: str, name: str) -> list[Image]:
    """All pages of a short TIFF, without smaller copies of others; of any other file, and of a single page, one image."""
    from pixtral_cli.images import isolated, pages

    numbers = isolated.whole_pages(data, where)
    if len(numbers) == 1:
        image = _checked(data, where, name, all_formats=True, page=numbers[0] if numbers != (1,) else 0)
        return [replace(image, notes=tuple(note for note in image.notes if not note.startswith("page 1 of")))]
    pages.check_count(len(numbers), name)
    shown = [_checked(data, where, f"{name}#{number}", all_formats=True, page=number) for number in numbers]
    return [_noted(shown[0], f"all {len(shown)} pages are used"), *shown[1:]]


def _pdf_pages(document: Path | bytes, wanted: str, name: str) -> list[Image]:
    from pixtral_cli.images import isolated
    from pixtral_cli.util.sanitize import visible

    found = isolated.pdf_pages(document, wanted, name)
    shown = [replace(from_bytes(each.data, name), name=visible(f"{name}{each.page}")) for each in found]
    return [_noted(shown[0], f"all {len(shown)} pages are used"), *shown[1:]] if not wanted and shown[1:] else shown


def _is_picture(path: Path) -> bool:
    """Whether a file that is called a video's is a picture after all."""
    from pixtral_cli.images import formats

    try:
        with path.open("rb") as file:
            return formats.is_picture(file.read(16))
    except OSError:
        return False


def _video_frame(path: str, moment: str, source: str) -> Image:
    """The frame at a moment, `#t=3`. Raises `ImageError`."""
    from pixtral_cli.images import formats, isolated, sources, video
    from pixtral_cli.util.sanitize import visible

    file = Path(path)
    sources.check_file(file, source)
    if not moment:
        formats.refuse(source, "a video, of which one frame can be sent", f"Name its second: {visible(file.name)}#t=3")
    data = isolated.video_frame(file, video.seconds_of(moment), file.name)
    return replace(from_bytes(data, file.name), name=visible(f"{file.name}{moment}"))


def from_stdin(stream: BinaryIO) -> Image:
    """The picture, of any format, on a stream. Raises `ImageError`."""
    from pixtral_cli.images import sources

    return from_bytes(sources.read_stream(stream, "stdin"), "stdin", all_formats=True)


def from_bytes(data: bytes, name: str, *, all_formats: bool = False) -> Image:
    """Bytes as a checked image. Raises `ImageError`."""
    return _checked(data, name, name, all_formats=all_formats)


def _checked(data: bytes, where: str, name: str, *, all_formats: bool = False, page: int = 0) -> Image:
    """Check header and limits and that the image decodes. Errors name `where`.

    A rarer format becomes PNG or JPEG first, in a process of its own. `page` is that of a TIFF, 0 for the first one.
    """
    import hashlib

    from pixtral_cli.images import formats, headers
    from pixtral_cli.util.sanitize import visible

    notes: tuple[str, ...] = ()
    if all_formats and (kind := formats.rare_format(data)):
        from pixtral_cli.images import isolated

        data, notes = isolated.convert(data, kind, where, page)
    header = formats.read_header(data, where)
    if header.format == "PNG" and header.texts:
        data = headers.without_texts(data)
    if header.format == "JPEG" and not header.ended:
        data, notes = _ended(data, where), (*notes, "its end is missing; all of its pixels are there")
    sha256 = hashlib.sha256(data).hexdigest()
    width, height = _upright_size(data, header, sha256, where)
    if header.animated:
        notes += ("animated: only the first frame is used",)
    return Image(data, visible(name), header.format, width, height, sha256, notes=notes)


def _ended(data: bytes, where: str) -> bytes:
    """A JPEG without an end marker with one, if no pixel is missing. Raises `ImageError`."""
    from pixtral_cli.images import decode, formats, headers

    try:
        if decode.is_complete_jpeg(data):
            return data.rstrip(b"\xff") + headers.JPEG_END
    except decode.DECODE_ERRORS as error:
        formats.refuse(where, "this JPEG is damaged", formats.SAVE_AGAIN, error)
    return formats.refuse(where, "this JPEG is cut short", formats.SAVE_AGAIN)


def _noted(image: Image, note: str) -> Image:
    return replace(image, notes=(*image.notes, note))


def _upright_size(data: bytes, header: "Header", sha256: str, where: str) -> tuple[int, int]:
    """Decode; returns width and height, upright."""
    from pixtral_cli.images import decode, formats

    try:
        stored = decode.stored_size(data, header.format)
        if header.format == "HEIF":
            formats.check_size(*stored, where)
        elif stored != (header.width, header.height):
            formats.refuse(where, "the file contradicts itself about its size", "Save it again with another program.")
        return decode.check_decodable(data, header.format, sha256)
    except ModuleNotFoundError as error:
        formats.refuse(where, "reading HEIC needs one more package", f"Get it: {install_command('heic')}", error)
    except MemoryError as error:
        raise OutOfMemory(
            f"{header.width} × {header.height} pixels do not fit into memory", "Scale it down, or close other programs"
        ) from error
    except decode.DECODE_ERRORS as error:
        cut = "truncated" in str(error).lower()
        why = f"this {formats.display_name(header.format)} is {'cut short' if cut else 'damaged'}"
        formats.refuse(where, why, "Save or download it again.", error)
