"""The sizes that a tokenizer file may claim are exact: at each it is taken, beyond it refused and the claim named."""

from pathlib import Path

import pytest

from pixtral_cli.engines.local.tokens import limits

SPLIT = r"\s+|\S+"


@pytest.mark.parametrize("special", [0, 10_000])
def test_a_tokenizer_has_up_to_10000_special_tokens(special: int) -> None:
    limits.check_settings(range(10_256), SPLIT, 10_256, special)


@pytest.mark.parametrize("special", [-1, 10_001])
def test_more_special_tokens_or_fewer_than_none_are_refused(special: int) -> None:
    with pytest.raises(limits.LimitExceeded, match=f"has {special:,} special tokens"):
        limits.check_settings(range(20_000), SPLIT, 1_000, special)


@pytest.mark.parametrize(
    ("held", "special", "least", "most"), [(1_000, 24, 256, 1_024), (600_000, 1_000, 256, 1 << 19)]
)
def test_a_tokenizer_claims_no_more_tokens_than_it_holds_or_half_a_million(
    held: int, special: int, least: int, most: int
) -> None:
    for size in (least, most):
        limits.check_settings(range(held), SPLIT, size, special)
    for size in (least - 1, most + 1):
        with pytest.raises(limits.LimitExceeded, match=f"claims {size:,} tokens and holds {held + special:,}"):
            limits.check_settings(range(held), SPLIT, size, special)


def test_a_pattern_has_up_to_10000_characters() -> None:
    def alternatives(length: int) -> str:
        return SPLIT + "|" + "a" * (length - len(SPLIT) - 1)

    limits.check_settings(range(1_000), alternatives(10_000), 1_000, 0)
    with pytest.raises(limits.LimitExceeded, match="no pattern of a sensible length"):
        limits.check_settings(range(1_000), alternatives(10_001), 1_000, 0)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [(r"\s*", "matches the empty text"), (r"\S+", "leaves characters out"), (r"\w|x*", "matches the empty text")],
)
def test_a_pattern_covers_every_text_without_empty_pieces(pattern: str, says: str) -> None:
    with pytest.raises(limits.LimitExceeded, match=says):
        limits.check_settings(range(1_000), pattern, 1_000, 0)


@pytest.mark.parametrize(("vocab", "most"), [(1_000, 2_000_000), (131_072, 64_000_000)])
def test_a_file_is_no_larger_than_its_tokens_can_make_it(tmp_path: Path, vocab: int, most: int) -> None:
    file = tmp_path / "tekken.json"
    file.write_bytes(b" " * most)
    assert len(limits.read_file(file, vocab)) == most
    file.write_bytes(b" " * (most + 1))
    with pytest.raises(ValueError, match=f"larger than {most:,} bytes"):
        limits.read_file(file, vocab)


def test_a_file_has_no_more_values_than_its_tokens_need(tmp_path: Path) -> None:
    file = tmp_path / "tekken.json"
    file.write_bytes(b"," * 58_000)
    limits.read_file(file, 1_000)
    file.write_bytes(b"," * 58_001)
    with pytest.raises(ValueError, match="more than 58,000 values"):
        limits.read_file(file, 1_000)
