"""An engine behind a chat completions API: La Plateforme, vLLM, a resident process. Leaves HTTP to `link`, JSON to `exchange`."""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pixtral_cli.chat.engine import Chunk, Cost, ImageCost, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.engines.remote import keys, wire_format
from pixtral_cli.engines.remote.client import ApiClient, Cancellation
from pixtral_cli.engines.remote.errors import (
    LOGIN_HINT,
    Endpoint,
    Refused,
    Unreachable,
    error_details,
    error_from_status,
    parse_endpoint,
)
from pixtral_cli.errors import ModelError, NetworkError, PixtralError
from pixtral_cli.images.image import Image

LA_PLATEFORME = "https://api.mistral.ai/v1"
DEFAULT_WINDOW = 128_000
MAX_ANSWER = 8_000_000  # characters, far beyond any context window
MODELS_LISTED = 5  # names that an error lists
MAX_VERSIONS, VERSION_TIMEOUT = 30, 10.0  # versions that are taken from a server, and seconds in which it tells them


def connect(base_url: str | None, model: str | None, keys_file: Path) -> "RemoteEngine":
    """The engine at a URL, or La Plateforme's, with the key that the environment or the file has for it.

    Asks the network nothing. Raises UsageError for what is no URL and NetworkError when La Plateforme's key is missing.
    """
    to = parse_endpoint(base_url or LA_PLATEFORME)
    to = replace(to, key=keys.find(to.host, keys_file))
    if to.mistral and not to.key:
        raise Refused("There is no API key for La Plateforme", LOGIN_HINT)
    return RemoteEngine(ApiClient(to), model)


