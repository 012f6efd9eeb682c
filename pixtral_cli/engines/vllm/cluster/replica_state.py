"""What is known of a replica, and what its parts are started with."""

import secrets
from dataclasses import dataclass, field

from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.vllm.cluster.arrangement import Replica


@dataclass(slots=True)
class ReplicaState:
    """A replica as it is now. `epoch` counts its starts; `requests` are the answers in the making."""

    replica: Replica
    epoch: int = 0
    up: bool = False
    down_because: str = ""
    client: ApiClient | None = None
    window: int | None = None
    requests: set[CancellableRequest] = field(default_factory=set)
    answers: int = 0
    restarts: int = 0
    failures: int = 0
    not_before: float = 0.0
    checking: bool = False
    key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    doing: str = ""
    loaded: float = 0.0


@dataclass(frozen=True, slots=True)
class Launch:
    """What all parts are started with: the model's name, dtype, further arguments, and the port to count from."""

    name: str
    dtype: str
    arguments: tuple[str, ...]
    port: int
