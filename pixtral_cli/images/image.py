"""The checked image, and the functions that load it from paths, URLs, streams and bytes.

Bytes are read in `sources`, checked in `formats` and decoded in `decode`, which are imported when they are needed.
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
    """A picture that was checked: its file (the original, or the PNG or JPEG that a rarer format was converted to) and size.

    `name` is one sanitised line. `format` is PNG, JPEG, GIF, WEBP or (in older sessions) HEIF. `width` and `height` are
    those of the whole upright picture, before the transform. `notes` tell the user what is not shown, such as further
    frames.
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
        """Width and height in pixels after the transform, as the picture is sent."""
        return self.transform.size((self.width, self.height))

    @property
    def key(self) -> str:
        """The identity of its pixels: the hash of the file, and the transform if there is one."""
        return f"{self.sha256}@{self.transform}" if self.transform else self.sha256

    def cropped(self, box: Box) -> "Image":
        """A part of this image, or of its crop if it has one. Raises ImageError if the box is not inside."""
        width, height = self.size
        if not box.fits(self.size):
            box_text = f"{box.width}×{box.height} at {box.left},{box.top}"
            raise ImageError(f"the crop {box_text} is not inside the picture", f"It is {width}×{height} pixels.")
        outer = self.transform.crop or Box(0, 0, width, height)
        crop = replace(box, left=outer.left + box.left, top=outer.top + box.top)
        return replace(self, transform=replace(self.transform, crop=crop))

    def rotated(self, degrees: int) -> "Image":
        """This image, with its crop, rotated clockwise by a multiple of 90 degrees."""
        crop, size = self.transform.crop, self.transform.rotated_size((self.width, self.height))
        transform = Transform(crop and crop.rotated(degrees, size), (self.transform.rotate + degrees) % 360)
        return replace(self, transform=transform)

    def pixels(self, at_least: tuple[int, int] | None = None) -> "PILImage":
        """Decode to upright RGB and apply the transform. May be reduced to a size not below `at_least` if that is faster.

        A crop is always taken at full resolution. The caller may change the result.
        """
        from pixtral_cli.images import decode

        return decode.pixels(self.data, self.format, self.sha256, self.transform, at_least)


def is_url(text: str) -> bool:
    """Whether a source is a URL that `load` understands rather than a path."""
    return _URL.match(text) is not None


def load(source: str, *, allow_private: bool = False, typed: bool = False, all_formats: bool = False) -> Image:
    """The image of a path (with `~`), file://, http(s) or data URL.

    `allow_private`: URLs may lead to private addresses. `all_formats`: all formats are read, else only PNG, JPEG, WebP
    and GIF. `typed`: both, since the user typed the source. Raises ImageError, and NetworkError if a URL cannot be
    fetched.
    """
    from pixtral_cli.images import sources

    content = sources.read(source, allow_private=allow_private or typed)
    return _checked(*content, all_formats=all_formats or typed)


def load_all(
    source: str, *, allow_private: bool = False, typed: bool = False, all_formats: bool = False
) -> list[Image]:
    """What a source means when it may be more: the pages of `report.pdf#2-4` or `scan.tif#2`, the frame of `clip.mp4#t=3`.

    See `load`. Documents are read only if all formats are.
    """
    from pixtral_cli.images import isolated, pages, sources, video

    path = sources.local_path(source)
    if path and (typed or all_formats) and (filmed := video.split_moment(str(path))) and not _is_picture(path):
        return [_video_frame(*filmed, source)]
    split = pages.split_pages(str(path)) if path and (typed or all_formats) else None
    if path is None and (typed or all_formats):
        return _from_url(source, allow_private=allow_private or typed)
    if path is not None and split is not None and path.is_file() and not pages.is_pdf(str(path)):
        return _tiff_pages(*sources.read(source, allow_private=False))
    if path is None or split is None or (path.exists() and not pages.is_pdf(str(path))):
        return [load(source, allow_private=allow_private, typed=typed, all_formats=all_formats)]
    file, numbers_text = Path(split[0]), split[1]
    if pages.is_pdf(split[0]):
        sources.check_document(file, source)
        return _pdf_pages(file, numbers_text, file.name)
    data, label, name = sources.read(str(file), allow_private=False)
    numbers = pages.page_numbers(numbers_text, isolated.count_pages(data, label), name)
    return [_checked(data, label, f"{name}#{number}", all_formats=True, page=number) for number in numbers]


def _from_url(source: str, *, allow_private: bool) -> list[Image]:
    """The images at a URL, of any format: the pages of a short document, else one image."""
    from pixtral_cli.images import formats, sources

    content = sources.read(source, allow_private=allow_private)
    if formats.rare_format(content.data) == "PDF":
        return _pdf_pages(content.data, "", content.name)
    return _tiff_pages(*content)


