"""The options that several commands share, written once: names, help and environment are the same everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pixtral_cli.cli.common import completers
from pixtral_cli.cli.common.help import CONVERSATION, ENGINE, INPUT, OUTPUT, SAMPLING, TOOLS, VLLM
from pixtral_cli.limits import MAX_TEMPERATURE, MAX_TOP_LOGPROBS, RANGES


class OutputFormat(StrEnum):
    """The format of an answer: text, one JSON object, or one object per chunk."""

    text = "text"
    json = "json"
    jsonl = "jsonl"


class ListFormat(StrEnum):
    """The format of a list: text, or one JSON object."""

    text = "text"
    json = "json"


class ImageFormats(StrEnum):
    """Which image formats are read from URLs: PNG, JPEG, WebP and GIF, or all that are supported."""

    common = "common"
    all = "all"


def called_without_subcommand(context: typer.Context) -> bool:
    """Whether a group is called without a subcommand.

    Raises UsageError for options before a subcommand, which would be lost.
    """
    if context.invoked_subcommand is None:
        return True
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            from pixtral_cli.errors import UsageError

            command = f"{context.command_path} {context.invoked_subcommand}"
            chosen = context.command.get_command(context, context.invoked_subcommand)  # type: ignore[attr-defined]
            has_it = any(name == parameter.name for parameter in chosen.params)
            hint = f"Put it after: {command}" if has_it else f"{command} has no such option: leave it out"
            flag = next((p.opts[0] for p in context.command.params if p.name == name), f"--{name}")
            raise UsageError(f"{flag} is given before {context.invoked_subcommand!r}", hint)
    return False


def _option(group: str, *flags: str, **about: Any) -> Any:
    """An option under a heading of the help; its default is in the text of the help."""
    return typer.Option(*flags, rich_help_panel=group, show_default=False, **about)


def _named(group: str, flag: str, values: tuple[str, ...], help: str) -> Any:
    """An option whose usual values are completed by Tab; others are accepted."""
    return _option(group, flag, metavar="|".join(values), help=help, autocompletion=completers.words(*values))


def _range(group: str, flag: str, help: str) -> Any:
    """An option that takes a number, in the range of the setting of the same name."""
    least, most, _ = RANGES[flag.removeprefix("--").replace("-", "_")]
    metavar = "N" if flag == "--n" else "NUMBER"
    return _option(group, flag, min=least, max=most, metavar=metavar, help=help)


# Input
Formats = Annotated[
    ImageFormats,
    typer.Option(
        "--formats",
        rich_help_panel=INPUT,
        metavar="common|all",
        help="Pictures by URL: common (PNG, JPEG, WebP, GIF) or all.",
    ),
]
Images = Annotated[
    list[str] | None,
    _option(
        INPUT, "--image", "-a", "--attachment", metavar="PATH|URL",
        help="A picture: a path, a URL, or - for stdin. Repeat it; the order is kept.",
    ),
]  # fmt: skip
TextFiles = Annotated[
    list[str] | None,
    _option(INPUT, "--file", "-f", metavar="PATH", help="A text file, sent with its name. Repeat it."),
]
System = Annotated[
    str | None,
    _option(INPUT, "--system", "-s", metavar="TEXT", help="System prompt; an empty one turns the vendor's off."),
]
Template = Annotated[
    str | None,
    _option(
        INPUT, "--template", "-t", metavar="NAME", help="Ask by a template (`pixtral templates`).",
        autocompletion=completers.templates,
    ),
]  # fmt: skip
Params = Annotated[
    list[str] | None,
    _option(
        INPUT,
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="A placeholder of the template. Repeat it.",
        autocompletion=completers.template_places,
    ),
]

# Output
Schema = Annotated[
    str | None,
    _option(
        OUTPUT, "--schema", metavar="FILE|FIELDS",
        help="The answer is JSON of this schema: a file, JSON, or 'name, price:float, [tags]'.",
    ),
]  # fmt: skip
Format = Annotated[
    OutputFormat,
    typer.Option("--format", help="text, json (one object) or jsonl (one per chunk).", rich_help_panel=OUTPUT),
]
ListFormatOption = Annotated[
    ListFormat, typer.Option("--format", metavar="text|json", help="text or json (one object).")
]
Output = Annotated[
    Path | None, _option(OUTPUT, "--output", "-o", metavar="FILE", help="Write the answer to this file.")
]
Plain = Annotated[bool, _option(OUTPUT, "--plain", help="No colours, boxes or redrawing.")]
Raw = Annotated[bool, _option(OUTPUT, "--raw", help="Show answers as written, without rendering Markdown.")]
Thinking = Annotated[
    bool | None,
    _option(
        OUTPUT, "--thinking/--no-thinking",
        help="Show what a reasoning model thinks first.  [default: folded to a line; not in a pipe]",
    ),
]  # fmt: skip
Verbose = Annotated[bool, _option(OUTPUT, "--verbose", "-v", help="Statistics on stderr.")]
Quiet = Annotated[bool, _option(OUTPUT, "--quiet", "-q", help="No notes on stderr, only errors.")]

# Conversation
Continue = Annotated[bool, _option(CONVERSATION, "--continue", "-c", help="Go on with the newest conversation.")]
Session = Annotated[
    str | None,
    _option(
        CONVERSATION, "--session", metavar="ID", help="Go on with this one (`pixtral sessions`).",
        autocompletion=completers.sessions,
    ),
]  # fmt: skip
NoLog = Annotated[bool, _option(CONVERSATION, "--no-log", "-n", help="Do not save the conversation.")]

# Sampling
Temperature = Annotated[
    float | None,
    _option(
        SAMPLING,
        "--temperature",
        min=0,
        max=MAX_TEMPERATURE,
        metavar="NUMBER",
        help="0 is greedy.  [default: 0.35; demo: 0]",
    ),
]
TopP = Annotated[
    float | None,
    _option(SAMPLING, "--top-p", min=0, max=1, metavar="NUMBER", help="Nucleus sampling, 0 to 1.  [default: 1]"),
]
TopK = Annotated[
    int | None,
    _option(SAMPLING, "--top-k", min=0, metavar="N", help="Only the N likeliest tokens.  [default: 0, all]"),
]
MinP = Annotated[
    float | None,
    _option(
        SAMPLING, "--min-p", min=0, max=1, metavar="NUMBER", help="Least probability, relative to the likeliest token."
    ),
]
RepetitionPenalty = Annotated[
    float | None,
    _range(SAMPLING, "--repetition-penalty", "Penalizes tokens of the prompt and the answer.  [default: 1]"),
]
FrequencyPenalty = Annotated[
    float | None,
    _range(SAMPLING, "--frequency-penalty", "Penalizes tokens of the answer, by their count."),
]
PresencePenalty = Annotated[
    float | None,
    _range(SAMPLING, "--presence-penalty", "Penalizes tokens of the answer."),
]
MaxTokens = Annotated[
    int | None,
    _option(SAMPLING, "--max-tokens", min=1, metavar="N", help="Longest answer.  [default: what the window leaves]"),
]
Seed = Annotated[int | None, _option(SAMPLING, "--seed", metavar="N", help="Same seed, same answer.")]
Stop = Annotated[
    list[str] | None, _option(SAMPLING, "--stop", metavar="TEXT", help="End the answer before this text. Repeat it.")
]

Answers = Annotated[int | None, _range(SAMPLING, "--n", "So many answers to the question.  [default: 1]")]
Logprobs = Annotated[
    bool, _option(SAMPLING, "--logprobs", help="The log-probability of each token, in answers as JSON.")
]
TopLogprobs = Annotated[
    int | None,
    _option(
        SAMPLING, "--top-logprobs", min=0, max=MAX_TOP_LOGPROBS, metavar="K", help="And of the K likeliest in its place."
    ),
]  # fmt: skip
LogitBias = Annotated[
    list[str] | None,
    _option(
        SAMPLING, "--logit-bias", metavar="TOKEN=BIAS",
        help="Add -100 to 100 to the logit of a token, given by its number. Repeat it.",
    ),
]  # fmt: skip

# Tools
Tools = Annotated[
    list[str] | None,
    _option(
        TOOLS, "--tool", metavar="NAME|FILE.py", autocompletion=completers.words("crop", "zoom"),
        help="A tool the model may call: crop, zoom, or the functions of a Python file. Repeat it.",
    ),
]  # fmt: skip
McpServers = Annotated[
    list[str] | None,
    _option(
        TOOLS, "--mcp", metavar="COMMAND|URL", help="An MCP server whose tools the model may call: 'uvx NAME'. Repeat it.",
    ),
]  # fmt: skip
YesTools = Annotated[bool, _option(TOOLS, "--yes-tools", help="Run the calls without asking for each.")]

# Model and engine
Model = Annotated[
    str | None,
    _option(
        ENGINE, "--model", "-m", metavar="MODEL", help="A name (`pixtral models`), a repository or a folder.",
        autocompletion=completers.models,
    ),
]  # fmt: skip
EngineName = Annotated[
    str | None,
    _named(ENGINE, "--engine", ("local", "vllm", "api"), "Who answers; api: La Plateforme.  [default: local]"),
]
BaseURL = Annotated[
    str | None, _option(ENGINE, "--base-url", metavar="URL", help="A server with OpenAI's API answers.")
]
KeepAlive = Annotated[
    str | None,
    _option(
        ENGINE, "--keep-alive", metavar="DURATION",
        help="Keep the model in a process of its own, until idle so long: 10m; 0: end it after this.",
    ),
]  # fmt: skip
Device = Annotated[
    str | None, _named(ENGINE, "--device", ("auto", "cuda", "mps", "cpu"), "Or cuda:1.  [default: auto]")
]
Dtype = Annotated[
    str | None, _named(ENGINE, "--dtype", ("auto", "bfloat16", "float16", "float32"), "Of weights and cache.")
]
Quantize = Annotated[
    str | None,
    _named(
        ENGINE, "--quantize", ("auto", "none", "8bit", "4bit"), "The decoder's weights.  [default: auto, what fits]"
    ),
]
Offline = Annotated[bool, _option(ENGINE, "--offline", help="Never use the network.")]

# vLLM
TensorParallel = Annotated[
    int | None, _option(VLLM, "--tensor-parallel-size", min=1, metavar="N", help="GPUs that share each layer.")
]
PipelineParallel = Annotated[
    int | None,
    _option(VLLM, "--pipeline-parallel-size", min=1, metavar="N", help="Stages, each with some of the layers."),
]
Ray = Annotated[
    str | None,
    _option(VLLM, "--ray", metavar="ADDRESS", help="Run on this Ray cluster; auto: the one that is running."),
]
Nodes = Annotated[
    int | None, _option(VLLM, "--nodes", min=1, max=1000, metavar="N", help="Machines; the others run `pixtral join`.")
]
Replicas = Annotated[
    int | None,
    _option(VLLM, "--replicas", min=1, max=100, metavar="N", help="Copies of the model that share the questions."),
]
CoordinatorAddress = Annotated[
    str | None,
    _option(VLLM, "--coordinator", metavar="HOST:PORT", help="Where machines join.  [default: 0.0.0.0:8790]"),
]
JoinTimeout = Annotated[
    str | None,
    _option(VLLM, "--join-timeout", metavar="DURATION", help="How long to wait for machines.  [default: 10m]"),
]
VllmArgs = Annotated[
    str | None, _option(VLLM, "--vllm-args", metavar="ARGS", help="More arguments for vLLM, quoted as one.")
]

# A server
Host = Annotated[
    str, typer.Option("--host", metavar="HOST", help="Address to listen on; others than this machine's need a key.")
]
Port = Annotated[int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="Port; 0 takes a free one.")]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key", metavar="KEY", envvar="PIXTRAL_API_KEY", help="What clients must send.", show_default=False
    ),
]
AllowedHosts = Annotated[
    list[str] | None,
    typer.Option("--allowed-host", metavar="HOST", help="A name clients may use. Repeat it.", show_default=False),
]
NoImageUrls = Annotated[bool, typer.Option("--no-image-urls", rich_help_panel=INPUT, help="Fetch no images from URLs.")]
AllowPrivate = Annotated[
    bool, typer.Option("--allow-private", rich_help_panel=INPUT, help="Fetch images from private addresses too.")
]
