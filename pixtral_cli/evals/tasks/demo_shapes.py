"""Drawn coloured shapes with short answers; part of the package."""

from pixtral_cli.evals.tasks import _demo

TASK = _demo.task("demo-shapes", "Demo: coloured shapes")
