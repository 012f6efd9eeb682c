"""Where the images of a question stand in its text."""

import hashlib

import pytest

from pixtral_cli.chat.image_refs import place_images
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image


def image(name: str) -> Image:
    return Image(b"", name, "PNG", 10, 10, hashlib.sha256(name.encode()).hexdigest())


A, B = image("a"), image("b")


def test_images_precede_the_text_in_their_order() -> None:
    assert place_images("Compare.", [A, B]) == (A, B, "Compare.")


def test_numbers_place_them_inside_it() -> None:
    assert place_images("Is {2} left of {1}?", [A, B]) == ("Is ", B, " left of ", A, "?")
    assert place_images("{1}{2}", [A, B]) == (A, B)
    assert place_images("{1} and again {1}", [A]) == (A, " and again ", A)


def test_an_image_that_is_not_placed_comes_first() -> None:
    assert place_images("This: {2}", [A, B]) == (A, "This: ", B)


def test_braces_are_text_when_there_are_no_images() -> None:
    for text in ("{1}", '{"a": {3}}', "x^{2}", "{{1}}"):
        assert place_images(text, []) == (text,)


def test_other_braces_are_text_beside_images_too() -> None:
    for text in ("{0}", "{01}", "{a}", "{}", "{ 1 }", '{"n": 1}', "{-1}", "{1.5}"):
        assert place_images(text, [A]) == (A, text)


def test_doubled_braces_are_the_text() -> None:
    assert place_images("x^{{2}} in {1}", [A]) == ("x^{2} in ", A)


@pytest.mark.parametrize("number", ["3", "99", "9" * 5000])
def test_a_number_without_its_image_is_an_error(number: str) -> None:
    with pytest.raises(UsageError, match="only 2 images came with it") as error:
        place_images(f"What is in {{{number}}}?", [A, B])
    assert len(error.value.message) <= 120
