"""The parts of the config about the terminal: colours and keys."""
