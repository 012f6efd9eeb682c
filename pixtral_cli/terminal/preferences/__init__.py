"""What the config changes about the terminal: the colours and the keys."""
