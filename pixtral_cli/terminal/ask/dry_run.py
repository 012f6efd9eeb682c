"""What `pixtral ask --dry-run` prints: what would be sent, and what it costs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pixtral_cli.chat.conversation import Conversation
from pixtral_cli.chat.engine import Cost, Engine
from pixtral_cli.chat.message import Message
from pixtral_cli.images.image import Image
from pixtral_cli.structured.schema import with_schema_prompt
from pixtral_cli.terminal.ask.request import Request
from pixtral_cli.terminal.output.output import dumps
from pixtral_cli.terminal.output.render import (
    Output,
)
from pixtral_cli.terminal.output.structured import describe_schema
from pixtral_cli.util.sanitize import clean


def dry_run(request: Request, asked: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Print what would be sent and what it costs. Raises ContextError when it does not fit."""
    schema = request.sampling.schema
    messages = conversation.messages_with(asked)
    cost = engine.measure(with_schema_prompt(messages, schema))
    cost.check_fits(request.sampling.max_tokens)
    sent = [image for message in messages for image in message.images]
    if out.format == "text":
        out.write(
            "".join(
                f"{clean(line)}\n" for line in _plan_lines(request, asked, conversation.system, sent, cost, out.model)
            )
        )
    else:
        out.write(
            dumps(_plan_json(request, asked, conversation.system, sent, cost, out.model), out.stdout.encoding) + "\n"
        )


def _plan_lines(
    request: Request, asked: Message, system: str | None, sent: Sequence[Image], cost: Cost, model: str
) -> list[str]:
    lines = [f"model    {model}"]
    for label, image, price in zip(_labels(request, asked, sent), sent, cost.images, strict=True):
        width, height = image.size
        size = f"{width}×{height}" + (
            f" → {price.width}×{price.height}" if (price.width, price.height) != image.size else ""
        )
        lines.append(f"image {label}  {image.name}  {size}  {price.tokens:,} tokens")
    count = len(asked.text)
    if system:
        lines += _quoted("system", system)
    lines += _quoted(f"text     {count:,} character{'' if count == 1 else 's'}", asked.text)
    if request.sampling.schema is not None:
        lines.append(f"schema   {describe_schema(request.sampling.schema)}")
    lines.append(f"prompt   {cost.prompt_tokens:,} tokens, {cost.image_tokens:,} of them images")
    lines.append(f"context  {cost.left:,} of {cost.context_window:,} tokens left for the answer")
    return lines


def _quoted(label: str, text: str) -> list[str]:
    """A label, and below it a text as it is sent."""
    return [label, *(f"         {line}" for line in text.split("\n"))]


def _labels(request: Request, asked: Message, sent: Sequence[Image]) -> list[str]:
    """The label of each image: `{1}` as in the question, in the order of --image; of earlier messages `#1`."""
    earlier = len(sent) - len(asked.images)
    order = {Path(source).name: number for number, source in reversed(list(enumerate(request.sources, 1)))}
    ours = [order.get(image.name, number) for number, image in enumerate(asked.images, 1)]
    if len(set(ours)) < len(ours):
        ours = list(range(1, len(ours) + 1))
    return [*(f"#{number}" for number in range(1, earlier + 1)), *(f"{{{number}}}" for number in ours)]


def _plan_json(
    request: Request, asked: Message, system: str | None, sent: Sequence[Image], cost: Cost, model: str
) -> dict[str, Any]:
    schema = request.sampling.schema
    return {
        "model": model,
        "system": system,
        "text": asked.text,
        "images": [
            {
                "label": label,
                "name": image.name,
                "width": image.size[0],
                "height": image.size[1],
                "sent_width": price.width,
                "sent_height": price.height,
                "tokens": price.tokens,
            }
            for label, image, price in zip(_labels(request, asked, sent), sent, cost.images, strict=True)
        ],
        "prompt_tokens": cost.prompt_tokens,
        "image_tokens": cost.image_tokens,
        "context_window": cost.context_window,
        "context_left": cost.left,
        **({} if schema is None else {"schema": schema}),
    }
