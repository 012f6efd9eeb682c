"""The ranges of the settings that are numbers: the command line, the config file, the API and the engines share them."""

import sys
from typing import Any

MAX_TEMPERATURE = 10
MAX_TOP_LOGPROBS = 20  # likely tokens in the place of each token of an answer
MAX_CHOICES = 32  # answers to one request
MAX_BIASES, MAX_BIAS = 10_000, 100  # tokens, and what is added to or taken from a logit
MAX_TOP_K = 2**31
MIN_SEED, MAX_SEED = -(2**63), 2**63 - 1

# Least value, largest value, the range in words.
RANGES: dict[str, tuple[Any, Any, str]] = {
    "temperature": (0, MAX_TEMPERATURE, f"0 to {MAX_TEMPERATURE}"),
    "top_p": (0, 1, "0 to 1"),
    "top_k": (0, MAX_TOP_K, "0 or more"),
    "min_p": (0, 1, "0 to 1"),
    "repetition_penalty": (0.01, 100, "0.01 to 100"),
    "frequency_penalty": (-2, 2, "-2 to 2"),
    "presence_penalty": (-2, 2, "-2 to 2"),
    "logprobs": (0, MAX_TOP_LOGPROBS, f"0 to {MAX_TOP_LOGPROBS}"),
    "n": (1, MAX_CHOICES, f"1 to {MAX_CHOICES}"),
    "max_tokens": (1, sys.maxsize, "1 or more"),
    "tensor_parallel_size": (1, sys.maxsize, "1 or more"),
    "pipeline_parallel_size": (1, sys.maxsize, "1 or more"),
    "nodes": (1, 1000, "1 to 1000"),
    "replicas": (1, 100, "1 to 100"),
}

# The parameters of a sampling that are settings.
SAMPLING_SETTINGS = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
    "max_tokens", "seed",
)  # fmt: skip
