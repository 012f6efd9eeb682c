"""The options of the application: the served model, who may use it, and the limits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pixtral_cli.chat.engine import Sampling
from pixtral_cli.server.http.access import AccessRules
from pixtral_cli.server.openai.conversation import ImageLoader
from pixtral_cli.server.openai.requests import make_image_loader

MB = 1_000_000


@dataclass(frozen=True)
class ServiceOptions:
    """The served model, the access rules and the limits.

    `running` answers are computed at a time, `waiting` requests may queue. A body may have `body_limit` bytes and must
    arrive within `body_seconds`; all bodies together may have `bodies_limit` bytes; a client must read what it is sent
    within `read_seconds`. `trusted`: the only client is another pixtral process of the same user, which has checked its
    requests; error messages may name files, and /v1/status exists.

    The functions report on the engine: `window` its context window in tokens (None while it is not known), `alive`
    whether it answers, `deaths` how often its process has ended, `caches` size and limit of each cache in bytes.
    `set_keep_alive` sets the idle time in seconds after which this process ends. `size`: of the weights in bytes.
    """

    model: str
    aliases: Sequence[str] = ()
    rules: AccessRules = field(default_factory=AccessRules)
    defaults: Sampling = field(default_factory=Sampling)
    load: ImageLoader = field(default_factory=lambda: make_image_loader(urls=True))
    running: int = 1
    waiting: int = 16
    body_limit: int = 64 * MB
    bodies_limit: int = 256 * MB
    body_seconds: float = 25.0
    read_seconds: float = 30.0
    trusted: bool = False
    window: Callable[[], int | None] = lambda: None
    alive: Callable[[], bool] = lambda: True
    deaths: Callable[[], int] = lambda: 0
    replicas: Callable[[], list[dict[str, Any]]] = list
    status: Callable[[], dict[str, Any]] = dict
    set_keep_alive: Callable[[float], None] | None = None
    size: int = 0
    caches: Callable[[], Mapping[str, Sequence[int]]] = dict
