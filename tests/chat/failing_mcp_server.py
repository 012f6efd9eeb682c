"""An MCP server over stdin and stdout whose tools answer, refuse, hang and end it."""

import base64
import os
import sys
import time
from typing import Any

from mcp.server.mcpserver import Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from tests.server.serving import png

server: MCPServer[Any] = MCPServer("failing", log_level="ERROR")


@server.tool(name="say.it", structured_output=False)
def say(text: str) -> list[Any]:
    """Says it twice, and shows a picture."""
    return [text, text, Image(data=png(6, 4), format="png")]


@server.tool(structured_output=False)
def environment(name: str) -> str:
    return os.environ.get(name, "unset")


@server.tool(structured_output=False)
def refuse(reason: str) -> str:
    raise ToolError(f"No: {reason}")


@server.tool(structured_output=False)
def damaged() -> Any:
    return Image(data=base64.b64encode(b"x"), format="png")


@server.tool(structured_output=False)
def hang() -> str:
    time.sleep(60)
    return "late"


@server.tool(structured_output=False)
def end() -> str:
    print("the disk is gone", file=sys.stderr, flush=True)
    os._exit(3)


if __name__ == "__main__":
    server.run("stdio")
