"""The ASGI application over one engine: its routes, and the endpoints about the server itself.

Sockets and signals are in `http.listener`, answers in `answering`, the worker process in `supervisor`.
"""

import asyncio
import contextlib
import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from pixtral_cli import __version__, versions
from pixtral_cli.chat.engine import Engine, engine_versions
from pixtral_cli.errors import PixtralError
from pixtral_cli.server import error_handlers
from pixtral_cli.server.answering import AnswerEndpoints
from pixtral_cli.server.http.access import AccessMiddleware
from pixtral_cli.server.http.errors import ApiError
from pixtral_cli.server.http.request_id import RequestIdMiddleware
from pixtral_cli.server.http.streaming import ClientDisconnected
from pixtral_cli.server.openai import reply_schema
from pixtral_cli.server.openai.openapi import description
from pixtral_cli.server.page import routes as pages
from pixtral_cli.server.service import ServiceOptions
from pixtral_cli.server.shapes import routes as shapes
from pixtral_cli.server.shapes import shape
from pixtral_cli.server.shapes.anthropic import models as anthropic_models


def create_app(engine: Engine, service: ServiceOptions) -> Starlette:
    """The ASGI application. Once the event `app.state.ending` is set, running answers end with an error.

    `app.state.queue` is its `AnswerQueue`.
    """
    answers = AnswerEndpoints(engine, service)
    status = StatusEndpoints(engine, service, answers)
    routes = [
        Route("/v1/chat/completions", answers.answer_endpoint(shape.chat_completions), methods=["POST"]),
        Route("/v1/models", status.models),
        Route("/v1/models/{name:path}", status.model),
        Route("/v1/measure", status.measure, methods=["POST"]),
        *(_worker_routes(status) if service.trusted else []),
        Route("/version", status.version),
        Route("/health", status.health),
        Route("/metrics", status.show_metrics),
        Route("/openapi.json", status.openapi),
        *([] if service.trusted else [*shapes.routes(answers), *pages.routes()]),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(RequestIdMiddleware), Middleware(AccessMiddleware, rules=service.rules)],
        exception_handlers={
            ApiError: error_handlers.send_api_error,
            PixtralError: answers.handle_engine_error,
            HTTPException: error_handlers.send_http_error,
            ClientDisconnected: error_handlers.send_nothing,
            ClientDisconnect: error_handlers.send_nothing,
            Exception: error_handlers.send_internal_error,
        },
    )
    app.router.redirect_slashes = False
    app.state.ending = answers.ending
    app.state.queue = answers.queue
    return app


def _worker_routes(status: "StatusEndpoints") -> list[Route]:
    """The routes for the process that started this one."""
    return [
        Route("/v1/status", status.status),
        Route("/v1/keep_alive", status.set_keep_alive, methods=["POST"]),
    ]


class StatusEndpoints:
    """The endpoints about the served model and the server: models, token counts, health, versions, metrics."""

    def __init__(self, engine: Engine, service: ServiceOptions, answers: AnswerEndpoints) -> None:
        self._engine = engine
        self._service = service
        self._answers = answers

    async def measure(self, request: Request) -> Response:
        """`/v1/measure`: the tokens of a conversation, without answering it."""
        cost = await self._answers.measure_request(request, shape.chat_completions)
        return JSONResponse(reply_schema.Cost.of(cost).model_dump())

    async def models(self, request: Request) -> Response:
        """`/v1/models`, in the form of OpenAI's API or Anthropic's."""
        if anthropic_models.is_anthropic_client(request):
            return JSONResponse(
                anthropic_models.model_list(self._answers.names, self._answers.created, self._service.window())
            )
        return JSONResponse(reply_schema.Models(data=self._model_list()).model_dump())

    async def model(self, request: Request) -> Response:
        """`/v1/models/{name}`, in the form of OpenAI's API or Anthropic's."""
        name = request.path_params["name"]
        listed = next((model for model in self._model_list() if model.id == name), None)
        if listed is None:
            raise self._answers.unknown_model(name, "model")
        if anthropic_models.is_anthropic_client(request):
            return JSONResponse(anthropic_models.model(name, self._answers.created, self._service.window()))
        return JSONResponse(listed.model_dump())

    def _model_list(self) -> list[reply_schema.Model]:
        return reply_schema.model_list(
            self._service.model, self._service.aliases, self._service.window(), self._answers.created
        )

    async def health(self, request: Request) -> Response:
        """`/health`: status 200 while the engine answers, else 503; with the number of replicas, if it has some."""
        status, replicas = 200 if self._service.alive() else 503, self._service.replicas()
        if not replicas:
            return Response(status_code=status)
        return JSONResponse({"replicas": len(replicas), "up": sum(replica["up"] for replica in replicas)}, status)

    async def status(self, request: Request) -> Response:
        """`/v1/status`, for the process that started this one."""
        idle = 0.0 if self._answers.queue.pending else time.monotonic() - self._answers.queue.idle_since
        return JSONResponse({**self._service.status(), "inside": self._answers.queue.pending, "idle": idle})

    async def set_keep_alive(self, request: Request) -> Response:
        """`/v1/keep_alive`: changes the idle time in seconds after which this process ends."""
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
        """`/version`: the versions of pixtral, its libraries and the software behind the engine."""
        reported = {"version": __version__, **versions.local_versions()}
        with contextlib.suppress(PixtralError):  # a worker that is down is left out
            reported |= await asyncio.to_thread(engine_versions, self._engine)
        return JSONResponse(reported)

    async def show_metrics(self, request: Request) -> Response:
        """`/metrics`, for Prometheus."""
        waiting = self._answers.queue.pending - self._answers.queue.running
        caches = await asyncio.to_thread(self._service.caches)
        text = self._answers.metrics.text(
            up=self._service.alive(),
            deaths=self._service.deaths(),
            running=self._answers.queue.running,
            waiting=waiting,
            replicas=self._service.replicas(),
            caches=caches,
        )
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def openapi(self, request: Request) -> Response:
        """`/openapi.json`."""
        return JSONResponse(description())
