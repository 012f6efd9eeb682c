"""Thumbnails of pictures in the terminal."""
