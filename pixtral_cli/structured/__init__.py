"""Answers that are data: JSON schemas, their short form, records."""
