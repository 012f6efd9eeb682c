"""The package from Python: `from pixtral_cli import Pixtral`.

Settings, models and engines are those of the command line.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypedDict, TypeVar, Unpack, overload

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Chunk, Engine, FinishReason, Timings, Usage
from pixtral_cli.chat.engine import Sampling as EngineSampling
from pixtral_cli.chat.image_refs import place_images
from pixtral_cli.chat.message import Message, Part
from pixtral_cli.errors import PixtralError, UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.util.nearest import nearest

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from pydantic import BaseModel

    M = TypeVar("M", bound=BaseModel)
else:
    M = TypeVar("M")

# A path, an http(s), data or file URL; the bytes of a file; a picture of Pillow's; an image of this package.
Picture: TypeAlias = "str | os.PathLike[str] | bytes | PillowImage | Image"
# A JSON schema, or the short form that `--schema` takes: "name, price:float".
Schema: TypeAlias = "dict[str, Any] | str"


class Sampling(TypedDict, total=False):
    """Sampling parameters; those left out are as in the settings, or as the model's vendor recommends."""

    temperature: float
    top_p: float
    top_k: int
    min_p: float
    repetition_penalty: float
    frequency_penalty: float
    presence_penalty: float
    seed: int
    stop: Sequence[str]
    max_tokens: int


class Answer(str):
    """An answer's text, with its reasoning, finish reason, token counts and timings."""

    reasoning: str
    finish_reason: FinishReason
    usage: Usage
    timings: Timings

    @classmethod
    def of(cls, chunks: Sequence[Chunk]) -> "Answer":
        """The answer that these chunks make up."""
        answer = cls("".join(chunk.text for chunk in chunks))
        last = chunks[-1] if chunks else Chunk()
        answer.reasoning = "".join(chunk.reasoning for chunk in chunks)
        answer.finish_reason = last.finish_reason or "interrupted"
        answer.usage, answer.timings = last.usage or Usage(), last.timings or Timings()
        return answer


class Stream(Iterator[str]):
    """The text of an answer, piece by piece. `answer`: what has arrived so far. Closing the stream cancels the answer."""

    def __init__(self, chunks: Generator[Chunk, None, None]) -> None:
        self._chunks = chunks
        self._received: list[Chunk] = []

    def __next__(self) -> str:
        while True:
            chunk = next(self._chunks)
            self._received.append(chunk)
            if chunk.text:
                return chunk.text

    @property
    def answer(self) -> Answer:
        return Answer.of(self._received)

    def close(self) -> None:
        self._chunks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Asker:
    """The methods that `Chat` and `Pixtral` share."""

    def _chat(self) -> "Chat":
        """The conversation in which the next question is asked."""
        raise NotImplementedError

    @overload
    def ask(self, question: str, images: Sequence[Picture] = (), **sampling: Unpack[Sampling]) -> Answer: ...
    @overload
    def ask(
        self, question: str, images: Sequence[Picture] = (), *, schema: type[M], **sampling: Unpack[Sampling]
    ) -> M: ...
    @overload
    def ask(
        self, question: str, images: Sequence[Picture] = (), *, schema: Schema, **sampling: Unpack[Sampling]
    ) -> Any: ...
    def ask(
        self,
        question: str,
        images: Sequence[Picture] = (),
        *,
        schema: "type[BaseModel] | Schema | None" = None,
        **sampling: Unpack[Sampling],
    ) -> Any:
        """The whole answer.

        With `schema` the answer is JSON of it, returned parsed: an instance of the pydantic class, or the value. `{1}`,
        `{2}` in the question place the images; without them they come first. Raises PixtralError.
        """
        json_schema = None if schema is None else _json_schema(schema)
        chat = self._chat()
        chosen = chat._owner._sampling(sampling, json_schema)
        with closing(chat._ask(question, images, chosen)) as chunks:
            answer = Answer.of(list(chunks))
        if schema is None or json_schema is None:
            return answer
        from pixtral_cli.structured.schema import validate

        value = validate(answer, json_schema, truncated=answer.finish_reason == "length")
        return value if isinstance(schema, dict | str) else schema.model_validate(value)

    def stream(self, question: str, images: Sequence[Picture] = (), **sampling: Unpack[Sampling]) -> Stream:
        """The answer piece by piece. Iterating raises PixtralError."""
        chat = self._chat()
        return Stream(chat._ask(question, images, chat._owner._sampling(sampling, None)))


