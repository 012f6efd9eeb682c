"""Thumbnails: the drawing for each protocol, the questions to the terminal, and the keys that are handed back."""

import base64
import io
import os
import re
import select
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PIL

from pixtral_cli import images
from pixtral_cli.images.image import Image
from pixtral_cli.terminal.graphics import draw, probe
from pixtral_cli.terminal.graphics.draw import draw_thumbnail, fit_size


def picture(*columns: str, height: int = 40, width: int = 20) -> Image:
    """Upright stripes of these colours."""
    canvas = PIL.new("RGB", (width * len(columns), height))
    for number, colour in enumerate(columns):
        canvas.paste(PIL.new("RGB", (width, height), colour), (width * number, 0))
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return images.from_bytes(file.getvalue(), "stripes.png")


def test_half_blocks_show_two_pixels_a_character() -> None:
    lines = draw_thumbnail(picture("red", "blue"), "blocks", 80).split("\n")
    assert len(lines) == draw.MAX_ROWS
    for line in lines:
        cells = re.findall(r"\x1b\[38;2;(\d+;\d+;\d+)m\x1b\[48;2;(\d+;\d+;\d+)m▀", line)
        assert cells[0] == ("255;0;0", "255;0;0")
        assert cells[-1] == ("0;0;255", "0;0;255")
        assert line.endswith("\x1b[0m")


def test_half_blocks_use_the_256_colours_where_there_are_no_more() -> None:
    text = draw_thumbnail(picture("red", "white"), "blocks", 80, truecolor=False)
    assert "\x1b[38;5;196m" in text
    assert "\x1b[48;5;231m" in text


def test_kitty_gets_the_picture_in_pieces_it_takes() -> None:
    noise = PIL.frombytes("RGB", (200, 150), os.urandom(200 * 150 * 3))
    file = io.BytesIO()
    noise.save(file, "PNG")
    text = draw_thumbnail(images.from_bytes(file.getvalue(), "noise.png"), "kitty", 80)
    pieces = re.findall(r"\x1b_G(?:a=T,f=100,q=2,)?m=([01]);([^\x1b]*)\x1b\\", text)
    assert len(pieces) > 1
    assert [more for more, _ in pieces] == ["1"] * (len(pieces) - 1) + ["0"]
    assert all(len(piece) <= 4096 for _, piece in pieces)
    shown = PIL.open(io.BytesIO(base64.b64decode("".join(piece for _, piece in pieces))))
    assert shown.size == fit_size((200, 150), draw.MAX_COLUMNS, draw.MAX_ROWS, draw.DEFAULT_CELL)


def unsixel(text: str) -> dict[tuple[int, int], tuple[int, int, int]]:
    """A plain reading of the sixel format: the colour of every pixel, in percent."""
    body = re.fullmatch(r'\x1bP0;1;q"1;1;\d+;\d+(.*)\x1b\\', text, re.DOTALL)
    assert body
    palette: dict[int, tuple[int, int, int]] = {}
    pixels: dict[tuple[int, int], tuple[int, int, int]] = {}
    x = y = 0
    colour = (0, 0, 0)
    for token in re.findall(r"#\d+;2;\d+;\d+;\d+|#\d+|!\d+[?-~]|[?-~]|\$|-", body[1]):
        if token[0] == "#":
            number, *rest = map(int, token[1:].split(";"))
            if rest:
                palette[number] = (rest[1], rest[2], rest[3])
            colour = palette[number]
        elif token in "$-":
            x, y = 0, y + 6 * (token == "-")
        else:
            count = int(token[1:-1]) if token[0] == "!" else 1
            for column in range(x, x + count):
                pixels |= {(column, y + bit): colour for bit in range(6) if (ord(token[-1]) - 63) >> bit & 1}
            x += count
    return pixels


def test_sixel_holds_every_pixel_in_its_colour() -> None:
    pixels = unsixel(draw_thumbnail(picture("red", "lime", "blue"), "sixel", 80))
    width, height = fit_size((60, 40), draw.MAX_COLUMNS, draw.MAX_ROWS, draw.DEFAULT_CELL)
    assert set(pixels) == {(x, y) for x in range(width) for y in range(height)}
    assert [pixels[x, 20] for x in (2, 30, 57)] == [(100, 0, 0), (0, 100, 0), (0, 0, 100)]


