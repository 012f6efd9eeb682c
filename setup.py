"""What pyproject.toml cannot say yet: a kernel in C. Where nothing can compile it, torch computes instead.

It is called through ctypes and knows no Python, so that one wheel serves every version from 3.11 on. With
PIXTRAL_REQUIRE_KERNEL a kernel that does not compile is an error, as it is for wheels that others install.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

SOURCES = Path("pixtral_cli/engines/local/kernels")

kernel = Extension(
    "pixtral_cli.engines.local.kernels._cpu",
    sorted(str(file) for file in SOURCES.glob("*.c")),
    depends=[str(file) for file in SOURCES.glob("*.h")],
    extra_compile_args=["-O3", "-g0", "-pthread"],
    extra_link_args=["-pthread", "-lm"],
    optional="PIXTRAL_REQUIRE_KERNEL" not in os.environ,
    py_limited_api=True,
)
setup(ext_modules=[kernel], options={"bdist_wheel": {"py_limited_api": "cp311"}})
