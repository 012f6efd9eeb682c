"""Runs every check of `pixtral doctor`: Python, libraries, memory, models, terminal. Repairs nothing."""

import os
import shutil
import sys
from collections.abc import Iterator

from pixtral_cli.doctor import machine, weights
from pixtral_cli.doctor.check import Check
from pixtral_cli.doctor.terminal import terminal_checks


def examine(*, online: bool = False) -> Iterator[Check]:
    """The results of all checks, each yielded when it is done. The hub is contacted only with `online`."""
    yield machine.python_check()
    yield from machine.package_checks()
    yield machine.settings_check()
    yield from machine.folder_checks()
    yield from machine.device_checks()
    yield from weights.model_checks()
    yield from weights.download_checks()
    yield weights.token_check(os.environ)
    if online:
        yield weights.hub_check()
    yield from terminal_checks(os.environ, sys.platform, shutil.which, sys.stdout.isatty(), sys.stdout.encoding)
