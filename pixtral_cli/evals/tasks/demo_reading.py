"""Drawn printed words with short answers; part of the package."""

from pixtral_cli.evals.tasks import _demo

TASK = _demo.task("demo-reading", "Demo: printed words")
