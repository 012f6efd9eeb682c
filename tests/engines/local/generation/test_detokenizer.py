"""Text streams as it would decode whole, whatever the tokens; stop strings are found wherever they are cut."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mistral_common.tokens.tokenizers.tekken import Tekkenizer

from pixtral_cli.engines.local.generation.detokenizer import Detokenizer
from tests.engines.local.checkpoints import TRUE_TEKKEN


@pytest.fixture(scope="module")
def tekken() -> Tekkenizer:
    return Tekkenizer.from_file(Path(TRUE_TEKKEN))


def pieces(tokens: Sequence[int], bytes_of: Callable[[int], bytes], stop: Sequence[str] = ()) -> list[str]:
    text = Detokenizer(bytes_of, stop)
    fed = []
    for token in tokens:
        fed.append(text.feed(token))
        if text.stopped:
            break
    return [*fed, text.close()]


def strings(count: int) -> list[str]:
    """Random text: any scalar values, and runs of scripts whose characters take several tokens."""
    draw = random.Random(0)
    ranges = [
        (0, 0x7F),
        (0xA0, 0x24F),
        (0x370, 0x3FF),
        (0x4E00, 0x9FFF),
        (0x1F300, 0x1FAFF),
        (0x20000, 0x2A6DF),
        (0, 0xD7FF),
        (0xE000, 0x10FFFF),
    ]
    texts = []
    for _ in range(count):
        low, high = draw.choice(ranges)
        texts.append("".join(chr(draw.randint(low, high)) for _ in range(draw.randint(0, 30))))
    return ["".join(c for c in text if not 0xD800 <= ord(c) < 0xE000) for text in texts]


def test_ten_thousand_random_strings_stream_as_they_decode_whole(tekken: Tekkenizer) -> None:
    for text in strings(10_000):
        tokens = tekken.encode(text, False, False)
        streamed = pieces(tokens, tekken.id_to_byte_piece)
        assert "".join(streamed) == text == tekken.decode(tokens)
        if "�" not in text:
            assert not any("�" in piece for piece in streamed)


@settings(deadline=None)
@given(st.lists(st.integers(0, 131071), max_size=40))
def test_tokens_at_random_stream_as_they_decode_whole(tekken: Tekkenizer, tokens: list[int]) -> None:
    """Also what is no text: broken characters become the mark that decoding whole gives them, but for an unfinished end."""
    streamed = "".join(pieces(tokens, tekken.id_to_byte_piece))
    assert streamed.rstrip("�") == tekken.decode(tokens).rstrip("�")


letters = st.text("ab", min_size=1, max_size=4)


@settings(deadline=None)
@given(st.lists(letters, max_size=12), st.lists(letters, min_size=1, max_size=3))
def test_a_stop_string_is_found_however_it_is_cut(chunks: list[str], stop: list[str]) -> None:
    whole = "".join(chunks)
    ends = [whole.find(each) for each in stop if each in whole]
    streamed = pieces(range(len(chunks)), lambda index: chunks[index].encode(), stop)
    assert "".join(streamed).startswith(whole[: min(ends)] if ends else whole)
    assert not any(each in "".join(streamed) for each in stop)


def test_text_is_held_back_only_while_it_may_become_a_stop_string() -> None:
    assert pieces(range(6), lambda index: b"a<e<ex"[index : index + 1], ["<end>"]) == ["a", "", "", "<e", "", "<ex", ""]
