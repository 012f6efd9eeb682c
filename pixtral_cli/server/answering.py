"""Answers requests by the engine: reads and parses them, queues them, and sends replies or streams."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from pixtral_cli.api import attachments
from pixtral_cli.api.errors import SERVER
from pixtral_cli.chat.engine import Chunk, Cost, Engine
from pixtral_cli.errors import PixtralError
from pixtral_cli.images.image import Image
from pixtral_cli.server import error_handlers
from pixtral_cli.server.answer_queue import AnswerQueue, AsyncAnswer, QueueFull
from pixtral_cli.server.http.body import BodyReader
from pixtral_cli.server.http.errors import INTERNAL_ERROR, ApiError, from_engine_error, queue_full
from pixtral_cli.server.http.streaming import ClientDisconnected, StreamResponse, run_while_connected
from pixtral_cli.server.metrics import Metrics
from pixtral_cli.server.openai import la_plateforme
from pixtral_cli.server.openai.requests import EngineRequest, build_engine_request
from pixtral_cli.server.service import ServiceOptions
from pixtral_cli.server.shapes import shape
from pixtral_cli.util.sanitize import visible

log = logging.getLogger("pixtral.server")


class AnswerEndpoints:
    """The endpoints that answer conversations and count tokens, for every API; see `shapes.routes.Server`.

    `ending` is set when the server shuts down: running answers then end with an error.
    """

    def __init__(self, engine: Engine, service: ServiceOptions) -> None:
        self._engine = engine
        self._service = service
        self.names: Sequence[str] = (service.model, *service.aliases)
        self.created = int(time.time())
        self.size = service.size
        self._bodies = BodyReader(
            service.body_limit, service.body_seconds, service.bodies_limit, attachments=service.trusted
        )
        self.metrics = Metrics()
        self.queue = AnswerQueue(service.running, service.waiting)
        self.ending = asyncio.Event()

    def answer_endpoint(
        self, parse: shape.Shape, *, any_type: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """See `shapes.routes.Server`."""

        async def endpoint(request: Request) -> Response:
            status = INTERNAL_ERROR.status
            try:
                response = await self._answer(request, parse, any_type=any_type)
                status = response.status_code
            except (ClientDisconnected, ClientDisconnect):
                status = error_handlers.CLIENT_CLOSED_REQUEST
                self.metrics.client_disconnected()
                raise
            except ApiError as api_error:
                status = api_error.status
                raise
            finally:
                self.metrics.count_reply(status)
            return response

        return endpoint

    async def _answer(self, request: Request, parse: shape.Shape, *, any_type: bool) -> Response:
        async with self._bodies.read(request, any_type=any_type) as (body, attached):
            shaped = await self._parse(body, parse)
            return await run_while_connected(request.receive, self.ending, self._respond(shaped, attached, request))

    async def _parse(self, body: bytearray, parse: shape.Shape) -> shape.ShapedRequest:
        """The request in a body. Raises ApiError for an invalid one and for a model that is not served."""
        shaped = await asyncio.to_thread(parse, body)
        model = shaped.chat.model
        if model is not None and model not in self.names:
            raise self.unknown_model(model, "model")
        return shaped

    async def _respond(self, shaped: shape.ShapedRequest, attached: memoryview, request: Request) -> Response:
        """The reply; it begins with the first chunk, so that an earlier error has its own HTTP status."""
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(self._admitted())
            if shaped.fixed_reply:
                return JSONResponse(shaped.fixed_reply())
            engine_request, *more = await self._engine_requests(shaped, attached)
            await resources.enter_async_context(self.queue.slot())
            tokens = await self._prompt_tokens(engine_request) if shaped.counts_prompt else 0
            answer = self._start_answer(engine_request)
            resources.push_async_callback(answer.aclose)
            chunks = self._with_further_answers(self._chunks(answer), more)
            first = await anext(chunks)
            if la_plateforme.is_client(request):
                engine_request = la_plateforme.with_usage(engine_request)
            reply = shaped.reply(self._service.model, engine_request, tokens)
            if not engine_request.stream:
                return JSONResponse(reply.whole([first, *[chunk async for chunk in chunks]]))
            objects = _stream_objects(reply, first, chunks)
            return StreamResponse(
                objects, reply.framing, reply.error, self.ending, resources.pop_all(), self._service.read_seconds,
                on_disconnect=self.metrics.client_disconnected, on_failure=self.metrics.stream_failed,
            )  # fmt: skip
        raise AssertionError("unreachable: nothing above swallows an error")

    def _start_answer(self, request: EngineRequest) -> AsyncAnswer:
        return AsyncAnswer(self._engine, request.messages, request.sampling, clip=not self._service.trusted)

    async def _with_further_answers(
        self, chunks: AsyncIterator[Chunk], more: Sequence[EngineRequest]
    ) -> AsyncIterator[Chunk]:
        """The chunks of an answer, then those of the answers to `more`, with ascending `index`."""
        async for chunk in chunks:
            yield chunk
        for number, request in enumerate(more, 1):
            async with contextlib.aclosing(self._start_answer(request)) as answer:
                async for chunk in self._chunks(answer):
                    yield replace(chunk, index=number)

    async def _engine_requests(self, shaped: shape.ShapedRequest, attached: memoryview) -> list[EngineRequest]:
        """The requests to the engine, with their images loaded. Raises ApiError."""
        service = self._service

        def load(source: str) -> Sequence[Image]:
            if service.trusted and source.startswith(attachments.SCHEME):
                return [attachments.load(source, attached)]
            return service.load(source)

        try:
            return [
                await build_engine_request(chat, service.defaults, load, trusted=service.trusted)
                for chat in (shaped.chat, *shaped.more)
            ]
        except ApiError as error:
            raise shaped.with_sent_field(error) from None

    @contextlib.asynccontextmanager
    async def _admitted(self) -> AsyncIterator[None]:
        """A place in the queue. Raises ApiError 503 while the engine is down or the queue is full."""
        if not self._service.alive():
            retry = {"Retry-After": "5"}
            raise ApiError(503, "The model is not ready.", SERVER, code="engine_unavailable", headers=retry)
        try:
            async with self.queue.admit():
                yield
        except QueueFull:
            rounds = self._service.waiting / self._service.running
            raise queue_full(min(60, math.ceil(self.metrics.mean_answer * rounds / 2))) from None

    async def _chunks(self, answer: AsyncAnswer) -> AsyncIterator[Chunk]:
        """The answer's chunks. Errors become ApiErrors, and the usage is added to the metrics."""
        try:
            async for chunk in answer:
                if chunk.finish_reason:
                    self.metrics.count_answer(chunk)
                yield chunk
        except PixtralError as error:
            raise self._api_error(error) from error

    def _api_error(self, error: PixtralError) -> ApiError:
        api_error = from_engine_error(error, trusted=self._service.trusted)
        if api_error.status >= 500:
            log.error("%s", visible(error.message))
        return api_error

    async def handle_engine_error(self, request: Request, error: Exception) -> Response:
        """Exception handler: the reply for an engine's error."""
        assert isinstance(error, PixtralError)
        return await error_handlers.send_api_error(request, self._api_error(error))

    async def _prompt_tokens(self, engine_request: EngineRequest) -> int:
        try:
            return (await asyncio.to_thread(self._measure, engine_request)).prompt_tokens
        except PixtralError as error:
            raise self._api_error(error) from error

    def window(self) -> int | None:
        """See `shapes.routes.Server`."""
        return self._service.window()

    async def read_body(self, request: Request) -> bytearray:
        """See `shapes.routes.Server`."""
        async with self._bodies.read(request, any_type=True) as (body, _):
            return body

    async def measure_request(self, request: Request, parse: shape.Shape) -> Cost:
        """See `shapes.routes.Server`."""
        async with self._bodies.read(request) as (body, attached):
            shaped = await self._parse(body, parse)
            async with self._admitted():
                engine_request, *_ = await self._engine_requests(shaped, attached)
                return await asyncio.to_thread(self._measure, engine_request)

    def _measure(self, engine_request: EngineRequest) -> Cost:
        return self._engine.measure(engine_request.messages, engine_request.sampling.offered_tools)

    def unknown_model(self, name: str, param: str) -> ApiError:
        """See `shapes.routes.Server`."""
        served = ", ".join(self.names)
        return ApiError(
            404, f"There is no model {name!r} here; there is: {served}", param=param, code="model_not_found"
        )


async def _stream_objects(
    reply: shape.Reply, chunk: Chunk, chunks: AsyncIterator[Chunk]
) -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream, from its first chunk on."""
    for value in (*reply.begin(), *reply.piece(chunk)):
        yield value
    async for chunk in chunks:
        for value in reply.piece(chunk):
            yield value
