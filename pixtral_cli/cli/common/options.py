"""The options that several commands share, written once: names, help and environment are the same everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pixtral_cli.cli.common import completers


class OutputFormat(StrEnum):
    """How an answer leaves: as text, as one JSON object, or as one object a chunk."""

    text = "text"
    json = "json"
    jsonl = "jsonl"


class ListFormat(StrEnum):
    """How a list leaves: for people, or as one JSON object."""

    text = "text"
    json = "json"


def called_without_subcommand(context: typer.Context) -> bool:
    """Whether a group is called without a subcommand. Options before a subcommand would be lost: UsageError."""
    if context.invoked_subcommand is None:
        return True
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            from pixtral_cli.errors import UsageError

            command = f"{context.command_path} {context.invoked_subcommand}"
            raise UsageError(f"--{name} stands before {context.invoked_subcommand!r}", f"Put it after: {command}")
    return False


Model = Annotated[
    str | None,
    typer.Option(
        "--model", "-m",
        help="A name (`pixtral models`), a repository or a folder.",
        autocompletion=completers.models,
        show_default=False,
    ),
]  # fmt: skip
Template = Annotated[
    str | None,
    typer.Option(
        "--template", "-t", metavar="NAME",
        help="Ask by a template (`pixtral templates`).",
        autocompletion=completers.templates,
        show_default=False,
    ),
]  # fmt: skip
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param", "-p", metavar="NAME=VALUE", help="A placeholder of the template. Repeat it.", show_default=False
    ),
]
Schema = Annotated[
    str | None,
    typer.Option(
        "--schema", metavar="FILE|FIELDS",
        help="The answer is JSON of this schema: a file, JSON, or 'name, price:float, [tags]'.",
        show_default=False,
    ),
]  # fmt: skip
Continue = Annotated[bool, typer.Option("--continue", "-c", help="Go on with the newest conversation.")]
Session = Annotated[
    str | None,
    typer.Option(
        "--session", metavar="ID",
        help="Go on with this one (`pixtral sessions`).",
        autocompletion=completers.sessions,
        show_default=False,
    ),
]  # fmt: skip
System = Annotated[str | None, typer.Option("--system", "-s", help="System prompt.", show_default=False)]
Images = Annotated[
    list[str] | None,
    typer.Option(
        "--image", "-a", "--attachment",
        help="Path, file:// or http(s) URL, data URL, or - for stdin. Repeat it; the order is kept.",
        show_default=False,
    ),
]  # fmt: skip
Temperature = Annotated[
    float | None,
    typer.Option("--temperature", min=0, help="0 is greedy.  [default: 0.35; demo: 0]", show_default=False),
]
TopP = Annotated[
    float | None, typer.Option("--top-p", min=0, max=1, help="Nucleus sampling.  [default: 1]", show_default=False)
]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", min=1, help="Longest answer.  [default: what the window leaves]", show_default=False),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same answer.", show_default=False)]
Stop = Annotated[
    list[str] | None, typer.Option("--stop", help="End the answer before this text. Repeat it.", show_default=False)
]
EngineName = Annotated[
    str | None,
    typer.Option("--engine", help="local, vllm, or api: La Plateforme.  [default: local]", show_default=False),
]
TensorParallel = Annotated[
    int | None,
    typer.Option("--tensor-parallel-size", min=1, help="vLLM: GPUs that share each layer.", show_default=False),
]
PipelineParallel = Annotated[
    int | None,
    typer.Option("--pipeline-parallel-size", min=1, help="vLLM: stages, each with its layers.", show_default=False),
]
Ray = Annotated[
    str | None,
    typer.Option("--ray", metavar="ADDRESS", help="vLLM: spread over this Ray cluster; auto.", show_default=False),
]
VllmArgs = Annotated[
    str | None, typer.Option("--vllm-args", help="vLLM: more arguments, quoted as one.", show_default=False)
]
BaseURL = Annotated[str | None, typer.Option("--base-url", help="An OpenAI-shaped server.", show_default=False)]
Device = Annotated[str | None, typer.Option("--device", help="auto, cuda, cuda:1, mps or cpu.", show_default=False)]
Dtype = Annotated[str | None, typer.Option("--dtype", help="auto, bfloat16, float16 or float32.", show_default=False)]
Quantize = Annotated[
    str | None,
    typer.Option(
        "--quantize",
        help="The decoder's weights: auto, none, 8bit or 4bit.  [default: auto, what fits]",
        show_default=False,
    ),
]
Format = Annotated[OutputFormat, typer.Option("--format", help="text, json (one object) or jsonl (one a chunk).")]
ListFormatOption = Annotated[ListFormat, typer.Option("--format", help="text or json (one object).")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write the answer to this file.", show_default=False)
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Statistics on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No notes on stderr, errors alone.")]
Plain = Annotated[bool, typer.Option("--plain", help="No colours, boxes or redrawing.")]
NoLog = Annotated[bool, typer.Option("--no-log", "-n", help="Do not save the conversation.")]
Offline = Annotated[bool, typer.Option("--offline", help="Never ask the network.")]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        "--keep-alive", help="Keep the model in a process of its own, until idle so long: 10m.", show_default=False
    ),
]
