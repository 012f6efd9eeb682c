"""Structured answers: JSON schemas, their short form, validation, and records."""
