"""Instructions that the CPU kernel executes for each weight of a matrix-vector product, by instruction set.

`python -m benchmarks.instructions` prints a table. Both architectures are run by qemu, which executes and counts one
instruction at a time: gcc, gcc-aarch64-linux-gnu and qemu-user are needed. What an instruction costs is not told by it.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from pixtral_cli.engines.local.kernels import cpu
from tests.engines.local.kernels.test_arm import Recording
from tests.engines.local.kernels.test_instruction_sets import FORMATS, weights

SOURCES = Path(cpu.__file__).parent
REPLAY = Path(__file__).parent.parent / "tests" / "engines" / "local" / "kernels" / "replay.c"
ROWS, MORE_ROWS, COLUMNS = (
    16,
    48,
    2048,
)  # the vector's own preparation, which large matrices hardly feel, falls out of the difference


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to compile for it, how to run that, and the instruction sets that are counted."""

    compiler: str
    emulator: str
    sets: tuple[str, ...]

    def compile(self, folder: Path) -> Path:
        program = folder / self.emulator
        sources = [*sorted(SOURCES.glob("*.c")), REPLAY]
        options = ["-O3", "-static", "-pthread", f"-I{SOURCES}"]
        subprocess.run([self.compiler, *options, *sources, "-lm", "-o", program], check=True)
        return program

    def executed(self, program: Path, calls: Path, instruction_set: str, repeat: int) -> int:
        """Instructions of a run that computes the first of the recorded products so many times."""
        tracing = ["-singlestep", "-d", "exec,nochain", "-D", "/proc/self/fd/1"]
        command = [self.emulator, "-cpu", "max", *tracing, str(program), str(calls), instruction_set, str(repeat)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout
            count = sum(line.startswith(b"Trace ") for line in process.stdout)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}")
        return count


ARCHITECTURES = (
    Architecture("gcc", "qemu-x86_64", ("avx2",)),
    Architecture("aarch64-linux-gnu-gcc", "qemu-aarch64", ("neon-base", "neon-dotprod", "neon-bf16")),
)


def measure() -> Iterator[tuple[str, str, float]]:
    """Each instruction set and format, with its instructions a weight."""
    for architecture in ARCHITECTURES:
        with tempfile.TemporaryDirectory() as scratch:
            program = architecture.compile(Path(scratch))
            calls = Path(scratch) / "calls"
            for name, format in FORMATS.items():
                for instruction_set in architecture.sets:
                    products = []
                    for rows in (ROWS, MORE_ROWS):
                        calls.write_bytes(_product(format, rows))
                        twice, thrice = (architecture.executed(program, calls, instruction_set, n) for n in (2, 3))
                        products.append(thrice - twice)
                    yield instruction_set, name, (products[1] - products[0]) / ((MORE_ROWS - ROWS) * COLUMNS)


def _product(format: int, rows: int) -> bytes:
    """A recorded product of one vector in bf16, the activations of every model."""
    draw, recording = torch.Generator().manual_seed(0), Recording()
    matrix = weights(rows, COLUMNS, format, torch.bfloat16, draw)
    recording.linear(matrix, torch.randn(1, COLUMNS, generator=draw).bfloat16())
    return bytes(recording.data)


def main() -> None:
    counts = {(instruction_set, name): count for instruction_set, name, count in measure()}
    sets = [instruction_set for architecture in ARCHITECTURES for instruction_set in architecture.sets]
    print("format   " + "".join(f"{instruction_set:>22}" for instruction_set in sets))
    for name in FORMATS:
        base = counts[sets[0], name]
        cells = (f"{counts[each, name]:.3f} ({counts[each, name] / base:.2f}×)" for each in sets)
        print(f"{name:9}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
