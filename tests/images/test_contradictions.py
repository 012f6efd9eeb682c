"""Files that contradict themselves, text that ends inside a character, large pictures at the same time."""

import io
import struct
import threading
import time

import pytest
from PIL import Image as PILImage
from PIL import PngImagePlugin

from pixtral_cli import images
from pixtral_cli.errors import ImageError


def test_a_jpeg_with_two_sizes_is_refused() -> None:
    buffer = io.BytesIO()
    PILImage.new("RGB", (64, 64), "red").save(buffer, "JPEG")
    data = buffer.getvalue()
    start = data.index(b"\xff\xc0")
    end = start + 2 + struct.unpack(">H", data[start + 2 : start + 4])[0]
    second = data[start : start + 5] + struct.pack(">HH", 9000, 9000) + data[start + 9 : end]
    with pytest.raises(ImageError, match="contradicts itself"):
        images.from_bytes(data[:end] + second + data[end:], "x")


@pytest.mark.parametrize("before", [1021, 1022, 1023])
def test_text_is_told_as_such_wherever_a_character_is_cut(before: int) -> None:
    with pytest.raises(ImageError, match="looks like text"):
        images.from_bytes(("x" * before + "日本語" * 100).encode(), "x")


def test_pictures_too_large_to_keep_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    size = (4200, 4200)
    buffer = io.BytesIO()
    PILImage.new("L", size).save(buffer, "PNG")
    inside, most = [0], [0]
    load = PngImagePlugin.PngImageFile.load

    def counted(self: PngImagePlugin.PngImageFile) -> object:
        if self.size != size or not self.tile:
            return load(self)
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.2)  # the others come meanwhile
        try:
            return load(self)
        finally:
            inside[0] -= 1

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", counted)
    threads = [threading.Thread(target=images.from_bytes, args=(buffer.getvalue(), "x")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == 1
