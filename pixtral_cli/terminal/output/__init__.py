"""What is written to a terminal or a pipe: answers, notes, progress."""
