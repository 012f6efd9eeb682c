"""The functions of a Python file as tools. Tool definitions are made from their names, docstrings and type hints."""

import asyncio
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pixtral_cli.chat.toolbox.engine import RunnableTool, ToolResult
from pixtral_cli.chat.toolbox.pictures import CropTool, ZoomTool
from pixtral_cli.chat.tools import Tool
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.util.sanitize import visible

if TYPE_CHECKING:
    from pydantic import BaseModel

BUILT_IN_TOOLS: dict[str, RunnableTool] = {"crop": CropTool(), "zoom": ZoomTool()}
SIGNATURE_HINT = "Give each parameter a name and a type, such as: def roll(sides: int) -> int"


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A Python function as a tool. `parameters` validates a call's arguments against the function's type hints."""

    tool: Tool
    function: Callable[..., Any]
    parameters: "type[BaseModel]"

    def run(self, arguments: dict[str, Any], images: Sequence[Image]) -> ToolResult:
        """The function's result, as JSON unless it is a string. Raises ValidationError, and what the function raises."""
        validated = self.parameters.model_validate(arguments)
        result = self.function(**{name: getattr(validated, name) for name in type(validated).model_fields})
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        return ToolResult(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str))


def load_tools(names: Sequence[str]) -> list[RunnableTool]:
    """The tools that `names` name: built-in tools, and Python files, whose public functions are tools. Raises UsageError."""
    return check_unique(
        runnable
        for name in names
        for runnable in (_function_tools(Path(name).expanduser()) if name.endswith(".py") else [_built_in(name)])
    )


def check_unique(tools: Iterable[RunnableTool]) -> list[RunnableTool]:
    """The tools, a tool that is given twice once. Raises UsageError for two tools of one name."""
    by_name: dict[str, RunnableTool] = {}
    for runnable in tools:
        if by_name.setdefault(runnable.tool.name, runnable) is not runnable:
            raise UsageError(f"Two tools have the name {runnable.tool.name}", "Rename one of them, or leave one out")
    return list(by_name.values())


def _built_in(name: str) -> RunnableTool:
    if name not in BUILT_IN_TOOLS:
        raise UsageError(
            f"There is no tool {visible(name, 60)!r}",
            f"There are {', '.join(BUILT_IN_TOOLS)}; or name a Python file: tools.py",
        )
    return BUILT_IN_TOOLS[name]


def _function_tools(file: Path) -> list[RunnableTool]:
    shown_path = visible(str(file), 60)
    if not file.is_file():
        raise UsageError(f"There is no file {shown_path}", "Name a Python file whose functions are the tools")
    module = _import_file(file)
    functions = [
        (name, value)
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]
    if not functions:
        raise UsageError(f"{shown_path} defines no function", SIGNATURE_HINT)
    return [_function_tool(name, function, shown_path) for name, function in functions]


def _import_file(file: Path) -> ModuleType:
    """Import a file as a module. Raises UsageError with the line on which that fails."""
    name = f"pixtral_tools_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{visible(str(file), 60)} is no Python file", "Name one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # type hints are resolved through it
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) else _line_of(error, file)
        where = f"{visible(str(file), 40)}, line {line}" if line else visible(str(file), 60)
        why = visible(f"{type(error).__name__}: {error.msg if isinstance(error, SyntaxError) else error}", 100)
        raise UsageError(f"{where}: {why}", "Mend the file") from error
    return module


def _line_of(error: BaseException, file: Path) -> int | None:
    """The innermost line of the file in an error's traceback."""
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _function_tool(name: str, function: Callable[..., Any], file: str) -> FunctionTool:
    """The tool for a function of `file`. Raises UsageError for a signature that has no JSON schema."""
    from pydantic import ConfigDict, PydanticUserError, create_model
    from pydantic.errors import PydanticSchemaGenerationError

    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception as error:  # a hint that names nothing
        raise UsageError(f"{name} of {file}: its type hints cannot be read: {error}", SIGNATURE_HINT) from error
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise UsageError(f"{name} of {file}: {parameter} is no parameter that a model can name", SIGNATURE_HINT)
        if parameter.annotation is parameter.empty:
            raise UsageError(f"{name} of {file}: the parameter {parameter.name} has no type", SIGNATURE_HINT)
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default)
    try:
        model = create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
        schema = model.model_json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, ValueError) as error:
        why = visible(str(error).splitlines()[0], 100)
        raise UsageError(f"{name} of {file}: no JSON for its parameters: {why}", SIGNATURE_HINT) from error
    return FunctionTool(Tool(name, inspect.getdoc(function) or "", schema), function, model)
