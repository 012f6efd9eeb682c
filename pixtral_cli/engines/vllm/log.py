"""Parses the log of vLLM: the progress of its start, and why it ended."""

import re
from collections.abc import Callable

from pixtral_cli.errors import ModelError, NetworkError, OutOfMemory, PixtralError, UsageError

LOADING = "loading the weights"
PHASES = (  # a pattern in a line, and the step that begins there; the last match wins
    (re.compile(r"vLLM API server|version \d"), "reading the configuration"),
    (re.compile(r"Initializing a V\d LLM engine"), "starting the engine"),
    (re.compile(r"Started a local Ray|Connect\w+ to existing Ray"), "joining the Ray cluster"),
    (re.compile(r"Starting to load model|Loading .*shards"), LOADING),
    (re.compile(r"Loading weights took|Model loading took"), "measuring the memory"),
    (re.compile(r"Dynamo|torch\.compile|Compiling"), "compiling"),
    (re.compile(r"Capturing CUDA graphs"), "capturing graphs"),
    (re.compile(r"KV cache size"), "warming up"),
    (re.compile(r"Starting vLLM (API )?server"), "starting the HTTP server"),
)
LOADED_PERCENT = re.compile(r"[Ll]oading .*?(\d+)% Completed")
PREFIX = re.compile(r"^(?:\([\w. -]+?(?: pid=\d+)?(?:, ip=[\w.:]+)?\)\s*)*(?:[A-Z]+ [\d-]+ [\d:.]+ \[[^\]]*\]\s*)?")
EXCEPTION_LINE = re.compile(r"^(?:[\w.]+\.)?(\w*(?:Error|Exception|Exit|Interrupt|Died))(?:: (.*))?$")
VALIDATION_ERROR = re.compile(r"^\s*(?:Value|Assertion) error, (.*?)(?: \[type=|$)")
LOG_LEVEL_LINE = re.compile(r"^[^\[]{0,60}?\b(?:WARNING|INFO|DEBUG) [\d-]+ [\d:.]+ \[")
FOLLOW_UP_ERRORS = (
    "initialization failed",
    "EngineDeadError",
    "encountered an issue",
    "proc died",
    "died unexpectedly",
)
WITHOUT_VLLM = "Without vLLM: --engine local"
LESS_MEMORY_HINT = "Give it less: --vllm-args '--max-model-len 16384', or more GPUs: --tensor-parallel-size"

Cause = tuple[re.Pattern[str], Callable[[re.Match[str]], PixtralError]]


def _window_error(match: re.Match[str]) -> PixtralError:
    """The error about a KV cache that does not fit, with the window that would."""
    fits = re.search(r"maximum model length is (\d+)", match.string)
    hint = f"Ask for less: --vllm-args '--max-model-len {fits[1]}', or more GPUs" if fits else LESS_MEMORY_HINT
    return OutOfMemory(
        f"The KV cache of a window of {int(match[1]):,} tokens takes {match[2]} GiB, and {match[3]} are left", hint
    )


