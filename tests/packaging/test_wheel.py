"""A wheel, built here for this platform, brings the kernel into an environment that has no compiler."""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT_FROM = ("pixtral_cli", "setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE")
SETS = {"x86_64": {"avx512", "avx2-vnni", "avx2-fma"}, "aarch64": {"neon-bf16", "neon-dotprod", "neon-base"}}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("cc"), reason="nothing compiles here"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what a source distribution holds."""
    folder = tmp_path_factory.mktemp("wheel")
    source, built = folder / "source", folder / "built"
    source.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    environment = os.environ | {"PIXTRAL_REQUIRE_KERNEL": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", built, source], check=True, env=environment)
    [file] = built.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of an environment with nothing in it but the wheel."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel], check=True)
    return python


def test_one_wheel_serves_every_version_of_python_on_this_platform(wheel: Path) -> None:
    assert wheel.name.split("-")[2:4] == ["cp311", "abi3"]
    assert platform.machine() in wheel.name


def test_the_kernel_for_every_instruction_set_is_inside(python: Path) -> None:
    script = Path(__file__).with_name("load_kernel.py")
    done = subprocess.run([python, script], capture_output=True, text=True, check=True, cwd="/")
    assert {line.split()[0] for line in done.stdout.splitlines()} == SETS[platform.machine()]


def test_what_was_installed_computes_with_its_kernel(python: Path) -> None:
    """With torch and the rest lent by the environment of the tests, but for this project."""
    code = (
        "from pixtral_cli.engines.local.kernels import cpu; import torch;"
        "print(cpu.__file__); print(cpu.kernel().instruction_set);"
        "layer = torch.nn.Linear(100, 50, bias=False).requires_grad_(False); x = torch.randn(3, 100);"
        "assert torch.allclose(cpu.linear(layer, x), layer(x), atol=1e-5)"
    )
    lent = os.environ | {"PYTHONPATH": sysconfig.get_path("purelib")}
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd="/", env=lent)
    file, instruction_set = done.stdout.splitlines()
    assert Path(file).is_relative_to(python.parents[1])
    assert instruction_set in SETS[platform.machine()]
