"""The tools of the MCP server: questions about pictures, answered by an engine. Transports are in `serve`."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from dataclasses import replace
from typing import Annotated, Any, TypeAlias

from mcp.server.mcpserver import Image as PictureContent
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp_types import ToolAnnotations
from pydantic import Field, ValidationError

from pixtral_cli import __version__
from pixtral_cli.api.messages import encode_image
from pixtral_cli.chat.engine import Engine, Sampling
from pixtral_cli.chat.image_refs import place_images
from pixtral_cli.chat.message import Message
from pixtral_cli.errors import ImageError, PixtralError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Box
from pixtral_cli.server.answer_queue import AsyncAnswer
from pixtral_cli.server.mcp.pictures import PictureRules
from pixtral_cli.structured import schema as schemas
from pixtral_cli.structured.records import to_csv, to_table

INSTRUCTIONS = (
    "A vision model. Name a picture by its path, an http(s) URL or a data URL, and ask about it. Answers are the model's "
    "own words and may be wrong about small details: crop the part in question and ask again."
)
READ_TEXT = "Write down all the text in the image exactly as it stands, line by line, and nothing else."
READ_CHART = "Read the chart."
COMPARE = "What is different between the images?"
MAX_SHOWN_ERRORS = 5  # invalid arguments that an error message names
CHART_FIELDS = "[label, value:float]"

Source: TypeAlias = Annotated[str, Field(description="A path, an http(s) URL or a data URL.")]
Question: TypeAlias = Annotated[str, Field(min_length=1, max_length=100_000)]
OpenEngine: TypeAlias = Callable[[], AbstractContextManager[Engine]]


class VisionTools:
    """The tools. Each call opens the engine by `open_engine`."""

    def __init__(self, open_engine: OpenEngine, sampling: Sampling, rules: PictureRules) -> None:
        self._open_engine = open_engine
        self._sampling = sampling
        self._rules = rules

    async def look(
        self,
        question: Question,
        images: Annotated[list[Source], Field(min_length=1, max_length=128)],
        max_tokens: Annotated[int | None, Field(ge=1, description="The longest answer.")] = None,
    ) -> str:
        """Answer a question about one or more images. {1} and {2} in the question stand for the images."""
        return await self._answer(question, await self._load(images), max_tokens=max_tokens)

    async def read_text(self, image: Source) -> str:
        """Write down the text in an image: a scan, a screenshot, a sign, or the pages of a PDF (report.pdf#2-4)."""
        return await self._answer(READ_TEXT, await self._load([image]))

    async def chart_to_table(
        self,
        image: Source,
        fields: Annotated[
            str, Field(description="The columns, as in '[year:int, sales:float]'; or a JSON schema.")
        ] = CHART_FIELDS,
    ) -> str:
        """Read the values of a chart into a table. Answers CSV with a line of column names."""
        with _tool_errors():
            schema = schemas.parse(fields, files=False)
        text = await self._answer(READ_CHART, await self._load([image]), schema=schema)
        with _tool_errors():
            return to_csv(to_table(schemas.validate(text, schema), schema))[0]

    async def compare(
        self,
        images: Annotated[list[Source], Field(min_length=2, max_length=128)],
        question: Question = COMPARE,
    ) -> str:
        """Say what differs between two or more images, or answer another question about all of them."""
        return await self._answer(question, await self._load(images))

    async def crop(
        self,
        image: Source,
        left: Annotated[int, Field(ge=0, description="Pixels from the left edge.")],
        top: Annotated[int, Field(ge=0, description="Pixels from the top edge.")],
        width: Annotated[int, Field(ge=1)],
        height: Annotated[int, Field(ge=1)],
        question: Annotated[str | None, Field(description="Asked about the part; without one it is shown.")] = None,
    ) -> Any:
        """Cut a part out of an image: answer a question about it, seen at full resolution, or give it back as a picture."""
        part = await self._load([image])
        with _tool_errors():
            if len(part) > 1:
                raise ImageError(f"{part[0].name} has {len(part)} pages", "Name one of them, as in report.pdf#2.")
            part = [part[0].cropped(Box(left, top, width, height))]
        if question:
            return await self._answer(question, part)
        media, data = await asyncio.to_thread(encode_image, part[0])
        return PictureContent(data=data, format=media.removeprefix("image/"))

    async def _load(self, sources: Sequence[str]) -> list[Image]:
        with _tool_errors():
            loaded = await asyncio.to_thread(lambda: [self._rules.load(source) for source in sources])
        return [image for images in loaded for image in images]

    async def _answer(
        self,
        question: str,
        images: Sequence[Image],
        *,
        max_tokens: int | None = None,
        schema: dict[str, Any] | None = None,
    ) -> str:
        """The text of the answer. Cancelling the call stops the computation."""
        limit = max_tokens or self._sampling.max_tokens
        sampling = replace(self._sampling, max_tokens=limit, schema=schema)
        with _tool_errors():
            message = Message("user", place_images(question, images))
            opened = self._open_engine()
            engine = await asyncio.to_thread(opened.__enter__)
            try:
                async with aclosing(AsyncAnswer(engine, [message], sampling)) as chunks:
                    return "".join([chunk.text async for chunk in chunks])
            finally:
                await asyncio.shield(asyncio.to_thread(opened.__exit__, None, None, None))


@contextlib.contextmanager
def _tool_errors() -> Any:
    """Turns PixtralErrors into ToolErrors whose text is message and hint."""
    try:
        yield
    except PixtralError as error:
        message = error.message if error.message.endswith((".", "!", "?")) else f"{error.message}."
        raise ToolError(f"{message} {error.hint}".strip()) from None


class _OneLineErrors(MCPServer[Any]):
    """An MCP server whose errors are one line, also those about invalid arguments."""

    async def call_tool(self, name: str, arguments: dict[str, Any], *more: Any, **how: Any) -> Any:
        try:
            return await super().call_tool(name, arguments, *more, **how)
        except UnexpectedToolError:  # a bug of ours, which is logged
            raise
        except ToolError as error:
            cause = error.__cause__
            why = str(error)
            if isinstance(cause, ValidationError):
                errors = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in cause.errors()]
                why = f"Error executing tool {name}: {'; '.join(errors[:MAX_SHOWN_ERRORS])}"
            raise ToolError(" ".join(why.split())) from cause


def create_server(tools: VisionTools, model: str) -> MCPServer[Any]:
    """The MCP server with the tools; none of them changes anything."""
    server: MCPServer[Any] = _OneLineErrors(
        "pixtral", title=f"pixtral ({model})", instructions=INSTRUCTIONS, version=__version__, log_level="ERROR"
    )
    harmless = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True)
    for tool in (tools.look, tools.read_text, tools.chart_to_table, tools.compare, tools.crop):
        server.add_tool(tool, annotations=harmless, structured_output=False)
    return server
