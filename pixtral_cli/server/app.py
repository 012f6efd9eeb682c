"""The ASGI application: the routes over one engine. Sockets and signals are in `http.listener`, the worker process is in `supervisor`."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pixtral_cli import __version__, config, versions
from pixtral_cli.api import attachments
from pixtral_cli.api.errors import SERVER
from pixtral_cli.chat.engine import Chunk, Engine, Sampling, engine_versions
from pixtral_cli.errors import PixtralError
from pixtral_cli.images.image import Image
from pixtral_cli.server.answer_queue import AnswerQueue, AsyncAnswer, QueueFull
from pixtral_cli.server.http.access import AccessMiddleware, AccessRules
from pixtral_cli.server.http.body import BodyReader
from pixtral_cli.server.http.errors import INTERNAL_ERROR, ApiError, from_engine_error, queue_full
from pixtral_cli.server.http.streaming import ClientGone, StreamResponse, run_while_connected
from pixtral_cli.server.metrics import Metrics
from pixtral_cli.server.openai import replies
from pixtral_cli.server.openai.conversation import ImageLoader
from pixtral_cli.server.openai.openapi import description
from pixtral_cli.server.openai.requests import EngineRequest, build_engine_request, make_image_loader
from pixtral_cli.server.page import routes as pages
from pixtral_cli.server.shapes import responses, shape
from pixtral_cli.util.sanitize import visible

log = logging.getLogger("pixtral.server")

MB = 1_000_000
CLIENT_CLOSED_REQUEST = 499  # nginx's status for a client that left


@dataclass(frozen=True)
class ServiceOptions:
    """What is served, to whom, and within which limits.

    `trusted`: the only client is this machine's owner, whose requests another pixtral has checked; errors name files,
    and /v1/status answers. `window`: the context window once known; `alive`: whether the engine answers now; `deaths`:
    how often its process died. `set_keep_alive` sets the seconds of idling after which this process ends; 0 ends it as
    soon as nothing runs.
    """

    model: str
    aliases: Sequence[str] = ()
    rules: AccessRules = field(default_factory=AccessRules)
    defaults: Sampling = field(default_factory=Sampling)
    load: ImageLoader = field(default_factory=lambda: make_image_loader(urls=True))
    running: int = 1
    waiting: int = 16
    body_limit: int = 64 * MB
    bodies_limit: int = 256 * MB
    body_seconds: float = 25.0
    read_seconds: float = 30.0
    trusted: bool = False
    window: Callable[[], int | None] = lambda: None
    alive: Callable[[], bool] = lambda: True
    deaths: Callable[[], int] = lambda: 0
    status: Callable[[], dict[str, Any]] = dict
    set_keep_alive: Callable[[float], None] | None = None


def create_app(engine: Engine, service: ServiceOptions) -> Starlette:
    """The ASGI application. Once the event `app.state.ending` is set, running answers end with an error."""
    server = _Handlers(engine, service)
    routes = [
        Route("/v1/chat/completions", server.answer(shape.chat_completions), methods=["POST"]),
        Route("/v1/models", server.models),
        Route("/v1/models/{name:path}", server.model),
        Route("/v1/measure", server.measure, methods=["POST"]),
        Route("/v1/status", server.status),
        *([Route("/v1/keep_alive", server.set_keep_alive, methods=["POST"])] if service.trusted else []),
        Route("/version", server.version),
        Route("/health", server.health),
        Route("/metrics", server.show_metrics),
        Route("/openapi.json", server.openapi),
        *([] if service.trusted else [*_shape_routes(server), *pages.routes()]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(AccessMiddleware, rules=service.rules)],
        exception_handlers={
            ApiError: _send_api_error,
            PixtralError: server.handle_engine_error,
            HTTPException: _send_http_error,
            ClientGone: _send_nothing,
            ClientDisconnect: _send_nothing,
            Exception: _send_internal_error,
        },
    )
    app.router.redirect_slashes = False
    app.state.ending = server.ending
    app.state.queue = server.queue
    return app


def _shape_routes(server: "_Handlers") -> list[Route]:
    """The paths of other APIs than chat completions."""
    return [Route("/v1/responses", server.answer(responses.parse), methods=["POST"])]


class _Handlers:
    def __init__(self, engine: Engine, service: ServiceOptions) -> None:
        self._engine = engine
        self._service = service
        self._names = (service.model, *service.aliases)
        self._created = int(time.time())
        self._bodies = BodyReader(
            service.body_limit, service.body_seconds, service.bodies_limit, attachments=service.trusted
        )
        self._metrics = Metrics()
        self.queue = AnswerQueue(service.running, service.waiting)
        self.ending = asyncio.Event()

    def answer(self, parse: shape.Shape) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint that answers requests of this shape."""

        async def endpoint(request: Request) -> Response:
            status = INTERNAL_ERROR.status
            try:
                response = await self._answer(request, parse)
                status = response.status_code
            except (ClientGone, ClientDisconnect):
                status = CLIENT_CLOSED_REQUEST
                self._metrics.left()
                raise
            except ApiError as api_error:
                status = api_error.status
                raise
            finally:
                self._metrics.replied(status)
            return response

        return endpoint

    async def _answer(self, request: Request, parse: shape.Shape) -> Response:
        async with self._bodies.read(request) as (body, attached):
            shaped = await self._parsed(body, parse)
            return await run_while_connected(request.receive, self.ending, self._respond(shaped, attached))

    async def _parsed(self, body: bytearray, parse: shape.Shape) -> shape.ShapedRequest:
        shaped = await asyncio.to_thread(parse, body)
        model = shaped.chat.model
        if model is not None and model not in self._names:
            raise self._unknown(model, "model")
        return shaped

    async def _respond(self, shaped: shape.ShapedRequest, attached: memoryview) -> Response:
        """Wait for the first chunk, so that an error before it has its own HTTP status."""
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(self._admitted())
            answerable = await self._engine_request(shaped, attached)
            await resources.enter_async_context(self.queue.slot())
            answer = AsyncAnswer(self._engine, answerable.messages, answerable.sampling)
            resources.push_async_callback(answer.aclose)
            chunks = self._chunks(answer)
            first = await anext(chunks)
            reply = shaped.reply(self._service.model, answerable)
            if not answerable.stream:
                return JSONResponse(reply.whole([first, *[chunk async for chunk in chunks]]))
            objects = _stream_objects(reply, first, chunks)
            return StreamResponse(
                objects, reply.framing, reply.error, self.ending, resources.pop_all(), self._service.read_seconds,
                left=self._metrics.left, broke=self._metrics.broke,
            )  # fmt: skip
        raise AssertionError("unreachable: nothing above swallows an error")

    async def _engine_request(self, shaped: shape.ShapedRequest, attached: memoryview) -> EngineRequest:
        service = self._service

        def load(source: str) -> Image:
            if service.trusted and source.startswith(attachments.SCHEME):
                return attachments.load(source, attached)
            return service.load(source)

        try:
            return await build_engine_request(shaped.chat, service.defaults, load, trusted=service.trusted)
        except ApiError as error:
            raise shaped.renamed(error) from None

    @contextlib.asynccontextmanager
    async def _admitted(self) -> AsyncIterator[None]:
        if not self._service.alive():
            retry = {"Retry-After": "5"}
            raise ApiError(503, "The model is not ready.", SERVER, code="engine_unavailable", headers=retry)
        try:
            async with self.queue.admit():
                yield
        except QueueFull:
            rounds = self._service.waiting / self._service.running
            raise queue_full(min(60, math.ceil(self._metrics.mean_answer * rounds / 2))) from None

    async def _chunks(self, answer: AsyncAnswer) -> AsyncIterator[Chunk]:
        """The answer's chunks; its errors become ApiErrors, its usage is counted."""
        try:
            async for chunk in answer:
                if chunk.finish_reason:
                    self._metrics.answered(chunk)
                yield chunk
        except PixtralError as error:
            raise self._api_error(error) from error

    def _api_error(self, error: PixtralError) -> ApiError:
        api_error = from_engine_error(error, trusted=self._service.trusted)
        if api_error.status >= 500:
            log.error("%s", visible(error.message))
        return api_error

    async def handle_engine_error(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, PixtralError)
        return await _send_api_error(request, self._api_error(error))

    async def measure(self, request: Request) -> Response:
        async with self._bodies.read(request) as (body, attached):
            shaped = await self._parsed(body, shape.chat_completions)
            async with self._admitted():
                answerable = await self._engine_request(shaped, attached)
                cost = await asyncio.to_thread(self._engine.measure, answerable.messages)
        return JSONResponse(replies.Cost.of(cost).model_dump())

    async def models(self, request: Request) -> Response:
        return JSONResponse(replies.Models(data=self._listed()).model_dump())

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = next((model for model in self._listed() if model.id == name), None)
        if found is None:
            raise self._unknown(name, "model")
        return JSONResponse(found.model_dump())

    def _listed(self) -> list[replies.Model]:
        return replies.model_list(self._service.model, self._service.aliases, self._service.window(), self._created)

    def _unknown(self, name: str, param: str) -> ApiError:
        served = ", ".join(self._names)
        return ApiError(
            404, f"There is no model {name!r} here; there is: {served}", param=param, code="model_not_found"
        )

    async def health(self, request: Request) -> Response:
        return Response(status_code=200 if self._service.alive() else 503)

    async def status(self, request: Request) -> Response:
        if not self._service.trusted:
            raise ApiError(404, "Not Found", code="not_found")
        idle = 0.0 if self.queue.pending else time.monotonic() - self.queue.idle_since
        return JSONResponse({**self._service.status(), "inside": self.queue.pending, "idle": idle})

    async def set_keep_alive(self, request: Request) -> Response:
        try:
            seconds = float((await request.json())["seconds"])
        except (ValueError, TypeError, KeyError) as error:
            raise ApiError(400, "seconds must be a number", param="seconds") from error
        if self._service.set_keep_alive is None or not 0 <= seconds <= 10**10:
            raise ApiError(400, "This process ends with its owner", param="seconds")
        self._service.set_keep_alive(seconds)
        return JSONResponse({"keep_alive": seconds})

    async def version(self, request: Request) -> Response:
        found = {"version": __version__, **versions.local_versions()}
        with contextlib.suppress(PixtralError):  # a worker that is down is left out
            found |= await asyncio.to_thread(engine_versions, self._engine)
        return JSONResponse(found)

    async def show_metrics(self, request: Request) -> Response:
        waiting = self.queue.pending - self.queue.running
        text = self._metrics.text(
            up=self._service.alive(), deaths=self._service.deaths(), running=self.queue.running, waiting=waiting
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        return JSONResponse(description())


async def _stream_objects(
    reply: shape.Reply, chunk: Chunk, chunks: AsyncIterator[Chunk]
) -> AsyncIterator[dict[str, Any]]:
    for value in (*reply.begin(), *reply.piece(chunk)):
        yield value
    async for chunk in chunks:
        for value in reply.piece(chunk):
            yield value


async def _send_api_error(request: Request, api_error: Exception) -> Response:
    assert isinstance(api_error, ApiError)
    return JSONResponse(api_error.body, api_error.status, dict(api_error.headers))


async def _send_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if error.status_code == 404:
        known = ", ".join(
            route.path for route in request.app.routes if isinstance(route, Route) and "{" not in route.path
        )
        detail = f"There is no {request.url.path[:100]!r} here; there are: {known}"
    api_error = ApiError(error.status_code, detail, code=error.detail.lower().replace(" ", "_"))
    return JSONResponse(api_error.body, api_error.status, error.headers)


async def _send_nothing(request: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_CLOSED_REQUEST)


async def _send_internal_error(request: Request, error: Exception) -> Response:
    log.error("An error in pixtral itself: %s", type(error).__name__, exc_info=error if config.debug() else None)
    return JSONResponse(INTERNAL_ERROR.body, INTERNAL_ERROR.status)
