"""The terminal: rendering, the REPL, previews."""
