"""Draws thumbnails in the terminal by the method that it supports."""

import os
from collections.abc import Callable, Mapping
from typing import TextIO

from pixtral_cli.images.image import Image
from pixtral_cli.terminal.graphics.draw import METHODS, can_draw, draw_thumbnail
from pixtral_cli.terminal.graphics.probe import TerminalGraphics, probe_terminal


class Thumbnails:
    """Callable with an image and the setting `preview` (on, off or a method); returns the text that draws its thumbnail.

    The terminal is probed at the first image; `unread` is called with the keys that were typed meanwhile.
    """

    def __init__(
        self, screen: TextIO, keyboard: int, unread: Callable[[bytes], None], env: Mapping[str, str] = os.environ
    ) -> None:
        self._screen = screen
        self._keyboard = keyboard
        self._unread = unread
        self._env = env
        self._terminal: TerminalGraphics | None = None

    def __call__(self, image: Image, method_name: str) -> str:
        if method_name == "off" or not can_draw(self._screen, self._env):
            return ""
        terminal = self._probe()
        method = next((method for method in METHODS if method == method_name), terminal.method)
        truecolor = self._env.get("COLORTERM") in ("truecolor", "24bit")
        return draw_thumbnail(
            image, method, os.get_terminal_size(self._screen.fileno()).columns, terminal.cell, truecolor
        )

    def _probe(self) -> TerminalGraphics:
        if self._terminal is None:
            self._terminal = probe_terminal(self._keyboard, self._screen.fileno(), self._env.get("TERM", ""))
            if self._terminal.typed:
                self._unread(self._terminal.typed)
        return self._terminal