@pytest.mark.parametrize("method", ["kitty", "sixel", "blocks"])
def test_nothing_is_drawn_when_it_is_off_or_the_window_is_too_narrow(method: draw.Method) -> None:
    assert draw_thumbnail(picture("red"), "off", 80) == ""
    assert draw_thumbnail(picture("red"), method, 4) == ""


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.sampled_from([(1, 2), (8, 16), (10, 21)]))
def test_a_thumbnail_fits_its_cells(width: int, height: int, cell: tuple[int, int]) -> None:
    w, h = fit_size((width, height), 32, 8, cell)
    assert 1 <= w <= 32 * cell[0]
    assert 1 <= h <= 8 * cell[1]
    assert cell == (1, 2) or (w <= width and h <= height)


@pytest.mark.parametrize(
    ("answer", "method", "typed"),
    [
        (b"\x1b_Gi=31;OK\x1b\\\x1b[?62;4c", "kitty", b""),
        (b"\x1b_Gi=31;ENOTSUPPORTED\x1b\\\x1b[?62;4;22c", "sixel", b""),
        (b"\x1b[?62;22c", "blocks", b""),
        (b"\x1b[?64;14c", "blocks", b""),
        (b"hel\x1b[?6clo\r", "blocks", b"hello\r"),
        (b"a\x1b_Gi=31;OK\x1b\\b\x1b[?62;4cc\x1b[A", "kitty", b"abc\x1b[A"),
        (b"never answered", "blocks", b"never answered"),
        (b"typed before\nit asked\n\x1b[?62;22c", "blocks", b"typed before\rit asked\r"),
    ],
)
def test_the_terminal_s_answer_is_distinguished_from_what_was_typed(answer: bytes, method: str, typed: bytes) -> None:
    assert probe.parse_answer(answer) == (method, typed)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    master, slave = os.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_a_terminal_is_asked_and_its_answer_read(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    os.write(master, b"typed\r\x1b_Gi=31;OK\x1b\\\x1b[?62c")
    found = probe.probe_terminal(slave, slave, "xterm-kitty", timeout=5)
    assert (found.method, found.typed.replace(b"\n", b"\r")) == ("kitty", b"typed\r")
    asked = b""
    while probe.KITTY_QUERY + probe.ATTRIBUTES_QUERY not in asked:  # the kernel hands it on in pieces, in its own time
        assert select.select([master], [], [], 60)[0], asked
        asked += os.read(master, 4096)


@pytest.mark.parametrize("term", ["screen-256color", "tmux-256color", "linux"])
def test_a_terminal_that_would_show_the_question_is_not_asked_it(terminal: tuple[int, int], term: str) -> None:
    master, slave = terminal
    os.write(master, b"\x1b[?1;2c")
    assert probe.probe_terminal(slave, slave, term, timeout=5).method == "blocks"
    assert b"\x1b_G" not in os.read(master, 4096)


def test_a_terminal_that_does_not_answer_is_not_waited_for_long(terminal: tuple[int, int]) -> None:
    assert probe.probe_terminal(terminal[1], terminal[1], "xterm", timeout=0.05).method == "blocks"


def test_nothing_is_drawn_into_pipes_or_where_colours_are_disabled(terminal: tuple[int, int]) -> None:
    with os.fdopen(os.dup(terminal[1]), "w", encoding="utf-8") as screen:
        assert draw.can_draw(screen, {"TERM": "xterm"})
        assert not draw.can_draw(screen, {"TERM": "xterm", "NO_COLOR": "1"})
        assert not draw.can_draw(screen, {"TERM": "dumb"})
    with os.fdopen(os.dup(terminal[1]), "w", encoding="cp1252") as screen:
        assert not draw.can_draw(screen, {"TERM": "xterm"})
    assert not draw.can_draw(io.StringIO(), {"TERM": "xterm"})
