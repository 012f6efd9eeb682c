"""Checks the sizes and the pattern of a tokenizer file before the libraries see it, and translates what they raise."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tiktoken
from mistral_common.exceptions import MistralCommonException

from pixtral_cli.engines.local.config import verify_hint
from pixtral_cli.errors import ModelError
from pixtral_cli.util import bounded_json

MAX_FILE_BYTES = 64_000_000  # the largest known have 20
MAX_TOKENS = 1 << 19
MAX_SPECIAL_TOKENS = 10_000  # the known ones have 1,000
MAX_PATTERN = 10_000  # characters
BYTES_PER_TOKEN, VALUES_PER_TOKEN = 1_000, 8  # of the file, for each token of the model; the known have 150 and 5
PROBE = "It's 42 €,\n\tnaïve 日本語: (x_1) = «🙂»\r\n\r\n  END"


class LimitExceeded(ValueError):
    """A tokenizer file is not within the limits; the text says what it has, as the end of a sentence."""


def read_file(path: Path, vocab_size: int) -> bytes:
    """The content of a tokenizer file for a model of `vocab_size` tokens. Raises OSError, ValueError if it holds too much."""
    data = bounded_json.read_bytes(path, min(MAX_FILE_BYTES, BYTES_PER_TOKEN * vocab_size + 1_000_000))
    bounded_json.check_count(data, VALUES_PER_TOKEN * vocab_size + 50_000)
    return data


def check_settings(vocab: Sequence[Any], pattern: str, vocab_size: int, num_special_tokens: int) -> None:
    """Check a Tekkenizer's arguments. Raises LimitExceeded, TypeError."""
    if not 0 <= num_special_tokens <= MAX_SPECIAL_TOKENS:
        raise LimitExceeded(f"has {num_special_tokens:,} special tokens")
    if not 256 <= vocab_size <= min(MAX_TOKENS, len(vocab) + num_special_tokens):
        raise LimitExceeded(f"claims {vocab_size:,} tokens and holds {len(vocab) + num_special_tokens:,}")
    if not isinstance(pattern, str) or len(pattern) > MAX_PATTERN:
        raise LimitExceeded("has no pattern of a sensible length")
    _check_pattern(pattern)


def _check_pattern(pattern: str) -> None:
    """Refuse a pattern that matches the empty text, at which tiktoken's Rust code panics, or leaves characters out.

    Tried with a vocabulary in which the empty text is a token of its own. Raises LimitExceeded, ValueError.
    """
    empty = 256
    ranks = {bytes([byte]): byte for byte in range(empty)} | {b"": empty}
    probe = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    with rust_panics("its pattern takes too long"):
        tokens = probe.encode_ordinary(PROBE) + probe.encode_ordinary("a" * 100)
    if empty in tokens:
        raise LimitExceeded("has a pattern that matches the empty text")
    if bytes(tokens) != (PROBE + "a" * 100).encode():
        raise LimitExceeded("has a pattern that leaves characters out")


@contextmanager
def rust_panics(message: str) -> Iterator[None]:
    """Translate a panic of a Rust library, which is no Exception, into a ValueError."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise ValueError(message) from error


@contextmanager
def library_errors(path: Path, name: str) -> Iterator[None]:
    """Translate what the libraries raise for a file that is no sound tokenizer into ModelError."""
    try:
        with rust_panics("its library failed"):
            yield
    except LimitExceeded as error:
        raise ModelError(f"{path.name} of {name} {error}"[:120], verify_hint(name)) from error
    except OSError as error:
        raise ModelError(f"{path.name} of {name} cannot be read: {error.strerror}", verify_hint(name)) from error
    except (
        ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, StopIteration, RecursionError,
        MistralCommonException,
    ) as error:  # fmt: skip
        raise ModelError(f"{path.name} of {name} is damaged or no tekken tokenizer", verify_hint(name)) from error
