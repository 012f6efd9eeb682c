"""About how many tokens a conversation costs a Pixtral that is elsewhere: by its public tokenizer, without its checkpoint."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pixtral_cli.chat.engine import Cost, ImageCost
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.exchange import PATCH, seen

TOKENIZER = "tekken_240911.json"  # Pixtral 12B's, which comes with mistral_common
LONG = 100_000  # characters beyond which text is not tokenised but reckoned
CHARACTERS = 4  # a token, about


def estimate(messages: Sequence[Message], window: int) -> Cost:
    """Prompt tokens by the chat template: a beginning, brackets around each question, an end after each answer."""
    images = [_cost(image.size) for message in messages for image in message.images]
    texts = sum(_count(message.text) for message in messages)
    brackets = {"user": 2, "assistant": 1, "system": 1}  # a system prompt is parted from the question by an empty line
    around = sum(brackets[message.role] for message in messages)
    return Cost(1 + texts + around + sum(image.tokens for image in images), window, tuple(images))


def _cost(size: tuple[int, int]) -> ImageCost:
    width, height = seen(size)
    return ImageCost(width, height, (width // PATCH + 1) * (height // PATCH))


def _count(text: str) -> int:
    return len(text) // CHARACTERS if len(text) > LONG else len(_tokenizer().encode(text, bos=False, eos=False))


@cache
def _tokenizer() -> Any:
    import mistral_common
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    return Tekkenizer.from_file(Path(mistral_common.__file__).parent / "data" / TOKENIZER)
