"""The client of a chat completions API."""
