"""vLLM on the CPU as it comes, compiled, from an environment of its own: the `vllm` in `.venv-vllm`."""

import os
import tempfile
from pathlib import Path

from benchmarks.peers.answering import Conversation
from pixtral_cli.engines.vllm.command import VllmOptions
from pixtral_cli.engines.vllm.engine import VllmEngine

PROGRAM = Path(__file__).parent.parent.parent / ".venv-vllm" / "bin" / "vllm"


def missing(precision: str) -> str:
    return "" if PROGRAM.exists() else "not installed: `make bench` installs it into .venv-vllm"


def prepare(folder: Path, precision: str) -> None:
    """It takes our folder."""


def open_program(folder: Path, precision: str, context: int, slots: int, label: str) -> "Vllm":
    return Vllm(folder, context)


class Vllm(Conversation):
    def __init__(self, folder: Path, context: int) -> None:
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        self._own = tempfile.TemporaryDirectory()
        launch = VllmOptions(self._own.name, self._own.name, str(PROGRAM), arguments=("--max-model-len", str(context)))
        self._server = VllmEngine(folder, name="model", options=launch, dtype="bf16")
        super().__init__(self._server)
        self.alone("Begin.", 2)  # starts it

    def close(self) -> dict[str, float]:
        """Its processes' memory is mostly room that it reserves: not measured."""
        self._server.close()
        self._own.cleanup()
        return {}
