"""A tokenizer's vocabulary in llguidance's form, for constrained decoding."""

from typing import Any

from llguidance import LLTokenizer, TokenizerWrapper


class Vocabulary:
    """Takes a second to make for 131,072 tokens: made once per tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` has `tokens` (bytes), `special_token_ids`, `eos_token_id` and `bos_token_id`."""
        self.tokenizer = LLTokenizer(TokenizerWrapper(tokenizer))
