"""What pyproject.toml cannot say yet: a kernel in C. Where nothing can compile it, torch computes instead."""

from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("pixtral_cli/engines/local/kernels")

kernel = Extension(
    "pixtral_cli.engines.local.kernels._cpu",
    sorted(str(file) for file in SOURCES.glob("*.c")),
    depends=[str(file) for file in SOURCES.glob("*.h")],
    extra_compile_args=["-O3", "-pthread"],
    extra_link_args=["-pthread", "-lm"],
    optional=True,
)
setup(ext_modules=[kernel])
