"""The engine behind a chat completions API: La Plateforme, vLLM, a resident process.

HTTP is in `client`, JSON in `wire_format`.
"""

import contextlib
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pixtral_cli.api.attachments import Attachments
from pixtral_cli.chat.engine import Chunk, Cost, ImageCost, Sampling, Timings, Usage
from pixtral_cli.chat.message import Message
from pixtral_cli.chat.tools import Tool
from pixtral_cli.engines.remote import keys, wire_format
from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.remote.errors import (
    LOGIN_HINT,
    Endpoint,
    Refused,
    Unreachable,
    error_details,
    error_from_status,
    parse_endpoint,
)
from pixtral_cli.errors import ModelError, NetworkError, PixtralError, UsageError
from pixtral_cli.images.image import Image

LA_PLATEFORME = "https://api.mistral.ai/v1"
DEFAULT_WINDOW = 128_000
MAX_ANSWER = 8_000_000  # characters; more than any context window holds
MODELS_LISTED = 5  # models that an error names
MAX_VERSIONS, VERSION_TIMEOUT = 30, 10.0  # versions read from a server, and seconds to wait for them


def connect(base_url: str | None, model: str | None, keys_file: Path) -> "RemoteEngine":
    """The engine for a URL, by default La Plateforme's, with its key from the environment or the file.

    Makes no request. Raises UsageError for a URL that is not valid, NetworkError when La Plateforme's key is missing.
    """
    endpoint = parse_endpoint(base_url or LA_PLATEFORME)
    if endpoint.is_la_plateforme and not endpoint.is_secure:
        raise UsageError(f"{endpoint.host} would get the API key in clear text", "Use https://")
    endpoint = replace(endpoint, key=keys.find(endpoint.base_url, keys_file))
    if endpoint.is_la_plateforme and not endpoint.key:
        raise Refused("There is no API key for La Plateforme", LOGIN_HINT)
    return RemoteEngine(ApiClient(endpoint), model)


