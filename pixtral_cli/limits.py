"""The ranges of the settings that are numbers: the command line, the config file, the API and the engines share them."""

import sys
from typing import Any

MAX_TEMPERATURE = 10
MIN_SEED, MAX_SEED = -(2**63), 2**63 - 1

# Least value, largest value, the range in words.
RANGES: dict[str, tuple[Any, Any, str]] = {
    "temperature": (0, MAX_TEMPERATURE, f"0 to {MAX_TEMPERATURE}"),
    "top_p": (0, 1, "0 to 1"),
    "max_tokens": (1, sys.maxsize, "1 or more"),
    "tensor_parallel_size": (1, sys.maxsize, "1 or more"),
    "pipeline_parallel_size": (1, sys.maxsize, "1 or more"),
}
