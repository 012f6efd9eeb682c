"""Limits the number of open connections, in total and from one address, far below the limit of file descriptors."""

import asyncio
import logging
import time
from collections import Counter
from typing import Any

MAX_CONNECTIONS = 512
LOG_INTERVAL = 60.0  # seconds between two messages about connections that cannot be accepted
log = logging.getLogger("pixtral.server")


class ConnectionLimits:
    """Counts open connections. At most half of `total` may come from one address."""

    def __init__(self, total: int | None = None) -> None:
        self.total = total or min(MAX_CONNECTIONS, _max_open_files() // 2)
        self.by_address = max(1, self.total // 2)
        self._open: Counter[str] = Counter()
        self._logged_at = -LOG_INTERVAL

    def enter(self, address: str | None) -> bool:
        """Count a connection; returns False when a limit is reached. `address`: None on a Unix socket, which has no limit of its own."""
        if self._open.total() >= self.total or (address and self._open[address] >= self.by_address):
            self._log("Too many connections are open; new ones are closed.")
            return False
        self._open[address or ""] += 1
        return True

    def leave(self, address: str | None) -> None:
        """Uncount a connection for which `enter` returned True."""
        self._open[address or ""] -= 1
        if not self._open[address or ""]:
            del self._open[address or ""]

    def handle_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """The event loop's exception handler. Logs failures to accept connections, once a minute: accept is retried every second."""
        if "accept" in context.get("message", "") and isinstance(context.get("exception"), OSError):
            self._log(f"Connections cannot be accepted: {context['exception'].strerror}.")
        else:
            loop.default_exception_handler(context)

    def _log(self, message: str) -> None:
        if time.monotonic() - self._logged_at >= LOG_INTERVAL:
            self._logged_at = time.monotonic()
            log.error("%s", message)


def _max_open_files() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 2 * MAX_CONNECTIONS
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
