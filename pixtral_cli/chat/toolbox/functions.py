"""The functions of a Python file as tools: names, docstrings and type hints become what a model is told of them."""

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

BUILT_IN: dict[str, RunnableTool] = {"crop": CropTool(), "zoom": ZoomTool()}
SIGNATURE_HINT = "Give each parameter a name and a type, such as: def roll(sides: int) -> int"


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A function that is called with a model's arguments, once these satisfy its type hints."""

    tool: Tool
    function: Callable[..., Any]
    parameters: "type[BaseModel]"

    def run(self, arguments: dict[str, Any], images: Sequence[Image]) -> ToolResult:
        """The function's result: text as it is, anything else as JSON. Raises what the function raises."""
        given = self.parameters.model_validate(arguments)
        result = self.function(**{name: getattr(given, name) for name in type(given).model_fields})
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
        return ToolResult(result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str))


def load_tools(names: Sequence[str]) -> list[RunnableTool]:
    """The tools of these names: built-in ones, and all public functions of Python files. Raises UsageError."""
    return distinct(
        runnable
        for name in names
        for runnable in (_functions(Path(name).expanduser()) if name.endswith(".py") else [_built_in(name)])
    )


def distinct(tools: Iterable[RunnableTool]) -> list[RunnableTool]:
    """The tools, once each. Raises UsageError for two of one name."""
    found: dict[str, RunnableTool] = {}
    for runnable in tools:
        if found.setdefault(runnable.tool.name, runnable) is not runnable:
            raise UsageError(f"Two tools have the name {runnable.tool.name}", "Rename one of them, or leave one out")
    return list(found.values())


def _built_in(name: str) -> RunnableTool:
    if name not in BUILT_IN:
        raise UsageError(
            f"There is no tool {visible(name, 60)!r}",
            f"There are {', '.join(BUILT_IN)}; or name a Python file: tools.py",
        )
    return BUILT_IN[name]


def _functions(file: Path) -> list[RunnableTool]:
    shown = visible(str(file), 60)
    if not file.is_file():
        raise UsageError(f"There is no file {shown}", "Name a Python file whose functions are the tools")
    module = _load(file)
    functions = [
        (name, each)
        for name, each in vars(module).items()
        if inspect.isfunction(each) and each.__module__ == module.__name__ and not name.startswith("_")
    ]
    if not functions:
        raise UsageError(f"{shown} defines no function", SIGNATURE_HINT)
    return [_function_tool(name, function, shown) for name, function in functions]


def _load(file: Path) -> ModuleType:
    """The module in a file. Raises UsageError with the line of what goes wrong in it."""
    name = f"pixtral_tools_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{visible(str(file), 60)} is no Python file", "Name one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where type hints are looked up
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        line = error.lineno if isinstance(error, SyntaxError) else _line_of(error, file)
        where = f"{visible(str(file), 40)}, line {line}" if line else visible(str(file), 60)
        why = visible(f"{type(error).__name__}: {error}", 100)
        raise UsageError(f"{where}: {why}", "Mend the file") from error
    return module


def _line_of(error: BaseException, file: Path) -> int | None:
    trace, line = error.__traceback__, None
    while trace:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _function_tool(name: str, function: Callable[..., Any], file: str) -> FunctionTool:
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
