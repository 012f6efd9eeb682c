"""The ASGI application: the routes over one engine. Sockets and signals are in `http.listener`, the worker process is in `supervisor`."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pixtral_cli import __version__, versions
from pixtral_cli.api import attachments
from pixtral_cli.api.errors import SERVER
from pixtral_cli.chat.engine import Chunk, Cost, Engine, Sampling, engine_versions
from pixtral_cli.errors import PixtralError
from pixtral_cli.images.image import Image
from pixtral_cli.server import error_handlers
from pixtral_cli.server.answer_queue import AnswerQueue, AsyncAnswer, QueueFull
from pixtral_cli.server.http.access import AccessMiddleware, AccessRules
from pixtral_cli.server.http.body import BodyReader
from pixtral_cli.server.http.errors import INTERNAL_ERROR, ApiError, from_engine_error, queue_full
from pixtral_cli.server.http.request_id import RequestIdMiddleware
from pixtral_cli.server.http.streaming import ClientGone, StreamResponse, run_while_connected
from pixtral_cli.server.metrics import Metrics
from pixtral_cli.server.openai import la_plateforme, replies
from pixtral_cli.server.openai.conversation import ImageLoader
from pixtral_cli.server.openai.openapi import description
from pixtral_cli.server.openai.requests import EngineRequest, build_engine_request, make_image_loader
from pixtral_cli.server.page import routes as pages
from pixtral_cli.server.shapes import routes as shapes
from pixtral_cli.server.shapes import shape
from pixtral_cli.server.shapes.anthropic import models as anthropic_models
from pixtral_cli.util.sanitize import visible

log = logging.getLogger("pixtral.server")

MB = 1_000_000


@dataclass(frozen=True)
class ServiceOptions:
    """The served model, the access rules, and the limits.

    `trusted`: the only client is this machine's owner, whose requests another pixtral has checked; errors name files,
    and /v1/status answers. `window`: the context window once known; `alive`: whether the engine answers now; `deaths`:
    how often its process died; `size`: of the weights in bytes. `set_keep_alive` sets the seconds of idling after which
    this process ends; 0 ends it as soon as nothing runs. `caches`: the bytes that each of its caches holds and may hold.
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
    replicas: Callable[[], list[dict[str, Any]]] = list
    status: Callable[[], dict[str, Any]] = dict
    set_keep_alive: Callable[[float], None] | None = None
    size: int = 0
    caches: Callable[[], Mapping[str, Sequence[int]]] = dict


def create_app(engine: Engine, service: ServiceOptions) -> Starlette:
    """The ASGI application. Once the event `app.state.ending` is set, running answers end with an error."""
    server = _Handlers(engine, service)
    routes = [
        Route("/v1/chat/completions", server.answer(shape.chat_completions), methods=["POST"]),
        Route("/v1/models", server.models),
        Route("/v1/models/{name:path}", server.model),
        Route("/v1/measure", server.measure, methods=["POST"]),
        *(_worker_routes(server) if service.trusted else []),
        Route("/version", server.version),
        Route("/health", server.health),
        Route("/metrics", server.show_metrics),
        Route("/openapi.json", server.openapi),
        *([] if service.trusted else [*shapes.routes(server), *pages.routes()]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(RequestIdMiddleware), Middleware(AccessMiddleware, rules=service.rules)],
        exception_handlers={
            ApiError: error_handlers.send_api_error,
            PixtralError: server.handle_engine_error,
            HTTPException: error_handlers.send_http_error,
            ClientGone: error_handlers.send_nothing,
            ClientDisconnect: error_handlers.send_nothing,
            Exception: error_handlers.send_internal_error,
        },
    )
    app.router.redirect_slashes = False
    app.state.ending = server.ending
    app.state.queue = server.queue
    return app


def _worker_routes(server: "_Handlers") -> list[Route]:
    return [
        Route("/v1/status", server.status),
        Route("/v1/keep_alive", server.set_keep_alive, methods=["POST"]),
    ]


