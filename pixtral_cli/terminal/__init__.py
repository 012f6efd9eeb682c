"""The terminal's side of the commands: output, the REPL, image thumbnails, the desktop."""
