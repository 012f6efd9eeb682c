"""This project's own engine."""

from pathlib import Path

from benchmarks import apart
from benchmarks.peers.answering import Conversation
from benchmarks.scenario import peak_memory
from pixtral_cli.engines.local.engine import LocalEngine, import_model

SYSTEM = "You describe pictures in a few plain words."  # the template puts it into the newest message


def missing(precision: str) -> str:
    return ""


def prepare(folder: Path, precision: str) -> None:
    """Quantize once: the next load finds it on the disk. A process that has loaded it would keep the file there."""
    if precision != "bf16":
        apart.call("benchmarks.peers.pixtral:quantize", folder, precision)


def quantize(folder: str, precision: str) -> None:
    engine(Path(folder), precision).load()


def engine(folder: Path, precision: str = "bf16") -> LocalEngine:
    quantize = "none" if precision == "bf16" else precision
    return LocalEngine(folder, device="cpu", dtype="bf16", quantize=quantize, cache=folder / "cache")


def open_program(folder: Path, precision: str, context: int, slots: int, label: str) -> "Pixtral":
    return Pixtral(folder, precision, SYSTEM if "system" in label else "")


class Pixtral(Conversation):
    def __init__(self, folder: Path, precision: str, system: str) -> None:
        import_model()
        self._imports = peak_memory()
        self.local = engine(folder, precision)
        self.runner = self.local.load()
        super().__init__(self.local, system)

    def close(self) -> dict[str, float]:
        """Also what it held before it loaded, its weights, and of them those that every decoded token reads."""
        state = self.runner.weights.model.state_dict()
        sizes = {tensor.data_ptr(): (key, tensor.nbytes) for key, tensor in state.items()}  # tied ones once
        unread = ("vision", "tok_embeddings", "patch_merger", "pre_mm")
        step = sum(size for key, size in sizes.values() if not key.startswith(unread))
        return {
            "memory": peak_memory(), "imports": self._imports, "weights": sum(size for _, size in sizes.values()),
            "step": step,
        }  # fmt: skip
