"""The OpenAPI description of the server, made from the pydantic models of requests and reply_schema."""

from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pixtral_cli import __version__
from pixtral_cli.server.openai import reply_schema
from pixtral_cli.server.openai.request_schema import ChatRequest
from pixtral_cli.server.shapes.anthropic import schema as anthropic
from pixtral_cli.server.shapes.completions_schema import CompletionRequest, TextCompletion
from pixtral_cli.server.shapes.ollama import schema as ollama
from pixtral_cli.server.shapes.responses_schema import Response, ResponsesRequest

SCHEMAS: tuple[type[BaseModel], ...] = (
    ChatRequest, reply_schema.Completion, reply_schema.Model, reply_schema.Models, reply_schema.Cost, reply_schema.Versions, reply_schema.ErrorBody,
    ResponsesRequest, Response, CompletionRequest, TextCompletion,
    anthropic.MessagesRequest, anthropic.CountTokensRequest, anthropic.Message, anthropic.TokenCount,
    anthropic.AnthropicErrorBody,
    ollama.OllamaChatRequest, ollama.OllamaGenerateRequest, ollama.OllamaShowRequest, ollama.OllamaChatAnswer,
    ollama.OllamaGenerateAnswer, ollama.OllamaModels, ollama.OllamaRunningModels, ollama.OllamaShown,
    ollama.OllamaVersion, ollama.OllamaErrorBody,
)  # fmt: skip

EVENTS = "text/event-stream"
LINES = "application/x-ndjson"


@cache
def description() -> dict[str, Any]:
    """The document at `/openapi.json`, OpenAPI 3.1."""
    _, definitions = models_json_schema(
        [(schema, "validation") for schema in SCHEMAS], ref_template="#/components/schemas/{model}"
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "pixtral", "version": __version__},
        "paths": _openai_paths() | _anthropic_paths() | _ollama_paths() | _own_paths(),
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{"key": []}, {"header": []}, {}],
    }


def _openai_paths() -> dict[str, Any]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "/v1/chat/completions": {"post": _post("Answer a conversation", ChatRequest, reply_schema.Completion, EVENTS)},
        "/v1/completions": {"post": _post("Complete prompts", CompletionRequest, TextCompletion, EVENTS)},
        "/v1/responses": {"post": _post("OpenAI's Responses API", ResponsesRequest, Response, EVENTS)},
        "/v1/models": {"get": _get("The model served", reply_schema.Models)},
        "/v1/models/{name}": {
            "get": _get("One name of the model", reply_schema.Model, (404,)) | {"parameters": [name]}
        },
    }


def _anthropic_paths() -> dict[str, Any]:
    errors, statuses = anthropic.AnthropicErrorBody, (400, 404, 408, 413, 415, 500, 529)
    return {
        "/v1/messages": {
            "post": _post(
                "Anthropic's Messages API", anthropic.MessagesRequest, anthropic.Message, EVENTS, errors, statuses
            )
        },
        "/v1/messages/count_tokens": {
            "post": _post(
                "Count the tokens of messages",
                anthropic.CountTokensRequest,
                anthropic.TokenCount,
                None,
                errors,
                statuses,
            )
        },
    }


def _ollama_paths() -> dict[str, Any]:
    errors = ollama.OllamaErrorBody
    chat, generate = ollama.OllamaChatRequest, ollama.OllamaGenerateRequest
    return {
        "/api/chat": {"post": _post("Ollama's chat", chat, ollama.OllamaChatAnswer, LINES, errors)},
        "/api/generate": {"post": _post("Ollama's prompt", generate, ollama.OllamaGenerateAnswer, LINES, errors)},
        "/api/show": {"post": _post("What the model is", ollama.OllamaShowRequest, ollama.OllamaShown, None, errors)},
        "/api/tags": {"get": _get("The model served", ollama.OllamaModels, (), errors)},
        "/api/ps": {"get": _get("The model in memory", ollama.OllamaRunningModels, (), errors)},
        "/api/version": {"get": _get("The version of Ollama's API", ollama.OllamaVersion, (), errors)},
    }


def _own_paths() -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "/v1/measure": {"post": _post("Count the tokens of a conversation", ChatRequest, reply_schema.Cost)},
        "/health": {
            "get": {
                "summary": "Whether the engine is alive",
                "security": [],
                "responses": {
                    "200": {"description": "Alive"},
                    "503": {"description": "Not alive"},
                    **_error_responses((403,), reply_schema.ErrorBody),
                },
            }
        },
        "/version": {"get": _get("What runs, by version", reply_schema.Versions)},
        "/metrics": {"get": _operation("Prometheus metrics", text, (), reply_schema.ErrorBody)},
    }


def _post(
    summary: str,
    request: type[BaseModel],
    reply: type[BaseModel],
    streams: str | None = None,
    error: type[BaseModel] = reply_schema.ErrorBody,
    statuses: tuple[int, ...] = (400, 404, 408, 413, 415, 500, 503),
) -> dict[str, Any]:
    """An operation with a body. `streams`: the media type of its reply when that is a stream."""
    body = {"required": True, "content": {"application/json": _schema_ref(request)}}
    content = {"application/json": _schema_ref(reply)}
    if streams:
        content[streams] = {"schema": {"description": "Objects one after the other."}}
    return _operation(summary, content, statuses, error) | {"requestBody": body}


def _get(
    summary: str,
    reply: type[BaseModel],
    statuses: tuple[int, ...] = (),
    error: type[BaseModel] = reply_schema.ErrorBody,
) -> dict[str, Any]:
    return _operation(summary, {"application/json": _schema_ref(reply)}, statuses, error)


def _operation(
    summary: str, content: dict[str, Any], statuses: tuple[int, ...], error: type[BaseModel]
) -> dict[str, Any]:
    responses = {"200": {"description": "OK", "content": content}, **_error_responses((401, 403, *statuses), error)}
    return {"summary": summary, "responses": responses}


def _error_responses(statuses: tuple[int, ...], error: type[BaseModel]) -> dict[str, Any]:
    reply = {"description": "An error", "content": {"application/json": _schema_ref(error)}}
    return {str(status): reply for status in statuses}


def _schema_ref(model: type[BaseModel]) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
