"""Handles a current folder that was removed, in which libraries fail to start."""

import os


def leave_removed_folder() -> bool:
    """Change to the root folder if the current folder does not exist; returns whether it did not."""
    try:
        os.getcwd()  # noqa: PTH109  no Path is wanted
    except FileNotFoundError:
        os.chdir(os.sep)
        return True
    return False
