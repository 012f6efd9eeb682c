"""Markdown as a terminal shows it."""
