"""The OpenAPI description of the server, from the same models that check requests and write replies."""

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from pixtral_cli import __version__
from pixtral_cli.server.openai import replies
from pixtral_cli.server.openai.request_schema import ChatRequest
from pixtral_cli.server.shapes.responses_schema import Response, ResponsesRequest

SCHEMAS = (
    ChatRequest, replies.Completion, replies.Model, replies.Models, replies.Cost, replies.Versions, replies.ErrorBody,
    ResponsesRequest, Response,
)  # fmt: skip

EVENTS = "text/event-stream"


@cache
def description() -> dict[str, Any]:
    """OpenAPI 3.1."""
    _, definitions = models_json_schema(
        [(schema, "validation") for schema in SCHEMAS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "pixtral", "version": __version__},
        "paths": _paths(),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}, {}],
    }


def _paths() -> dict[str, Any]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "/v1/chat/completions": {"post": _post_operation("Answer a conversation", "ChatRequest", "Completion", EVENTS)},
        "/v1/responses": {"post": _post_operation("OpenAI's Responses API", "ResponsesRequest", "Response", EVENTS)},
        "/v1/measure": {"post": _post_operation("Count the tokens of a conversation", "ChatRequest", "Cost")},
        "/v1/models": {"get": _operation("The model served", {"application/json": _schema_ref("Models")}, ())},
        "/v1/models/{name}": {
            "get": _operation("One name of the model", {"application/json": _schema_ref("Model")}, (404,))
            | {"parameters": [name]}
        },
        "/health": {
            "get": {
                "summary": "Whether the engine is alive",
                "security": [],
                "responses": {
                    "200": {"description": "Alive"},
                    "503": {"description": "Not alive"},
                    **_error_responses((403,)),
                },
            }
        },
        "/version": {"get": _operation("What runs, by version", {"application/json": _schema_ref("Versions")}, ())},
        "/metrics": {"get": _operation("Prometheus metrics", {"text/plain": {"schema": {"type": "string"}}}, ())},
    }


def _post_operation(summary: str, request: str, reply: str, streams: str | None = None) -> dict[str, Any]:
    """An operation with a body. `streams`: the media type of its reply when that is a stream."""
    body = {"required": True, "content": {"application/json": _schema_ref(request)}}
    content = {"application/json": _schema_ref(reply)}
    if streams:
        content[streams] = {"schema": {"description": "Objects one after the other, when `stream` is true."}}
    return _operation(summary, content, (400, 404, 408, 413, 415, 500, 503)) | {"requestBody": body}


def _operation(summary: str, content: dict[str, Any], errors: tuple[int, ...]) -> dict[str, Any]:
    responses = {"200": {"description": "OK", "content": content}, **_error_responses((401, 403, *errors))}
    return {"summary": summary, "responses": responses}


def _error_responses(statuses: tuple[int, ...]) -> dict[str, Any]:
    error = {"description": "An error", "content": {"application/json": _schema_ref("ErrorBody")}}
    return {str(status): error for status in statuses}


def _schema_ref(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}
