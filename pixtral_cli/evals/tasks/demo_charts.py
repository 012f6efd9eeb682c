"""Drawn bar and line charts with short answers; part of the package."""

from pixtral_cli.evals.tasks import _demo

TASK = _demo.task("demo-charts", "Demo: bar and line charts")
