"""`pixtral ask --dry-run`: prints the request that would be sent, and its tokens."""

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


def dry_run(request: Request, question: Message, conversation: Conversation, engine: Engine, out: Output) -> None:
    """Print the request that would be sent, and its tokens. Raises ContextError when it does not fit the window."""
    schema = request.sampling.schema
    messages = conversation.messages_with(question)
    cost = engine.measure(with_schema_prompt(messages, schema))
    cost.check_fits(request.sampling.max_tokens)
    sent_images = [image for message in messages for image in message.images]
    if out.format == "text":
        out.write(
            "".join(
                f"{clean(line)}\n"
                for line in _plan_lines(request, question, conversation.system, sent_images, cost, out.model)
            )
        )
    else:
        out.write(
            dumps(_plan_json(request, question, conversation.system, sent_images, cost, out.model), out.stdout.encoding)
            + "\n"
        )


def _plan_lines(
    request: Request, question: Message, system: str | None, sent_images: Sequence[Image], cost: Cost, model: str
) -> list[str]:
    lines = [f"model    {model}"]
    for label, image, image_cost in zip(_labels(request, question, sent_images), sent_images, cost.images, strict=True):
        width, height = image.size
        size = f"{width}×{height}" + (
            f" → {image_cost.width}×{image_cost.height}" if (image_cost.width, image_cost.height) != image.size else ""
        )
        lines.append(f"image {label}  {image.name}  {size}  {image_cost.tokens:,} tokens")
    count = len(question.text)
    if system:
        lines += _quoted("system", system)
    lines += _quoted(f"text     {count:,} character{'' if count == 1 else 's'}", question.text)
    if request.sampling.schema is not None:
        lines.append(f"schema   {describe_schema(request.sampling.schema)}")
    lines.append(f"prompt   {cost.prompt_tokens:,} tokens, {cost.image_tokens:,} of them images")
    lines.append(f"context  {cost.tokens_left:,} of {cost.context_window:,} tokens left for the answer")
    return lines


def _quoted(label: str, text: str) -> list[str]:
    """A label, and below it the lines of a text, indented."""
    return [label, *(f"         {line}" for line in text.split("\n"))]


def _labels(request: Request, question: Message, sent_images: Sequence[Image]) -> list[str]:
    """The label of each image: `{1}` in the order of --image for those of the question, `#1` for those of earlier messages."""
    earlier = len(sent_images) - len(question.images)
    order = {Path(source).name: number for number, source in reversed(list(enumerate(request.sources, 1)))}
    labels = [order.get(image.name, number) for number, image in enumerate(question.images, 1)]
    if len(set(labels)) < len(labels):
        labels = list(range(1, len(labels) + 1))
    return [*(f"#{number}" for number in range(1, earlier + 1)), *(f"{{{number}}}" for number in labels)]


def _plan_json(
    request: Request, question: Message, system: str | None, sent_images: Sequence[Image], cost: Cost, model: str
) -> dict[str, Any]:
    schema = request.sampling.schema
    return {
        "model": model,
        "system": system,
        "text": question.text,
        "images": [
            {
                "label": label,
                "name": image.name,
                "width": image.size[0],
                "height": image.size[1],
                "sent_width": image_cost.width,
                "sent_height": image_cost.height,
                "tokens": image_cost.tokens,
            }
            for label, image, image_cost in zip(
                _labels(request, question, sent_images), sent_images, cost.images, strict=True
            )
        ],
        "prompt_tokens": cost.prompt_tokens,
        "image_tokens": cost.image_tokens,
        "context_window": cost.context_window,
        "context_left": cost.tokens_left,
        **({} if schema is None else {"schema": schema}),
    }
