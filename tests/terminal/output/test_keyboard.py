"""Keys that are typed while nobody reads them are neither shown nor lost."""

import os
import pty
import termios
import time

from pixtral_cli.terminal.output.keyboard import hold_keys, pending_keys


def test_ctrl_c_throws_nothing_away_that_was_typed_before_it() -> None:
    master, keyboard = pty.openpty()
    try:
        with hold_keys(keyboard):
            assert not termios.tcgetattr(keyboard)[3] & termios.ECHO
            os.write(master, b"second question")
            time.sleep(0.2)
            os.write(master, b"\x03")  # no session belongs to this terminal: the signal reaches nobody
            time.sleep(0.2)
            assert pending_keys(keyboard) == b"second question"
    finally:
        os.close(master)
        os.close(keyboard)


def test_the_terminal_is_as_before_afterwards() -> None:
    master, keyboard = pty.openpty()
    try:
        before = termios.tcgetattr(keyboard)
        with hold_keys(keyboard):
            pass
        assert termios.tcgetattr(keyboard) == before
    finally:
        os.close(master)
        os.close(keyboard)


def test_a_descriptor_that_is_no_terminal_is_left_alone() -> None:
    reading, writing = os.pipe()
    with hold_keys(reading):
        assert pending_keys(reading) == b""
    os.close(reading)
    os.close(writing)