class RemoteEngine:
    """Answers over HTTP.

    Without a `model` the first vision model of the server is used, looked up when it is first needed.
    `sends_attachments`: the server is one of our workers, which takes the bytes of checked images as attachments; other
    servers get images as data URLs, upright and at the model's resolution.
    """

    def __init__(self, client: ApiClient, model: str | None = None, *, sends_attachments: bool = False) -> None:
        self._client = client
        self._model = model
        self._sends_attachments = sends_attachments
        self._urls: dict[str, str] = {}  # data URLs of the images of the last conversation, by key
        self._can_measure = not client.server.is_la_plateforme

    @property
    def server(self) -> Endpoint:
        return self._client.server

    @cached_property
    def model(self) -> str:
        """The model's name on the server. Raises ModelError when the server lists no vision model."""
        if self._model is not None:
            return self._model
        if name := next(iter(self._vision_models()), None):
            return name
        raise ModelError(f"{self._client.server.name} offers no vision model", "Name one: --model")

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> "AnswerStream":
        """See `Engine`. Closing the stream closes the connection, so that the server stops computing."""
        request = CancellableRequest()
        return AnswerStream(self._answer(messages, sampling, request), request)

    def _answer(
        self, messages: Sequence[Message], sampling: Sampling, request: CancellableRequest
    ) -> Generator[Chunk, None, None]:
        body = self._body(messages, sampling)
        started = time.monotonic()
        events = self._client.events("/chat/completions", body, request)
        with contextlib.closing(events), self._listing_models():
            yield from self._chunks(events, started, sampling.n)

    def _chunks(self, events: Iterator[Any], started: float, count: int) -> Iterator[Chunk]:
        """The chunks of `count` answers. Each answer's last chunk has its finish reason, and the last chunk of all the
        usage and timings, whichever events they came in. Raises NetworkError for an incomplete answer."""
        finals: dict[int, Chunk] = {}
        first = 0.0
        length = 0
        for event in events:
            chunk = self._read(event)
            if chunk.index >= count:
                raise self._client.malformed("sent more answers than were asked for")
            characters = (
                len(chunk.text) + len(chunk.reasoning) + sum(len(call.arguments) + 1 for call in chunk.tool_calls)
            )
            first = first or (time.monotonic() if characters else 0.0)
            length += characters
            if length > MAX_ANSWER * count:
                raise self._client.malformed("sent an answer without end")
            finals[chunk.index] = _merge(finals.get(chunk.index, Chunk(index=chunk.index)), chunk)
            piece = replace(chunk, finish_reason=None, usage=None, timings=None, stop="")
            if piece != Chunk(index=chunk.index):
                yield piece
        if len(finals) < count or any(last.finish_reason is None for last in finals.values()):
            raise NetworkError(f"{self._client.server.name} ended in the middle of the answer", "Try again")
        now = time.monotonic()
        own_timings = Timings(ttft=(first or now) - started, decode=now - (first or now), total=now - started)
        usage = next((last.usage for last in finals.values() if last.usage), Usage())
        timings = next((last.timings for last in finals.values() if last.timings), own_timings)
        *others, final = [finals[index] for index in sorted(finals)]
        yield from (replace(last, usage=None, timings=None, tool_calls=()) for last in others)
        yield replace(final, usage=usage, timings=timings, tool_calls=())

    def _read(self, event: Any) -> Chunk:
        """The chunk of an event. Raises the error of an error event, and NetworkError for a malformed one."""
        if isinstance(event, dict) and event.get("error"):
            raise error_from_status(self._client.server, 500, error_details(event))
        try:
            return wire_format.parse_event(event)
        except wire_format.MalformedEvent as error:
            raise self._client.malformed("sent something that is not an answer") from error

    @contextlib.contextmanager
    def _listing_models(self) -> Iterator[None]:
        """Adds the names of the server's models to the error about a model that it does not have."""
        try:
            yield
        except ModelError as error:
            if self._client.server.socket or error.hint == "":
                raise
            raise ModelError(error.message, self._models_hint(error.message) or error.hint) from error

    def _models_hint(self, message: str) -> str:
        """A hint with the names of the server's vision models; "" when they cannot be listed, or `message` has them."""
        try:
            names = self._vision_models()
        except PixtralError:
            return ""
        if names and all(name in message for name in names):
            return "Name one of them: --model"
        more = f" and {len(names) - MODELS_LISTED} more" if len(names) > MODELS_LISTED else ""
        return f"It offers: {', '.join(names[:MODELS_LISTED])}{more}" if names else ""

    def _vision_models(self) -> list[str]:
        """The names of the vision models; of all models where the server does not list capabilities."""
        listed = self._client.get("/models")
        entries = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(entries, list):
            raise self._client.malformed("lists no models")
        named = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
        described = [entry for entry in named if isinstance(entry.get("capabilities"), dict)]
        vision = [entry for entry in described if entry["capabilities"].get("vision") and not entry.get("deprecation")]
        return list(dict.fromkeys(entry["id"][:100] for entry in (vision if described else named)))

    def measure(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Cost:
        """See `Engine`. Measured by a pixtral server; for other servers estimated with Pixtral's tokenizer."""
        if self._can_measure:
            try:
                return self._measured(messages, tools)
            except (ModelError, NetworkError) as error:
                if self._client.server.socket:
                    raise
                self._can_measure = not isinstance(error, ModelError)
        from pixtral_cli.engines.remote.estimate import estimate_cost

        return estimate_cost(messages, DEFAULT_WINDOW, tools)

    def _measured(self, messages: Sequence[Message], tools: Sequence[Tool]) -> Cost:
        cost = self._client.post("/measure", self._body(messages, Sampling(tools=tuple(tools))))
        try:
            images = tuple(
                ImageCost(int(image["width"]), int(image["height"]), int(image["tokens"])) for image in cost["images"]
            )
            return Cost(int(cost["prompt_tokens"]), int(cost["context_window"]), images)
        except (KeyError, TypeError, ValueError) as error:
            raise self._client.malformed("sent a measurement in an unknown form") from error

    def versions(self) -> dict[str, str]:
        """The versions at /version, which vLLM and pixtral report; empty for other servers. Raises Unreachable."""
        if self._client.server.is_la_plateforme:
            return {}
        with contextlib.closing(ApiClient(self._client.server, read_timeout=VERSION_TIMEOUT)) as client:
            try:
                reported = client.get_from_root("/version")
            except Unreachable:
                raise
            except PixtralError:
                return {}
        entries = reported.items() if isinstance(reported, dict) else ()
        return {name[:50]: value[:200] for name, value in list(entries)[:MAX_VERSIONS] if isinstance(value, str)}

    def _body(self, messages: Sequence[Message], sampling: Sampling) -> Any:
        """The body of a request, in the form that `ApiClient.post` takes."""
        if self._sends_attachments:
            attachments = Attachments()
            return attachments.body(wire_format.build_request(self.model, messages, sampling, attachments.url))
        mistral = self._client.server.is_la_plateforme
        body = wire_format.build_request(self.model, messages, sampling, self._url, mistral=mistral)
        self._drop_other_images(messages)
        return body

    def _url(self, image: Image) -> str:
        url = self._urls.get(image.key)
        if url is None:
            url = self._urls[image.key] = self._encode(image)
        return url

    def _encode(self, image: Image) -> str:
        """The data URL of an image for this server."""
        return wire_format.encode_resized(image)

    def _drop_other_images(self, messages: Sequence[Message]) -> None:
        """Keep the encoded images of this conversation only."""
        keys = {image.key for message in messages for image in message.images}
        self._urls = {key: url for key, url in list(self._urls.items()) if key in keys}

    def close(self) -> None:
        self._client.close()


def _merge(last: Chunk, chunk: Chunk) -> Chunk:
    """The final chunk of an answer so far. Servers report "stop" after a call that was required by name."""
    reason = chunk.finish_reason or last.finish_reason
    calling = bool(chunk.tool_calls or last.tool_calls)
    if reason == "stop" and calling:
        reason = "tool_calls"
    return Chunk(
        tool_calls=(chunk.tool_calls or last.tool_calls)[:1],
        index=last.index,
        finish_reason=reason,
        usage=chunk.usage or last.usage,
        timings=chunk.timings or last.timings,
        stop=chunk.stop or last.stop,
    )


class AnswerStream(Iterator[Chunk]):
    """The chunks of one answer. Any thread may call `close`, also while another thread iterates."""

    def __init__(self, chunks: Generator[Chunk, None, None], request: CancellableRequest) -> None:
        self._chunks = chunks
        self._request = request

    def __next__(self) -> Chunk:
        try:
            return next(self._chunks)
        except NetworkError:
            if self._request.cancelled.is_set():
                raise StopIteration from None
            raise

    def close(self) -> None:
        """End the answer; a thread that waits for its next chunk gets StopIteration."""
        self._request.cancel()
        try:
            self._chunks.close()
        except ValueError:  # it is running in another thread
            return
