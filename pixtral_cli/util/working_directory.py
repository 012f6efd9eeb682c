"""The current folder when somebody has removed it: libraries that start there would end the process."""

import os


def leave_removed_folder() -> bool:
    """Go to the root folder if the current one is gone; returns whether it was."""
    try:
        os.getcwd()  # noqa: PTH109  no Path is wanted
    except FileNotFoundError:
        os.chdir(os.sep)
        return True
    return False