class RemoteEngine:
    """Answers over HTTP. Construction asks nothing; without a `model` the server's first that sees is used.

    `originals`: send images as they are, to a server of our own; otherwise upright, and no larger than they are seen.
    """

    def __init__(self, link: ApiClient, model: str | None = None, *, originals: bool = False) -> None:
        self._link = link
        self._model = model
        self._encode = wire_format.encode_original if originals else wire_format.encode_resized
        self._urls: dict[str, str] = {}  # of the images of the last conversation
        self._measures = not link.server.mistral

    @property
    def server(self) -> Endpoint:
        return self._link.server

    @cached_property
    def model(self) -> str:
        """The model's name at the server. Raises ModelError when it offers none that sees."""
        if self._model is not None:
            return self._model
        if found := next(iter(self._offered()), None):
            return found
        raise ModelError(f"{self._link.server.name} offers no vision model", "Name one: --model")

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> "AnswerStream":
        """See `Engine`. Closing the answer closes the connection, and the far side stops computing."""
        cut = Cancellation()
        return AnswerStream(self._answer(messages, sampling, cut), cut)

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, cut: Cancellation
    ) -> Generator[Chunk, None, None]:
        mistral = self._link.server.mistral
        body = wire_format.build_request(self.model, messages, sampling, self._url, mistral=mistral)
        self._forget(messages)
        started = time.monotonic()
        events = self._link.events("/chat/completions", body, cut)
        with contextlib.closing(events), self._naming_models():
            yield from self._chunks(events, started)

    def _chunks(self, events: Iterator[Any], started: float) -> Iterator[Chunk]:
        """The answer's chunks; the last carries the reason, usage and timings, wherever the server put them."""
        last = Chunk()
        first = 0.0
        length = 0
        for event in events:
            chunk = self._read(event)
            first = first or (time.monotonic() if chunk.text else 0.0)
            length += len(chunk.text)
            if length > MAX_ANSWER:
                raise self._link.broken("sent an answer without end")
            last = _merge(last, chunk)
            if chunk.text:
                yield Chunk(chunk.text)
        if last.finish_reason is None:
            raise NetworkError(f"{self._link.server.name} broke off in the middle of the answer", "Try again")
        now = time.monotonic()
        ours = Timings(ttft=(first or now) - started, decode=now - (first or now), total=now - started)
        yield replace(last, usage=last.usage or Usage(), timings=last.timings or ours)

    def _read(self, event: Any) -> Chunk:
        if isinstance(event, dict) and event.get("error"):
            raise error_from_status(self._link.server, 500, error_details(event))
        try:
            return wire_format.parse_event(event)
        except wire_format.MalformedEvent as error:
            raise self._link.broken("sent something that is no answer") from error

    @contextlib.contextmanager
    def _naming_models(self) -> Iterator[None]:
        """When there is no such model, say which there are."""
        try:
            yield
        except ModelError as error:
            if self._link.server.socket or error.hint == "":
                raise
            raise ModelError(error.message, self._offer() or error.hint) from error

    def _offer(self) -> str:
        try:
            names = self._offered()
        except PixtralError:
            return ""
        more = f" and {len(names) - MODELS_LISTED} more" if len(names) > MODELS_LISTED else ""
        return f"It offers: {', '.join(names[:MODELS_LISTED])}{more}" if names else ""

    def _offered(self) -> list[str]:
        """The names of the models that see; of all, where the server says nothing of seeing."""
        listed = self._link.get("/models")
        entries = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise self._link.broken("lists no models")
        named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        telling = [entry for entry in named if isinstance(entry.get("capabilities"), dict)]
        seeing = [entry for entry in telling if entry["capabilities"].get("vision") and not entry.get("deprecation")]
        return list(dict.fromkeys(entry["id"][:100] for entry in (seeing if telling else named)))

    def measure(self, messages: Sequence[Message]) -> Cost:
        """See `Engine`. A server of ours counts; for another the count is an estimate with Pixtral's own tokenizer."""
        if self._measures:
            try:
                return self._measured(messages)
            except (ModelError, NetworkError) as error:
                if self._link.server.socket:
                    raise
                self._measures = not isinstance(error, ModelError)
        from pixtral_cli.engines.remote.estimate import estimate_cost

        return estimate_cost(messages, DEFAULT_WINDOW)

    def _measured(self, messages: Sequence[Message]) -> Cost:
        body = wire_format.build_request(self.model, messages, Sampling(), self._url)
        self._forget(messages)
        cost = self._link.post("/measure", {"model": self.model, "messages": body["messages"]})
        try:
            images = tuple(
                ImageCost(int(one["width"]), int(one["height"]), int(one["tokens"])) for one in cost["images"]
            )
            return Cost(int(cost["prompt_tokens"]), int(cost["context_window"]), images)
        except (KeyError, TypeError, ValueError) as error:
            raise self._link.broken("measures in a way of its own") from error

    def versions(self) -> dict[str, str]:
        """What the server says it runs, as vLLM and ours do; nothing where it does not say. Raises Unreachable."""
        if self._link.server.mistral:
            return {}
        with contextlib.closing(ApiClient(self._link.server, patience=VERSION_TIMEOUT)) as asked:
            try:
                said = asked.outside("/version")
            except Unreachable:
                raise
            except PixtralError:
                return {}
        told = said.items() if isinstance(said, dict) else ()
        return {name[:50]: value[:200] for name, value in list(told)[:MAX_VERSIONS] if isinstance(value, str)}

    def _url(self, image: Image) -> str:
        url = self._urls.get(image.key)
        if url is None:
            url = self._urls[image.key] = self._encode(image)
        return url

    def _forget(self, messages: Sequence[Message]) -> None:
        """Keep the encoded images of this conversation only."""
        wanted = {image.key for message in messages for image in message.images}
        self._urls = {key: url for key, url in list(self._urls.items()) if key in wanted}

    def close(self) -> None:
        self._link.close()


def _merge(last: Chunk, chunk: Chunk) -> Chunk:
    return Chunk(
        finish_reason=chunk.finish_reason or last.finish_reason,
        usage=chunk.usage or last.usage,
        timings=chunk.timings or last.timings,
    )


class AnswerStream(Iterator[Chunk]):
    """The chunks of one answer. `close` may be called from any thread: also one that is not pulling the answer."""

    def __init__(self, chunks: Generator[Chunk, None, None], cut: Cancellation) -> None:
        self._chunks = chunks
        self._cut = cut

    def __next__(self) -> Chunk:
        try:
            return next(self._chunks)
        except NetworkError:
            if self._cut.done.is_set():
                raise StopIteration from None
            raise

    def close(self) -> None:
        """End the answer here; another thread that waits for its next chunk finds it ended."""
        self._cut.cut()
        try:
            self._chunks.close()
        except ValueError:  # it is running in another thread
            return
