"""How a vLLM is to be run: found, and its command line and environment. Starts nothing."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli.errors import UsageError

DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
STRUCTURED_OUTPUTS = (
    '{"backend": "guidance", "disable_any_whitespace": true}'  # a model may write nothing but line breaks else
)
RESERVED_FLAGS = ("--uds", "--host", "--port", "--api-key", "--served-model-name", "--model")
INSTALL_HINT = "Install it: pip install 'pixtral[vllm]', or name one: PIXTRAL_VLLM=/path/to/vllm"


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """How a vLLM is to be started: its executable, how it spreads over GPUs and machines, arguments of its own.

    `state` and `cache` are folders of ours: for its logs, and for what it needs beside the checkpoint.
    """

    state: str
    cache: str
    executable: str = ""
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    ray: str = ""
    arguments: tuple[str, ...] = ()


def parse_arguments(text: str) -> tuple[str, ...]:
    """The words of --vllm-args. Raises UsageError for badly quoted ones, and for those that are ours to give."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--vllm-args cannot be read: {str(error).lower()}", "Quote it as a shell would") from error
    for word in words:
        if (flag := word.split("=")[0]) in RESERVED_FLAGS:
            raise UsageError(f"--vllm-args: {flag} is for pixtral to choose", "Leave it out")
    return words


def find_executable(executable: str, env: Mapping[str, str] = os.environ) -> str:
    """The `vllm` to run: the named one, else the one on PATH, else the one beside our interpreter.

    Raises UsageError when there is none.
    """
    if executable:
        found = shutil.which(str(Path(executable).expanduser()), path=env.get("PATH"))
        if found is None:
            raise UsageError(f"There is no program {executable}, which is to be vLLM", INSTALL_HINT)
        return found
    beside = str(Path(sys.executable).parent)
    found = shutil.which("vllm", path=env.get("PATH")) or shutil.which("vllm", path=beside)
    if found is None:
        raise UsageError("vLLM is not installed here", INSTALL_HINT)
    return found


def build_command(launch: VllmOptions, folder: Path, name: str, dtype: str, socket: Path) -> list[str]:
    """The command line that serves a checkpoint in mistral format on a Unix socket, under this name."""
    words = [
        find_executable(launch.executable), "serve", str(folder),
        "--tokenizer-mode", "mistral", "--config-format", "mistral", "--load-format", "mistral",
        "--generation-config", "vllm", "--served-model-name", name, "--uds", str(socket),
        "--enable-prompt-tokens-details", "--disable-uvicorn-access-log", "--structured-outputs-config", STRUCTURED_OUTPUTS,
    ]  # fmt: skip
    if dtype != "auto":
        words += ["--dtype", DTYPES.get(dtype, dtype)]
    if launch.tensor_parallel > 1:
        words += ["--tensor-parallel-size", str(launch.tensor_parallel)]
    if launch.pipeline_parallel > 1:
        words += ["--pipeline-parallel-size", str(launch.pipeline_parallel)]
    if launch.ray:
        words += ["--distributed-executor-backend", "ray"]
    return [*words, *launch.arguments]


def build_environment(launch: VllmOptions, key: str, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Ours, with the key (which a command line would show to all), nothing asked of the network, nothing reported."""
    quiet = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    ray = {"RAY_ADDRESS": launch.ray} if launch.ray else {}
    return {**quiet, **env, **ray, "VLLM_API_KEY": key, "PYTHONUNBUFFERED": "1"}
