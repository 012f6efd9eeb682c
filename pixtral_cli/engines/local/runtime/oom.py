"""Translates the errors that torch and Python raise when memory runs out."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pixtral_cli.errors import OutOfMemory

OOM_MESSAGES = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
OOM_HINT = "Send fewer or smaller images, /clear the conversation, or try --dtype bf16; see pixtral doctor"


@contextmanager
def translate_oom(doing: str) -> Iterator[None]:
    """Raises OutOfMemory when torch or Python runs out of memory.

    `doing`: the operation, for the message (`loading NAME`).
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(f"Memory ran out while {doing}", OOM_HINT) from error
    except RuntimeError as error:
        if not any(message in str(error) for message in OOM_MESSAGES):
            raise
        raise OutOfMemory(f"Memory ran out while {doing}", OOM_HINT) from error
