"""Turns torch's ways of saying that memory ran out into our error, once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pixtral_cli.errors import OutOfMemory

SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
HINT = "Send fewer or smaller images, /clear the conversation, or try --dtype bf16; see pixtral doctor"


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Raise OutOfMemory, saying what was being done, where torch or Python ran out of memory."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(f"Memory ran out while {doing}", HINT) from error
    except RuntimeError as error:
        if not any(sign in str(error) for sign in SIGNS):
            raise
        raise OutOfMemory(f"Memory ran out while {doing}", HINT) from error
