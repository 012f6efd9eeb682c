"""The README's film of a terminal: every frame in its place, for its time, and what it shows."""

import re
from xml.etree import ElementTree

from docs.film import HEIGHT, Cell, Frame, Row, svg
from docs.record import END, film

SVG = "{http://www.w3.org/2000/svg}"


def row(text: str, **look: str) -> Row:
    return tuple(Cell(character, **look) for character in text.ljust(10))  # type: ignore[arg-type]


def test_every_frame_lasts_its_time_and_the_same_row_is_drawn_once() -> None:
    frames = [Frame((row("$ a<b"), row("")), 1.0), Frame((row("$ a<b"), row("again")), 3.0, (2, 1))]
    text = svg(frames, 10, "A & B")
    film = ElementTree.fromstring(text)
    assert [words.text for words in film.iter(f"{SVG}text")] == ["$ a<b", "again", "A & B"]
    uses = [use.attrib for use in film.iter(f"{SVG}use")]
    assert [(use["href"], int(use["y"])) for use in uses] == [("#r0", 0), ("#r0", 0), ("#r1", HEIGHT)]
    assert re.search(r"0\.000%{transform:translateY\(0px\)}25\.000%{transform:translateY\(-\d+px\)}", text)
    assert "play 4.00s" in text


def test_half_blocks_are_two_rectangles_a_cell_and_no_text() -> None:
    picture = row("▀" * 10, fg="ff0000", bg="0000ff")
    drawn = ElementTree.fromstring(svg([Frame((picture,), 1.0)], 10, "")).find(f"{SVG}defs/{SVG}g")
    assert drawn is not None
    assert [(box.get("fill"), box.get("y"), box.get("height")) for box in drawn] == [
        ("#ff0000", "0", "9.6"),
        ("#0000ff", "9", "9.6"),
    ]


def test_screens_that_flash_by_are_left_out_and_long_waits_cut_short() -> None:
    a, b, c = (Frame((row(text),), 0.0) for text in "abc")
    shown = film([(0.0, a), (0.5, b), (0.51, c), (0.6, c), (9.0, a)])
    assert [(frame.rows[0][0].text, round(frame.seconds, 2)) for frame in shown] == [
        ("a", 0.5),
        ("c", 2.1),
        ("a", END),
    ]
