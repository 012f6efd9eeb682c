"""The desktop around the terminal: clipboard, screenshots, the user's editor."""
