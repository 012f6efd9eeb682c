"""Which texts the settings with a format of their own may hold."""

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from pixtral_cli.errors import UsageError
from pixtral_cli.util import durations

CHOICES: Mapping[str, tuple[str, ...]] = {
    "engine": ("local", "vllm", "api"),
    "dtype": ("auto", "bfloat16", "bf16", "float16", "fp16", "float32", "fp32"),
    "quantize": ("auto", "none", "8bit", "4bit"),
    "thinking": ("show", "fold", "hide"),
}
_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d{1,3})?")


def check_format(key: str, value: str, where: str) -> None:
    """Raises UsageError, which names the setting behind `where`, for a text that it cannot be."""
    if key in CHOICES and value not in CHOICES[key]:
        *others, last = CHOICES[key]
        raise UsageError(f"{where}{key} must be {', '.join(others)} or {last}, not {value!r}")
    if check := _CHECKS.get(key):
        check(value, f"{where}{key}")


def check_base_url(url: str, name: str) -> None:
    """Raises UsageError, which names the option or setting `name`, for anything but the base URL of an http(s) API."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise UsageError(f"{name} must be an http(s) URL, not {url!r}", "Such as http://localhost:8000/v1")


def _check_device(value: str, name: str) -> None:
    if not _DEVICE.fullmatch(value):
        raise UsageError(f"{name} must be auto, cpu, cuda, cuda:N or mps, not {value!r}")


_CHECKS: Mapping[str, Callable[[str, str], object]] = {
    "base_url": check_base_url,
    "device": _check_device,
    "join_timeout": durations.parse,
    "keep_alive": durations.parse,
}
