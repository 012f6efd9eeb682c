"""A conversation as mistral_common encodes it, for programs that take tokens and pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mistral_common.protocol.instruct.chunk import ImageChunk, TextChunk
from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from PIL.Image import Image


class Encoded:
    """Its messages so far."""

    def __init__(self, folder: Path) -> None:
        self._tokenizer = MistralTokenizer.from_file(str(folder / "tekken.json"))
        self._messages: list[Any] = []

    def begin(self) -> None:
        self._messages = []

    def alone(self, text: str, tokens: int) -> int:
        raise NotImplementedError("several questions at a time are not asked of it")

    def encode(self, text: str, images: Sequence[Image]) -> Any:
        """The tokens and pictures of the whole conversation with one more question."""
        content: list[Any] = [*(ImageChunk(image=image) for image in images), TextChunk(text=text)]
        self._messages.append(UserMessage(content=content))
        return self._tokenizer.encode_chat_completion(ChatCompletionRequest(messages=self._messages))

    def answered(self, tokens: list[int]) -> None:
        self._messages.append(AssistantMessage(content=self._tokenizer.decode(tokens) or "."))
