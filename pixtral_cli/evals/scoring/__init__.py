"""Scoring of answers: metrics, checkable instructions, judges, intervals."""