class Chat(_Asker):
    """A conversation: every question is asked after the earlier messages. `messages`: all messages so far."""

    def __init__(self, owner: "Pixtral", system: str | None) -> None:
        self._owner = owner
        self._conversation = Conversation(system)

    @property
    def messages(self) -> tuple[Message, ...]:
        return self._conversation.messages

    def _chat(self) -> "Chat":
        return self

    def _ask(self, question: str, images: Sequence[Picture], sampling: EngineSampling) -> Generator[Chunk, None, None]:
        self._owner._check_open()
        if not isinstance(question, str):
            raise UsageError(f"A question is a text, not {type(question).__name__}")
        if not question.strip():
            raise UsageError("There is no question", 'For example: "What is this?"')
        loaded = [self._owner._load(picture) for picture in _as_sequence(images)]
        return self._chunks(place_images(question, loaded), sampling)

    def _chunks(self, parts: Sequence[Part], sampling: EngineSampling) -> Generator[Chunk, None, None]:
        self._owner._check_open()
        try:
            yield from self._conversation.ask(self._owner._engine, parts, sampling=sampling)
        except (RuntimeError, PixtralError):  # the client may have been closed meanwhile
            self._owner._check_open()
            raise


class Pixtral(_Asker):
    """A vision model that answers: `Pixtral("demo").ask("What is this?", images=["a.png"])`.

    `model`: a name, a repository or a folder, as for `pixtral ask`; None for that of the settings. The weights are
    loaded at the first question and kept until `close`; `keep_alive` ("10m") keeps them in a process that outlives this
    one. `base_url`: a server that answers instead. `allow_private`: images may be fetched from private addresses.
    Questions of `ask` and `stream` have no history; `chat` begins a conversation. May be used from several threads.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        system: str | None = None,
        base_url: str | None = None,
        engine: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
        quantize: str | None = None,
        keep_alive: str | None = None,
        offline: bool | None = None,
        allow_private: bool = False,
    ) -> None:
        from pixtral_cli import config
        from pixtral_cli.cli.common import engine_setup

        settings = config.load().override(
            base_url=base_url, engine=engine, device=device, dtype=dtype, quantize=quantize, keep_alive=keep_alive,
            offline=offline, system=system,
        )  # fmt: skip
        engine_setup.check_keep_alive(settings)
        chosen, settings = engine_setup.choose_engine(model, settings, lambda line: None)
        self.name = chosen.name
        self._system = settings.system
        self._defaults = engine_setup.sampling(settings, chosen.name)
        self._allow_private = allow_private
        self._engine: Engine = chosen.open()
        self._closed = False

    def chat(self, system: str | None = None) -> Chat:
        """A new conversation, with this system prompt or, for None, that of this object."""
        return Chat(self, self._system if system is None else system)

    def _chat(self) -> Chat:
        return self.chat()

    def close(self) -> None:
        """Release the weights. Later questions raise UsageError."""
        self._closed = True
        self._engine.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"This Pixtral ({self.name}) is closed", "Make another one, or close it later")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _sampling(self, given: Sampling, schema: dict[str, Any] | None) -> EngineSampling:
        fields: dict[str, Any] = {**given, "schema": schema}
        if unknown := set(given) - Sampling.__optional_keys__:
            near = nearest(min(unknown), [*Sampling.__optional_keys__, "images", "schema"])
            meant = f"Did you mean {near}? " if near else ""
            raise UsageError(f"There is no sampling option {min(unknown)!r}", f"{meant}There are: {_parameter_names()}")
        if "stop" in given:
            stop = given["stop"]
            if not isinstance(stop, str | list | tuple):
                raise UsageError(f"stop is a text or a list of texts, not {type(stop).__name__}")
            fields["stop"] = (stop,) if isinstance(stop, str) else tuple(stop)
        return replace(self._defaults, **fields)

    def _load(self, picture: Picture) -> Image:
        from pixtral_cli import images

        if isinstance(picture, Image):
            return picture
        if isinstance(picture, bytes):
            return images.from_bytes(picture, "bytes", all_formats=True)
        if isinstance(picture, str | os.PathLike):
            return images.load(os.fspath(picture), allow_private=self._allow_private, all_formats=True)
        if not hasattr(picture, "save"):
            raise UsageError(f"An image is a path, a URL, bytes or a Pillow image, not {type(picture).__name__}")
        return images.from_bytes(_png(picture), "picture")


PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")


def _parameter_names() -> str:
    return ", ".join(sorted(Sampling.__optional_keys__))


def _as_sequence(images: Sequence[Picture]) -> Sequence[Picture]:
    """The images as a sequence; a single image may be passed without one."""
    return images if isinstance(images, list | tuple) else [images]  # type: ignore[list-item]


def _json_schema(schema: "type[BaseModel] | Schema") -> dict[str, Any]:
    from pixtral_cli.structured.schema import parse
    from pixtral_cli.structured.schema_check import check

    if isinstance(schema, str):
        return parse(schema)
    if isinstance(schema, dict):
        return check(schema)
    if not hasattr(schema, "model_json_schema"):
        raise UsageError(f"A schema is a pydantic class, a JSON schema or its short form, not {type(schema).__name__}")
    return check(schema.model_json_schema())


def _png(picture: "PillowImage") -> bytes:
    import io

    file = io.BytesIO()
    picture = picture if picture.mode in PNG_MODES else picture.convert("RGB")
    picture.save(file, "PNG")
    return file.getvalue()
