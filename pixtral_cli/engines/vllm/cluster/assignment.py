"""What a machine must run, one part of one replica, and its report about it. Both are sent as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from pixtral_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Assignment:
    """Part `part` of the `parts` of a replica, each on its own machine.

    Part 0 serves HTTP, on `port` or (0) on a socket. `epoch`: the number of the replica's start; another start is
    another process. `key`: the API key of the HTTP server.
    """

    replica: int
    epoch: int
    part: int
    parts: int
    tensor: int
    pipeline: int
    master: str
    master_port: int
    port: int
    key: str
    slot: int
    slots: int
    dtype: str
    arguments: tuple[str, ...]

    @property
    def identity(self) -> tuple[int, int]:
        """The replica and its epoch."""
        return self.replica, self.epoch

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Assignment":
        """The assignment that `to_json` described. Raises UsageError for anything else."""
        try:
            return cls(**{**value, "arguments": tuple(value["arguments"])})
        except (KeyError, TypeError) as error:
            raise UsageError("The first machine's assignment cannot be read", "Run the same pixtral on all") from error


@dataclass(frozen=True, slots=True)
class PartReport:
    """The state of a part: running, stopping or ended.

    `doing`: the step of its start; `loaded`: the fraction of the weights. `kind`, `message` and `hint`: the class and
    texts of the error with which it ended.
    """

    replica: int
    epoch: int
    state: str
    doing: str = ""
    loaded: float = 0.0
    kind: str = ""
    message: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "PartReport":
        """The report that `to_json` described. Raises UsageError for anything else."""
        try:
            return cls(**value)
        except TypeError as error:
            raise UsageError("The machine's report cannot be read", "Run the same pixtral on all") from error
