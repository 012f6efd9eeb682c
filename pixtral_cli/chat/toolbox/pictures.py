"""The built-in tools crop and zoom, with which a model looks at a part of a picture in full resolution."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pixtral_cli.chat.toolbox.engine import ToolResult
from pixtral_cli.chat.tools import Tool
from pixtral_cli.errors import UsageError
from pixtral_cli.images.image import Image
from pixtral_cli.images.transform import Box

MIN_SIDE = 8  # pixels of a part's width and height
IMAGE_NUMBER_SCHEMA = {
    "type": "integer",
    "minimum": 1,
    "description": "Which picture, counted from 1 in the order they were shown.",
}


def _percent_schema(description: str) -> dict[str, Any]:
    """The JSON schema of a number of per cent."""
    return {"type": "number", "minimum": 0, "maximum": 100, "description": description}


@dataclass(frozen=True, slots=True)
class CropTool:
    """Shows the part of a picture between four edges, at the picture's own resolution."""

    tool = Tool(
        "crop",
        "Look closer at a part of a picture: shows the part between the edges, in full detail. Edges are in per cent of "
        "the picture's width and height, from its upper left corner.",
        {
            "type": "object",
            "properties": {
                "image": IMAGE_NUMBER_SCHEMA,
                "left": _percent_schema("Left edge."),
                "top": _percent_schema("Upper edge."),
                "right": _percent_schema("Right edge."),
                "bottom": _percent_schema("Lower edge."),
            },
            "required": ["image", "left", "top", "right", "bottom"],
            "additionalProperties": False,
        },
    )

    def run(self, arguments: dict[str, Any], images: Sequence[Image]) -> ToolResult:
        """See `RunnableTool`. Raises UsageError when there is no such picture or nothing is between the edges."""
        left, top, right, bottom = (float(arguments[name]) for name in ("left", "top", "right", "bottom"))
        return _cropped_part(arguments["image"], left, top, right, bottom, images)


@dataclass(frozen=True, slots=True)
class ZoomTool:
    """Shows the part of a picture around a point, at the picture's own resolution."""

    tool = Tool(
        "zoom",
        "Look closer at a place in a picture: shows what is around it, enlarged. The place is in per cent of the "
        "picture's width and height, from its upper left corner.",
        {
            "type": "object",
            "properties": {
                "image": IMAGE_NUMBER_SCHEMA,
                "x": _percent_schema("How far right."),
                "y": _percent_schema("How far down."),
                "factor": {"type": "number", "minimum": 1.5, "maximum": 16, "description": "How many times larger."},
            },
            "required": ["image", "x", "y", "factor"],
            "additionalProperties": False,
        },
    )

    def run(self, arguments: dict[str, Any], images: Sequence[Image]) -> ToolResult:
        """See `RunnableTool`. Raises UsageError when there is no such picture or the point is outside of it."""
        x, y, factor = (float(arguments[name]) for name in ("x", "y", "factor"))
        if not 1 <= factor <= 16 or not (0 <= x <= 100 and 0 <= y <= 100):
            raise UsageError("x and y are 0 to 100 per cent, the factor 1.5 to 16.")
        half = 50 / factor
        x, y = min(max(x, half), 100 - half), min(max(y, half), 100 - half)
        return _cropped_part(arguments["image"], x - half, y - half, x + half, y + half, images)


def _cropped_part(
    number: Any, left: float, top: float, right: float, bottom: float, images: Sequence[Image]
) -> ToolResult:
    """The part of picture `number` (from 1) between edges in per cent. Raises UsageError."""
    if type(number) is not int or not 1 <= number <= len(images):
        existing = f"there are {len(images)}" if len(images) != 1 else "there is one"
        raise UsageError(f"There is no picture {number}: {existing}.")
    if not (0 <= left < right <= 100 and 0 <= top < bottom <= 100):
        raise UsageError("Edges are 0 to 100 per cent, left before right and top before bottom.")
    image = images[number - 1]
    width, height = image.size
    (x, across), (y, down) = _pixel_span(left, right, width), _pixel_span(top, bottom, height)
    part = image.cropped(Box(x, y, across, down))
    return ToolResult(f"The part of picture {number} from {x},{y} of {across}×{down} pixels is shown next.", (part,))


def _pixel_span(low: float, high: float, size: int) -> tuple[int, int]:
    """The first pixel and the number of pixels between two percentages of a side of `size` pixels; at least MIN_SIDE."""
    first, last = round(low / 100 * size), round(high / 100 * size)
    length = max(last - first, min(MIN_SIDE, size))
    return min(first, size - length), length
