"""What pyproject.toml cannot say yet: a kernel in C. Where nothing can compile it, torch computes instead."""

from setuptools import Extension, setup

kernel = Extension(
    "pixtral_cli.engines.local.kernels._product",
    ["pixtral_cli/engines/local/kernels/product.c"],
    extra_compile_args=["-O3", "-pthread"],
    extra_link_args=["-pthread", "-lm"],
    optional=True,
)
setup(ext_modules=[kernel])
