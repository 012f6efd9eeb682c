"""What a machine is told to run: one part of one replica. Travels as JSON."""

from dataclasses import asdict, dataclass
from typing import Any

from pixtral_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class Order:
    """Part `part` of the `parts` of a replica, each on a machine of its own; part 0 answers HTTP, on `port` or a socket.

    `epoch` counts the starts of the replica: a new one is another process. `key` is the API key of its HTTP server.
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
        return self.replica, self.epoch

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> "Order":
        """Raises UsageError for what is no order."""
        try:
            return cls(**{**value, "arguments": tuple(value["arguments"])})
        except (KeyError, TypeError) as error:
            raise UsageError("The first machine's order cannot be read", "Run the same pixtral on all") from error


@dataclass(frozen=True, slots=True)
class PartReport:
    """How a part is: `state` is running, stopping or ended; `doing` what a start does, `error` why it has ended."""

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
        try:
            return cls(**value)
        except TypeError as error:
            raise UsageError("The machine's report cannot be read", "Run the same pixtral on all") from error