CAUSES: tuple[Cause, ...] = (
    (
        re.compile(r"max seq len \((\d+)\), \((\S+) GiB KV.*?cache memory \((\S+) GiB\)", re.S),
        _window_error,
    ),
    (
        re.compile(r"Free memory on device \S+ \((\S+)/(\S+) GiB\)"),
        lambda match: OutOfMemory(
            f"Of the GPU's {match[2]} GiB only {match[1]} are free, too little for vLLM",
            "End what uses it, or: --vllm-args '--gpu-memory-utilization 0.5'",
        ),
    ),
    (
        re.compile(r"No available memory for the cache blocks"),
        lambda _: OutOfMemory("The weights leave no memory for vLLM's KV cache", LESS_MEMORY_HINT),
    ),
    (
        re.compile(r"(?:CUDA|HIP|XPU) out of memory|OutOfMemoryError|DefaultCPUAllocator|MemoryError|std::bad_alloc"),
        lambda _: OutOfMemory("vLLM ran out of memory", LESS_MEMORY_HINT),
    ),
    (
        re.compile(r"Available (?:node )?memory|larger than the available (?:CPU )?memory"),
        lambda _: OutOfMemory("The machine has too little free memory for vLLM's KV cache", LESS_MEMORY_HINT),
    ),
    (
        re.compile(r"World size \((\d+)\) is larger than the number of available GPUs \((\d+)\)"),
        lambda match: UsageError(
            f"vLLM is to spread over {match[1]} GPUs, and this machine has {match[2]}",
            "Lower --tensor-parallel-size, or join machines: --ray",
        ),
    ),
    (
        re.compile(r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)"),
        lambda match: UsageError(
            f"The model's {match[1]} attention heads do not divide among {match[2]} GPUs",
            "Choose another --tensor-parallel-size",
        ),
    ),
    (
        re.compile(r"AssertionError: (\d+) is not divisible by (\d+)"),
        lambda match: UsageError(
            f"The model's {match[1]} vision heads do not divide among {match[2]} GPUs",
            "Choose another --tensor-parallel-size, or stages: --pipeline-parallel-size",
        ),
    ),
    (
        re.compile(r"unrecognized arguments: (.+)"),
        lambda match: UsageError(f"vLLM does not know {match[1].strip()[:60]}", "See: vllm serve --help=all"),
    ),
    (
        re.compile(r"vllm(?: serve)?: error: (.+)|api_server\.py: error: (.+)"),
        lambda match: UsageError(f"vLLM refuses: {(match[1] or match[2])[:90]}", "See: vllm serve --help=all"),
    ),
    (
        re.compile(r"Failed to infer device type|No CUDA GPUs are available|Found no NVIDIA driver"),
        lambda _: PixtralError("vLLM finds no GPU that it can use", "Answer with --engine local, or see nvidia-smi"),
    ),
    (
        re.compile(
            r"No module named 'ray'|Ray is not (?:installed|available)|import ray.*fail|ray.*is not installed", re.I
        ),
        lambda _: UsageError("Ray is not installed beside vLLM", "Install it there: pip install 'ray[cgraph]'"),
    ),
    (
        re.compile(
            r"Could not find any running Ray instance|Failed to connect to.*(?:GCS|Ray)|ray.*ConnectionError", re.I
        ),
        lambda _: NetworkError(
            "vLLM cannot reach the Ray cluster", "Is it up? ray status; start one: ray start --head"
        ),
    ),
    (
        re.compile(r"[Aa]ddress already in use"),
        lambda _: PixtralError("vLLM's address is taken by another program", "Try again"),
    ),
    (
        re.compile(
            r"SafetensorError|Error while deserializing|tekken|params\.json|shape mismatch|size of tensor"
            r"|There is no module or parameter named|Cannot find any model weights|No tokenizer file|to be inspected"
        ),
        lambda _: ModelError("vLLM cannot load this checkpoint", WITHOUT_VLLM),
    ),
)


def parse_progress(line: str) -> tuple[str, float | None]:
    """The step of the start at this line ("" if unknown), and the loaded fraction of the weights (None if unknown)."""
    doing = next((doing for pattern, doing in reversed(PHASES) if pattern.search(line)), "")
    share = LOADED_PERCENT.search(line)
    return doing, int(share[1]) / 100 if share else None


def explain_failure(text: str, status: int) -> PixtralError:
    """The error for a vLLM with this log and exit status."""
    exceptions = _exceptions(text)
    words = EXCEPTION_LINE.sub(r"\2", exceptions[-1]) if exceptions else ""
    for lines in ("\n".join(exceptions), "\n".join(text.splitlines()[-4:])):  # the exceptions take precedence
        for pattern, make_error in CAUSES:
            if match := pattern.search(lines):
                error = make_error(match)
                return (
                    ModelError(f"{error.message}: {words}"[:120], error.hint)
                    if isinstance(error, ModelError) and words
                    else error
                )
    if words and ", in load_weights" in text:
        return ModelError(f"vLLM cannot load this checkpoint: {words}"[:120], WITHOUT_VLLM)
    if status > 128:
        return PixtralError(f"vLLM was ended by signal {status - 128}", "Often it is the system, for lack of memory")
    return PixtralError(f"vLLM failed: {words}"[:120] if words else f"vLLM ended with status {status}", WITHOUT_VLLM)


def _exceptions(text: str) -> list[str]:
    """The exceptions in a log, one line each, in order, without those that only report another one."""
    exceptions = []
    for line in text.splitlines():
        bare = PREFIX.sub("", line)
        if LOG_LEVEL_LINE.match(line) or any(word in bare for word in FOLLOW_UP_ERRORS):
            continue
        if inner := VALIDATION_ERROR.match(bare):
            exceptions.append(f"ValueError: {inner[1]}")
        elif EXCEPTION_LINE.match(bare):
            exceptions.append(bare.strip())
    return exceptions
