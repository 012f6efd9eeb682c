"""Torture A 21: a clipboard without an image."""

import pytest

from pixtral_cli.errors import ImageError
from pixtral_cli.terminal.desktop import clipboard
from tests.terminal.desktop.test_clipboard import desk


@pytest.mark.parametrize(
    "answers",
    [
        {"wl-paste --list": b"text/plain\nUTF8_STRING"},
        {"wl-paste --list": None},
        {"wl-paste --list": b"image/png", "wl-paste --no": b""},
    ],
)
def test_21_a_clipboard_without_an_image_is_an_image_error(answers: dict[str, bytes | None]) -> None:
    there, _ = desk(answers, WAYLAND_DISPLAY="wayland-0")
    with pytest.raises(ImageError, match="The clipboard holds no image") as error:
        clipboard.read_image(there)
    assert error.value.status == 3
    assert "/paste" in error.value.hint
