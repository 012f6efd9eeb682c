"""Output to a terminal or a pipe: answers, notes, progress."""
