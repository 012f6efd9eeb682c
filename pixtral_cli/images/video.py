"""One frame of a video: `clip.mp4#t=3` or `#t=1:30.5`, as the W3C's media fragments write a moment.

`frame` runs in the converter's process, which bounds its memory and time. PyAV, an extra, does the decoding.
"""

import re
from typing import Any

from pixtral_cli.errors import ImageError
from pixtral_cli.util.sanitize import visible

VIDEO_EXTENSIONS = ("mp4", "m4v", "mov", "webm", "mkv", "avi", "mpg", "mpeg", "ogv", "3gp")
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,ogg"  # none that reads other files, such as playlists
)
MOMENT = r"#t=(?:\d{1,2}:)?(?:\d{1,4}:)?\d{1,6}(?:\.\d{1,6})?"
_VIDEO = re.compile(rf"(?i)(.*\.(?:{'|'.join(VIDEO_EXTENSIONS)}))({MOMENT})?", re.DOTALL)


def split_moment(name: str) -> tuple[str, str] | None:
    """The path and the moment, `#t=1:30`, of a name; None for one that is no video's."""
    match = _VIDEO.fullmatch(name)
    return (match[1], match[2] or "") if match else None


def seconds_of(moment: str) -> float:
    """The seconds from the beginning that `#t=1:30` means."""
    seconds = 0.0
    for piece in moment.removeprefix("#t=").removeprefix("#T=").split(":"):
        seconds = seconds * 60 + float(piece)
    return seconds


def frame(path: str, seconds: float, name: str) -> Any:
    """The upright frame that is shown so many seconds after the beginning. Raises ImageError, and what PyAV raises."""
    import av

    opened: Any = av.open(path, options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"})
    with opened as container:
        if not len(container.streams):
            raise ValueError("the video is cut short")
        if not container.streams.video:
            raise ImageError(f"{visible(name)}: has no pictures in it", "Name a video")
        stream = container.streams.video[0]
        codec = stream.codec_context
        codec.thread_count = 1  # each thread takes memory, and there is one frame to have
        _check_size(codec.width, codec.height, name)
        begin = float((stream.start_time or 0) * stream.time_base)
        container.seek(int((begin + seconds) / stream.time_base), stream=stream)  # to the key frame before it
        shown = last = None
        for last in container.decode(stream):
            _check_size(last.width, last.height, name)
            if shown is not None and (last.time or 0.0) - begin > seconds:
                return _upright(shown)
            shown = last
        if shown is None or last is None or seconds > _end(container, shown, begin):
            length = _length(container, stream)
            raise ImageError(f"{visible(name)} has no moment {seconds:g} s", f"It is {length:.1f} seconds long")
        return _upright(shown)


def _check_size(width: int, height: int, name: str) -> None:
    from pixtral_cli.images.formats import check_size

    check_size(width, height, name)


def _end(container: Any, last: Any, begin: float) -> float:
    """Seconds at which the last frame is no longer shown."""
    return float(last.time or 0.0) - begin + float((last.duration or 0) * (last.time_base or 0)) + 0.05


def _length(container: Any, stream: Any) -> float:
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return float(container.duration or 0) / 1_000_000


def _upright(shown: Any) -> Any:
    """The frame as a picture, turned as the camera was held."""
    picture = shown.to_image()
    return picture.rotate(shown.rotation, expand=True) if shown.rotation else picture
