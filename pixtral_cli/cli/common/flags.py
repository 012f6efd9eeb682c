"""Groups of flags: a command has one parameter for each group, which Typer sees as its single flags."""

import functools
import inspect
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pixtral_cli.cli.common import options
from pixtral_cli.limits import SAMPLING_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from pixtral_cli.chat.toolbox.engine import RunnableTool
    from pixtral_cli.config import Config

P = ParamSpec("P")
R = TypeVar("R")

VLLM_FLAGS = (
    "tensor_parallel_size", "pipeline_parallel_size", "nodes", "replicas", "coordinator", "join_timeout", "ray", "vllm_args",
)  # fmt: skip
LOCAL_FLAGS = ("keep_alive", "device", "dtype", "quantize")


class FlagGroup:
    """Flags of one purpose: each annotated attribute is a flag, its value the default.

    Not a dataclass: creating five of those would take about a thirtieth of the start-up time of `pixtral --help`.
    """

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    @classmethod
    def flags(cls) -> dict[str, Any]:
        """The annotations of the flags by name, those of base classes first."""
        bases = [base for base in reversed(cls.__mro__) if base is not object]
        return {name: kind for base in bases for name, kind in base.__annotations__.items()}


def expand_flags(command: Callable[P, R]) -> Callable[..., R]:
    """A function that calls the command; in its signature every group of flags is replaced by its flags."""
    declared = list(inspect.signature(command, eval_str=True).parameters.values())
    groups: dict[str, type[FlagGroup]] = {
        parameter.name: parameter.annotation
        for parameter in declared
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, FlagGroup)
    }

    @functools.wraps(command)
    def expanded(**values: Any) -> R:
        filled: dict[str, Any] = {
            name: group(**{flag: values.pop(flag) for flag in group.flags()}) for name, group in groups.items()
        }
        return command(**values, **filled)  # type: ignore[call-arg]

    parameters: list[inspect.Parameter] = []
    for parameter in declared:
        group = groups.get(parameter.name)
        parameters += _parameters(group) if group else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return expanded


