"""The state of a replica, and the settings with which its parts are started."""

import secrets
from dataclasses import dataclass, field

from pixtral_cli.engines.remote.client import ApiClient, CancellableRequest
from pixtral_cli.engines.vllm.cluster.arrangement import Replica


@dataclass(slots=True)
class ReplicaState:
    """The state of a replica. `epoch`: the number of its start; `requests`: those of unfinished answers.

    `down_reason`: why it is not `up`, or "" before its first start; `not_before`: the time of its next start;
    `failures`: failed starts since it last answered; `checking`: whether a thread checks if it answers.
    """

    replica: Replica
    epoch: int = 0
    up: bool = False
    down_reason: str = ""
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
class LaunchSettings:
    """The settings of all parts. `name`: the model's; `arguments`: further ones for vLLM; `port`: the coordinator's."""

    name: str
    dtype: str
    arguments: tuple[str, ...]
    port: int
