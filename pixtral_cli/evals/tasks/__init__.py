"""The tasks, each in a file of its own; `evals.task_registry` finds them by name."""
