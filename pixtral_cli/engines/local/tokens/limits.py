"""Checks the sizes and the pattern of a tokenizer file before the libraries read it, and translates their errors."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tiktoken
from mistral_common.exceptions import MistralCommonException

from pixtral_cli.engines.local.config import verify_hint
from pixtral_cli.errors import ModelError
from pixtral_cli.util import bounded_json

MAX_FILE_BYTES = 64_000_000  # the largest known file has 20 million
MAX_TOKENS = 1 << 19
MAX_SPECIAL_TOKENS = 10_000  # known tokenizers have 1,000
MAX_PATTERN = 10_000  # characters
BYTES_PER_TOKEN, VALUES_PER_TOKEN = 1_000, 8  # of the file, for each token; known files have 150 and 5
PROBE = "It's 42 €,\n\tnaïve 日本語: (x_1) = «🙂»\r\n\r\n  END"


class LimitExceeded(ValueError):
    """A tokenizer file exceeds a limit; the message says what it has, as the predicate of a sentence about the file."""


def read_file(path: Path, vocab_size: int) -> bytes:
    """The content of a tokenizer file for `vocab_size` tokens.

    Raises OSError, and ValueError for a file that is too large.
    """
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
    """Raises LimitExceeded for a pattern that matches the empty text, on which tiktoken panics, or skips characters.

    Tried with a vocabulary in which the empty text is a token. Raises ValueError for a pattern that takes too long.
    """
    empty = 256
    ranks = {bytes([byte]): byte for byte in range(empty)} | {b"": empty}
    probe = tiktoken.Encoding("probe", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    with translate_rust_panics("its pattern takes too long"):
        tokens = probe.encode_ordinary(PROBE) + probe.encode_ordinary("a" * 100)
    if empty in tokens:
        raise LimitExceeded("has a pattern that matches the empty text")
    if bytes(tokens) != (PROBE + "a" * 100).encode():
        raise LimitExceeded("has a pattern that leaves characters out")


@contextmanager
def translate_rust_panics(message: str) -> Iterator[None]:
    """Turns a panic of a Rust library, which is not an Exception, into a ValueError with this message."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise ValueError(message) from error


@contextmanager
def translate_library_errors(path: Path, name: str) -> Iterator[None]:
    """Turns the libraries' errors about a tokenizer file that is not valid into ModelError."""
    try:
        with translate_rust_panics("its library failed"):
            yield
    except LimitExceeded as error:
        raise ModelError(f"{path.name} of {name} {error}"[:120], verify_hint(name)) from error
    except OSError as error:
        raise ModelError(f"{path.name} of {name} cannot be read: {error.strerror}", verify_hint(name)) from error
    except (
        ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, StopIteration, RecursionError,
        MistralCommonException,
    ) as error:  # fmt: skip
        raise ModelError(f"{path.name} of {name} is damaged or not a tekken tokenizer", verify_hint(name)) from error