def _parameters(group: type[FlagGroup]) -> list[inspect.Parameter]:
    """The flags of a group as keyword parameters."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(name, keyword, default=getattr(group, name), annotation=kind)
        for name, kind in group.flags().items()
    ]


class LocalEngineFlags(FlagGroup):
    """The engine on this machine, and its options. The fields are named as the settings."""

    engine: options.EngineName = None
    device: options.Device = None
    dtype: options.Dtype = None
    quantize: options.Quantize = None
    tensor_parallel_size: options.TensorParallel = None
    pipeline_parallel_size: options.PipelineParallel = None
    nodes: options.Nodes = None
    replicas: options.Replicas = None
    coordinator: options.CoordinatorAddress = None
    join_timeout: options.JoinTimeout = None
    ray: options.Ray = None
    vllm_args: options.VllmArgs = None

    def apply(self, settings: "Config", keep_alive: str | None = None) -> "Config":
        """The settings replaced by the flags that are given.

        Raises UsageError for a flag that the chosen engine does not have.
        """
        flags = {name: getattr(self, name) or None for name in self.flags()}
        settings = settings.override(**{k: v for k, v in flags.items() if k not in VLLM_FLAGS}, keep_alive=keep_alive)
        _check_engine_flags(settings, flags | {"keep_alive": keep_alive})
        return settings.override(**{name: flags[name] for name in VLLM_FLAGS})


class EngineFlags(LocalEngineFlags):
    """The engine that answers: one on this machine, or a server."""

    base_url: options.BaseURL = None
    offline: options.Offline = False


class SamplingFlags(FlagGroup):
    """Sampling parameters. The fields are named as the settings."""

    temperature: options.Temperature = None
    top_p: options.TopP = None
    top_k: options.TopK = None
    min_p: options.MinP = None
    repetition_penalty: options.RepetitionPenalty = None
    frequency_penalty: options.FrequencyPenalty = None
    presence_penalty: options.PresencePenalty = None
    max_tokens: options.MaxTokens = None
    seed: options.Seed = None
    stop: options.Stop = None

    def apply(self, settings: "Config") -> "Config":
        """The settings replaced by the flags that are given; `stop` is not a setting and is left out. Raises UsageError."""
        if self.stop and not all(self.stop):
            from pixtral_cli.errors import UsageError

            raise UsageError("--stop is empty", "Give the text before which the answer is to end")
        return settings.override(**{name: getattr(self, name) for name in SAMPLING_SETTINGS})


class RequestFlags(FlagGroup):
    """Sampling parameters that hold for one request and are no settings."""

    n: options.Answers = None
    logprobs: options.Logprobs = False
    top_logprobs: options.TopLogprobs = None
    logit_bias: options.LogitBias = None

    @property
    def given(self) -> list[str]:
        """The flags that are given, as they are typed."""
        return [f"--{name.replace('_', '-')}" for name in self.flags() if getattr(self, name) not in (None, False, [])]

    def fields(self) -> dict[str, Any]:
        """The fields of a sampling that are given. Raises UsageError for what is no bias."""
        from pixtral_cli.errors import UsageError

        if self.top_logprobs is not None and not self.logprobs:
            raise UsageError("--top-logprobs goes with --logprobs", "Add --logprobs")
        fields: dict[str, Any] = {"n": self.n} if self.n is not None else {}
        if self.logprobs:
            fields["logprobs"] = self.top_logprobs or 0
        if self.logit_bias:
            fields["logit_bias"] = _biases(self.logit_bias)
        return fields


def _biases(texts: "Sequence[str]") -> dict[int, float]:
    """Biases by token. Raises UsageError for a text that is no TOKEN=BIAS, and for a token that has two."""
    import math

    from pixtral_cli.errors import UsageError
    from pixtral_cli.limits import MAX_BIAS
    from pixtral_cli.util.sanitize import visible

    biases: dict[int, float] = {}
    for text in texts:
        token, equals, value = text.partition("=")
        try:
            bias = float(value)
        except ValueError:
            bias = math.nan
        hint = f"TOKEN is a token's number, BIAS -{MAX_BIAS} to {MAX_BIAS}: --logit-bias 1234=-100"
        if abs(bias) > MAX_BIAS:
            raise UsageError(f"--logit-bias {visible(text, 40)}: the bias is beyond {MAX_BIAS}", hint)
        if not equals or not (token.isascii() and token.isdigit() and len(token) < 10) or math.isnan(bias):
            raise UsageError(f"--logit-bias {visible(text, 40)} is no TOKEN=BIAS", hint)
        if int(token) in biases:
            raise UsageError(f"--logit-bias gives token {int(token)} two values", "Leave one of them out")
        biases[int(token)] = bias
    return biases


class ConversationFlags(FlagGroup):
    """Which conversation is continued, and whether it is saved."""

    resume: options.Continue = False
    session: options.Session = None
    no_log: options.NoLog = False

    @property
    def chosen(self) -> str | None:
        """The id of the conversation to continue, "" for the newest, None for a new one."""
        return self.session or ("" if self.resume else None)


class ToolFlags(FlagGroup):
    """Tools that the model may call, and whether each call must be confirmed."""

    tool: options.Tools = None
    mcp: options.McpServers = None
    yes_tools: options.YesTools = False


class TemplateFlags(FlagGroup):
    """The name of a template, and the values of its placeholders."""

    template: options.Template = None
    param: options.Params = None


@contextmanager
def open_tools(
    names: "Sequence[str]",
    servers: "Sequence[str]",
    *,
    allowed: bool,
    note: "Callable[[str], None]",
    check: "Callable[[], None]" = lambda: None,
) -> "Iterator[Sequence[RunnableTool]]":
    """The tools of these names and of the MCP servers of these commands, which are stopped on exit.

    `allowed`: calls need no confirmation; `note` is called with a line about what each server offers; `check` is called
    when all names are known, before a server is started. Raises UsageError for a name that is not a tool and for
    `allowed` without any tool, PixtralError for a server that fails.
    """
    if not names and not servers:
        if allowed:
            from pixtral_cli.errors import UsageError

            raise UsageError("--yes-tools allows the calls of tools, and there is none", "Name one: --tool crop")
        yield ()
        return
    from pixtral_cli.chat.toolbox import functions

    named_tools = functions.load_tools(names)
    if not servers:
        check()
        yield named_tools
        return
    with _mcp_tools(servers, check) as offered:
        from pixtral_cli.chat.toolbox.mcp_servers import shown_name

        all_tools = functions.check_unique([*named_tools, *(tool for tools in offered.values() for tool in tools)])
        for server, tools in offered.items():
            note(f"Tools of {shown_name(server)}: {', '.join(runnable.tool.name for runnable in tools) or 'none'}")
        yield all_tools


def _mcp_tools(
    servers: "Sequence[str]", check: "Callable[[], None]"
) -> "AbstractContextManager[dict[str, list[RunnableTool]]]":
    """The tools of MCP servers, by server. Raises UsageError when the package is not installed."""
    from importlib.util import find_spec

    if not find_spec("mcp"):
        from pixtral_cli.errors import UsageError
        from pixtral_cli.extras import install_command

        raise UsageError("--mcp needs one more package", f"Get it: {install_command('mcp')}")
    from pixtral_cli import config
    from pixtral_cli.chat.toolbox import mcp_servers
    from pixtral_cli.engines.remote import keys

    mcp_servers.check_names(servers)
    check()
    urls = [server for server in servers if mcp_servers.is_url(server)]
    return mcp_servers.open_servers(servers, keys.find_for_mcp(urls, config.paths().config_file.with_name("keys.json")))


def _check_engine_flags(settings: "Config", flags: dict[str, Any]) -> None:
    """Raises UsageError for the first flag that belongs to another engine than the chosen one."""
    from pixtral_cli.errors import UsageError

    given = [name for name, value in flags.items() if value is not None]
    for name in given:
        flag = f"--{name.replace('_', '-')}"
        if name in VLLM_FLAGS and settings.engine != "vllm":
            raise UsageError(f"{flag} is for vLLM, and another engine is to answer", "Add --engine vllm")
        if name == "quantize" and settings.engine == "vllm":
            raise UsageError("--quantize is for the local engine, and vLLM is to answer", "Leave it out")
        if name in LOCAL_FLAGS and (settings.base_url or settings.engine == "api"):
            raise UsageError(f"{flag} is for models on this machine, and another's is to answer", "Leave it out")
