"""The executable, command line and environment of vLLM. Starts nothing."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixtral_cli.errors import UsageError
from pixtral_cli.extras import install_command

VLLM_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
# Without disable_any_whitespace a model may write line breaks without end.
STRUCTURED_OUTPUTS = '{"backend": "guidance", "disable_any_whitespace": true}'
RESERVED_FLAGS = (
    "--uds", "--host", "--port", "--api-key", "--served-model-name", "--model", "--nnodes", "--node-rank", "--headless",
    "--master-addr", "--master-port",
)  # fmt: skip
INSTALL_HINT = f"Install it: {install_command('vllm')}, or name one: PIXTRAL_VLLM=/path/to/vllm"


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """Options of vLLM: its executable, parallelism over GPUs and machines, extra arguments.

    `state`: the folder of its logs; `cache`: the folder of prepared checkpoints. A size of 0 means that none was given.
    With several `nodes`, the other machines join at the address `coordinator` within `join_timeout` seconds.
    """

    state: str
    cache: str
    executable: str = ""
    tensor_parallel: int = 0
    pipeline_parallel: int = 0
    ray: str = ""
    arguments: tuple[str, ...] = ()
    nodes: int = 1
    replicas: int = 0
    coordinator: str = ""
    join_timeout: float = 600.0

    @property
    def is_cluster(self) -> bool:
        """Whether several machines or replicas are requested."""
        return self.nodes > 1 or self.replicas > 1


def parse_arguments(text: str) -> tuple[str, ...]:
    """Splits --vllm-args as a shell would. Raises UsageError for bad quoting and for flags that pixtral sets."""
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"--vllm-args cannot be read: {str(error).lower()}", "Quote it as a shell would") from error
    for word in words:
        if (flag := word.split("=")[0]) in RESERVED_FLAGS:
            raise UsageError(f"--vllm-args: {flag} is for pixtral to choose", "Leave it out")
    return words


def find_executable(executable: str, env: Mapping[str, str] = os.environ) -> str:
    """The path of `vllm`: that of `executable` if it is not "", else the one on PATH, else the one beside this Python.

    Raises UsageError when there is none.
    """
    if executable:
        path = shutil.which(str(Path(executable).expanduser()), path=env.get("PATH"))
        if path is None:
            raise UsageError(f"There is no program {executable}, which should be vLLM", INSTALL_HINT)
        return path
    python_folder = str(Path(sys.executable).parent)
    path = shutil.which("vllm", path=env.get("PATH")) or shutil.which("vllm", path=python_folder)
    if path is None:
        raise UsageError("vLLM is not installed here", INSTALL_HINT)
    return path


def build_command(options: VllmOptions, folder: Path, name: str, dtype: str, listen: Sequence[str]) -> list[str]:
    """The command line that serves a checkpoint in mistral format. `listen`: the flags of the address to listen on."""
    words = [
        find_executable(options.executable), "serve", str(folder),
        "--tokenizer-mode", "mistral", "--config-format", "mistral", "--load-format", "mistral",
        "--generation-config", "vllm", "--served-model-name", name, *listen,
        "--enable-prompt-tokens-details", "--disable-uvicorn-access-log", "--structured-outputs-config", STRUCTURED_OUTPUTS,
    ]  # fmt: skip
    if dtype != "auto":
        words += ["--dtype", VLLM_DTYPES.get(dtype, dtype)]
    if options.tensor_parallel > 1:
        words += ["--tensor-parallel-size", str(options.tensor_parallel)]
    if options.pipeline_parallel > 1:
        words += ["--pipeline-parallel-size", str(options.pipeline_parallel)]
    if options.ray:
        words += ["--distributed-executor-backend", "ray"]
    return [*words, *options.arguments]


def build_environment(options: VllmOptions, key: str, env: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment with the API key (command lines are public), offline mode and without usage reports."""
    defaults = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    ray = {"RAY_ADDRESS": options.ray} if options.ray else {}
    return {**defaults, **env, **ray, "VLLM_API_KEY": key, "PYTHONUNBUFFERED": "1"}