class _Handlers:
    def __init__(self, engine: Engine, service: ServiceOptions) -> None:
        self._engine = engine
        self._service = service
        self.names: Sequence[str] = (service.model, *service.aliases)
        self.created = int(time.time())
        self.size = service.size
        self._bodies = BodyReader(
            service.body_limit, service.body_seconds, service.bodies_limit, attachments=service.trusted
        )
        self._metrics = Metrics()
        self.queue = AnswerQueue(service.running, service.waiting)
        self.ending = asyncio.Event()

    def answer(self, parse: shape.Shape, *, any_type: bool = False) -> Callable[[Request], Awaitable[Response]]:
        """The endpoint that answers requests of this shape. `any_type`: whatever their Content-Type says."""

        async def endpoint(request: Request) -> Response:
            status = INTERNAL_ERROR.status
            try:
                response = await self._answer(request, parse, any_type=any_type)
                status = response.status_code
            except (ClientGone, ClientDisconnect):
                status = error_handlers.CLIENT_CLOSED_REQUEST
                self._metrics.left()
                raise
            except ApiError as api_error:
                status = api_error.status
                raise
            finally:
                self._metrics.replied(status)
            return response

        return endpoint

    async def _answer(self, request: Request, parse: shape.Shape, *, any_type: bool) -> Response:
        async with self._bodies.read(request, any_type=any_type) as (body, attached):
            shaped = await self._parsed(body, parse)
            return await run_while_connected(request.receive, self.ending, self._respond(shaped, attached, request))

    async def _parsed(self, body: bytearray, parse: shape.Shape) -> shape.ShapedRequest:
        shaped = await asyncio.to_thread(parse, body)
        model = shaped.chat.model
        if model is not None and model not in self.names:
            raise self.unknown(model, "model")
        return shaped

    async def _respond(self, shaped: shape.ShapedRequest, attached: memoryview, request: Request) -> Response:
        """Wait for the first chunk, so that an error before it has its own HTTP status."""
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(self._admitted())
            if shaped.unasked:
                return JSONResponse(shaped.unasked())
            answerable, *more = await self._engine_requests(shaped, attached)
            await resources.enter_async_context(self.queue.slot())
            tokens = await self._prompt_tokens(answerable) if shaped.measured else 0
            answer = self._begin(answerable)
            resources.push_async_callback(answer.aclose)
            chunks = self._and_more(self._chunks(answer), more)
            first = await anext(chunks)
            if la_plateforme.is_client(request):
                answerable = la_plateforme.with_usage(answerable)
            reply = shaped.reply(self._service.model, answerable, tokens)
            if not answerable.stream:
                return JSONResponse(reply.whole([first, *[chunk async for chunk in chunks]]))
            objects = _stream_objects(reply, first, chunks)
            return StreamResponse(
                objects, reply.framing, reply.error, self.ending, resources.pop_all(), self._service.read_seconds,
                left=self._metrics.left, broke=self._metrics.broke,
            )  # fmt: skip
        raise AssertionError("unreachable: nothing above swallows an error")

    def _begin(self, request: EngineRequest) -> AsyncAnswer:
        return AsyncAnswer(self._engine, request.messages, request.sampling, clip=not self._service.trusted)

    async def _and_more(self, chunks: AsyncIterator[Chunk], more: Sequence[EngineRequest]) -> AsyncIterator[Chunk]:
        """The chunks of an answer and of those to the requests after it, numbered on."""
        async for chunk in chunks:
            yield chunk
        for number, request in enumerate(more, 1):
            async with contextlib.aclosing(self._begin(request)) as answer:
                async for chunk in self._chunks(answer):
                    yield replace(chunk, index=number)

    async def _engine_requests(self, shaped: shape.ShapedRequest, attached: memoryview) -> list[EngineRequest]:
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
        return await error_handlers.send_api_error(request, self._api_error(error))

    async def _prompt_tokens(self, answerable: EngineRequest) -> int:
        try:
            return (await asyncio.to_thread(self._measured, answerable)).prompt_tokens
        except PixtralError as error:
            raise self._api_error(error) from error

    async def measure(self, request: Request) -> Response:
        cost = await self.measured(request, shape.chat_completions)
        return JSONResponse(replies.Cost.of(cost).model_dump())

    def window(self) -> int | None:
        return self._service.window()

    async def read(self, request: Request) -> bytearray:
        async with self._bodies.read(request, any_type=True) as (body, _):
            return body

    async def measured(self, request: Request, parse: shape.Shape) -> Cost:
        async with self._bodies.read(request) as (body, attached):
            shaped = await self._parsed(body, parse)
            async with self._admitted():
                answerable, *_ = await self._engine_requests(shaped, attached)
                return await asyncio.to_thread(self._measured, answerable)

    def _measured(self, answerable: EngineRequest) -> Cost:
        return self._engine.measure(answerable.messages, answerable.sampling.offered_tools)

    async def models(self, request: Request) -> Response:
        if anthropic_models.wants_anthropic(request):
            return JSONResponse(anthropic_models.model_list(self.names, self.created, self.window()))
        return JSONResponse(replies.Models(data=self._listed()).model_dump())

    async def model(self, request: Request) -> Response:
        name = request.path_params["name"]
        found = next((model for model in self._listed() if model.id == name), None)
        if found is None:
            raise self.unknown(name, "model")
        if anthropic_models.wants_anthropic(request):
            return JSONResponse(anthropic_models.model(name, self.created, self.window()))
        return JSONResponse(found.model_dump())

    def _listed(self) -> list[replies.Model]:
        return replies.model_list(self._service.model, self._service.aliases, self._service.window(), self.created)

    def unknown(self, name: str, param: str) -> ApiError:
        served = ", ".join(self.names)
        return ApiError(
            404, f"There is no model {name!r} here; there is: {served}", param=param, code="model_not_found"
        )

    async def health(self, request: Request) -> Response:
        status, replicas = 200 if self._service.alive() else 503, self._service.replicas()
        if not replicas:
            return Response(status_code=status)
        return JSONResponse({"replicas": len(replicas), "up": sum(one["up"] for one in replicas)}, status)

    async def status(self, request: Request) -> Response:
        idle = 0.0 if self.queue.pending else time.monotonic() - self.queue.idle_since
        return JSONResponse({**self._service.status(), "inside": self.queue.pending, "idle": idle})

    async def set_keep_alive(self, request: Request) -> Response:
        try:
            seconds = float((await request.json())["seconds"])
        except (ValueError, TypeError, KeyError) as error:
            raise ApiError(400, "seconds must be a number", param="seconds") from error
        if not 0 <= seconds <= 10**10:
            raise ApiError(400, "seconds must be from 0 to 10,000,000,000", param="seconds")
        if self._service.set_keep_alive is None:
            raise ApiError(400, "This process ends with its owner", param="seconds")
        self._service.set_keep_alive(seconds)
        return JSONResponse({"keep_alive": seconds})

    async def version(self, request: Request) -> Response:
        reported = {"version": __version__, **versions.local_versions()}
        with contextlib.suppress(PixtralError):  # a worker that is down is left out
            reported |= await asyncio.to_thread(engine_versions, self._engine)
        return JSONResponse(reported)

    async def show_metrics(self, request: Request) -> Response:
        waiting = self.queue.pending - self.queue.running
        caches = await asyncio.to_thread(self._service.caches)
        text = self._metrics.text(
            up=self._service.alive(),
            deaths=self._service.deaths(),
            running=self.queue.running,
            waiting=waiting,
            replicas=self._service.replicas(),
            caches=caches,
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