def _tiff_pages(data: bytes, label: str, name: str) -> list[Image]:
    """All pages of a short TIFF, without reduced copies of others; one image for any other file."""
    from pixtral_cli.images import isolated, pages

    numbers = isolated.full_size_pages(data, label)
    if len(numbers) == 1:
        image = _checked(data, label, name, all_formats=True, page=numbers[0] if numbers != (1,) else 0)
        return [replace(image, notes=tuple(note for note in image.notes if not note.startswith("page 1 of")))]
    pages.check_count(len(numbers), name)
    images = [_checked(data, label, f"{name}#{number}", all_formats=True, page=number) for number in numbers]
    return [_with_note(images[0], f"all {len(images)} pages are used"), *images[1:]]


def _pdf_pages(document: Path | bytes, pages_text: str, name: str) -> list[Image]:
    from pixtral_cli.images import isolated
    from pixtral_cli.util.sanitize import visible

    content = isolated.pdf_pages(document, pages_text, name)
    images = [replace(from_bytes(picture.data, name), name=visible(f"{name}{picture.page}")) for picture in content]
    return (
        [_with_note(images[0], f"all {len(images)} pages are used"), *images[1:]]
        if not pages_text and images[1:]
        else images
    )


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
    """The image, of any format, on a stream. Raises ImageError."""
    from pixtral_cli.images import sources

    return from_bytes(sources.read_stream(stream, "stdin"), "stdin", all_formats=True)


def from_bytes(data: bytes, name: str, *, all_formats: bool = False) -> Image:
    """The image in an image file's bytes. Raises ImageError."""
    return _checked(data, name, name, all_formats=all_formats)


def _checked(data: bytes, label: str, name: str, *, all_formats: bool = False, page: int = 0) -> Image:
    """Check the header, the limits, and that the image can be decoded. Errors begin with `label`.

    A rarer format is converted to PNG or JPEG first. `page` is the page of a TIFF, 0 for the first one with a note.
    """
    import hashlib

    from pixtral_cli.images import formats, headers
    from pixtral_cli.util.sanitize import visible

    notes: tuple[str, ...] = ()
    if all_formats and (kind := formats.rare_format(data)):
        from pixtral_cli.images import isolated

        data, notes = isolated.convert(data, kind, label, page)
    header = formats.read_header(data, label)
    if header.format == "PNG" and header.has_large_text:
        data = headers.without_texts(data)
    if header.format == "JPEG" and not header.has_end_marker:
        data, notes = _with_end_marker(data, label), (*notes, "its end is missing; all of its pixels are there")
    sha256 = hashlib.sha256(data).hexdigest()
    width, height = _upright_size(data, header, sha256, label)
    if header.animated:
        notes += ("animated: only the first frame is used",)
    return Image(data, visible(name), header.format, width, height, sha256, notes=notes)


def _with_end_marker(data: bytes, label: str) -> bytes:
    """A JPEG without an end marker completed by one, if no pixel is missing. Raises ImageError."""
    from pixtral_cli.images import decode, formats, headers

    try:
        if decode.is_complete_jpeg(data):
            return data.rstrip(b"\xff") + headers.JPEG_END
    except decode.DECODE_ERRORS as error:
        formats.refuse(label, "this JPEG is damaged", formats.SAVE_AGAIN, error)
    return formats.refuse(label, "this JPEG is cut short", formats.SAVE_AGAIN)


def _with_note(image: Image, note: str) -> Image:
    return replace(image, notes=(*image.notes, note))


def _upright_size(data: bytes, header: "Header", sha256: str, label: str) -> tuple[int, int]:
    """Decode the image; returns its upright width and height. Raises ImageError, OutOfMemory."""
    from pixtral_cli.images import decode, formats

    try:
        stored = decode.stored_size(data, header.format)
        if header.format == "HEIF":
            formats.check_size(*stored, label)
        elif stored != (header.width, header.height):
            formats.refuse(label, "the file contradicts itself about its size", "Save it again with another program.")
        return decode.check_decodable(data, header.format, sha256)
    except ModuleNotFoundError as error:
        formats.refuse(label, "reading HEIC needs one more package", f"Get it: {install_command('heic')}", error)
    except MemoryError as error:
        raise OutOfMemory(
            f"{header.width} × {header.height} pixels do not fit into memory", "Scale it down, or close other programs"
        ) from error
    except decode.DECODE_ERRORS as error:
        truncated = "truncated" in str(error).lower()
        reason = f"this {formats.display_name(header.format)} is {'cut short' if truncated else 'damaged'}"
        formats.refuse(label, reason, "Save or download it again.", error)
