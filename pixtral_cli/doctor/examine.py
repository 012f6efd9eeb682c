"""Looks at everything a question needs (Python, libraries, memory, models, terminal) and says what to do. Mends nothing."""

import os
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
from pixtral_cli.doctor import machine, weights
from pixtral_cli.doctor.check import Check
from pixtral_cli.doctor.terminal import terminal_checks


def examine(*, online: bool = False) -> Iterator[Check]:
    """Every check in turn. The hub is asked only when `online`."""
    yield machine.python_check()
    yield from machine.package_checks()
    yield machine.settings_check()
    yield from machine.device_checks()
    yield from weights.model_checks()
    yield from weights.downloads_check()
    yield weights.token_check(os.environ)
    if online:
        yield weights.hub_check()
    yield from terminal_checks(os.environ, sys.platform, shutil.which, sys.stdout.isatty(), sys.stdout.encoding)
