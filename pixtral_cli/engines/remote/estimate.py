"""Estimates the tokens of a conversation for a remote Pixtral, with the tokenizer that mistral_common ships."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from pixtral_cli.chat.engine import Cost, ImageCost
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tools import Tool
from pixtral_cli.images.transform import PATCH, size_in_patches

TOKENIZER_FILE = "tekken_240911.json"  # of Pixtral 12B, part of mistral_common
MAX_TOKENIZED = 100_000  # characters; longer texts are estimated by their length
CHARACTERS_PER_TOKEN = 4


def estimate_cost(messages: Sequence[Message], window: int, tools: Sequence[Tool] = ()) -> Cost:
    """The cost by Pixtral's chat template: BOS, [INST] and [/INST] around each question, EOS after each answer.

    The system prompt precedes the text of the last question. Tools are JSON between two special tokens.
    """
    images = [_cost(image.size) for message in messages for image in message.images]
    turns = [message for message in messages if message.role != "system"]
    texts = [message.text for message in turns]
    if instructions := "\n\n".join(message.text for message in messages if message.role == "system"):
        texts[-1:] = ["\n\n".join([instructions, *texts[-1:]])]
    template_tokens = sum(2 if message.role == "user" else 1 for message in turns)
    tokens = 1 + sum(map(_count, texts)) + template_tokens + sum(image.tokens for image in images)
    if tools:
        definitions = [{"type": "function", "function": asdict(tool)} for tool in tools]
        tokens += _count(json.dumps(definitions, ensure_ascii=False)) + 2
    return Cost(tokens, window, tuple(images))


def _cost(size: tuple[int, int]) -> ImageCost:
    width, height = size_in_patches(size)
    return ImageCost(width, height, (width // PATCH + 1) * (height // PATCH))


def _count(text: str) -> int:
    return (
        len(text) // CHARACTERS_PER_TOKEN
        if len(text) > MAX_TOKENIZED
        else len(_tokenizer().encode(text, bos=False, eos=False))
    )


@cache
def _tokenizer() -> Any:
    import mistral_common
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    return Tekkenizer.from_file(Path(mistral_common.__file__).parent / "data" / TOKENIZER_FILE)
