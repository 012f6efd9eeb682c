"""Measuring a model: tasks, metrics, the run that asks and marks, and the reports."""
