"""Talk with a vision model from the terminal."""

__version__ = "0.1.0"
