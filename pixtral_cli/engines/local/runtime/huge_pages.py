"""Asks Linux to keep weights in huge pages: decoding reads all of them for each token, and each 4 KB page costs a lookup.

What is read from the disk from then on is read, and mapped, 2 MB at a time where the file system can (ext4 since Linux
6.16, XFS, Btrfs). Pages of a file that are in memory already stay as they are.
"""

import ctypes
import mmap
import struct
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

MADV_HUGEPAGE = 14


def prefer_huge_pages(file: Path, opened: Any, without: Collection[str] = ()) -> None:
    """Advise huge pages for a safetensors file as `safe_open` maps it, except for the tensors `without`.

    To be called before tensors are used: one small page that is in memory keeps 2 MB around it from being a huge one. Does
    nothing on other systems than Linux.
    """
    names: list[str] = opened.offset_keys()
    if not sys.platform.startswith("linux") or not names:
        return
    with file.open("rb") as stream:
        (header,) = struct.unpack("<Q", stream.read(8))
    address = opened.get_tensor(names[0]).data_ptr()
    if not address:  # of an empty tensor
        return
    stop = address + file.stat().st_size - 8 - header
    tensors = [opened.get_tensor(name) for name in names if name in without]
    for tensor in [*tensors, None]:  # in the order of the file
        end = tensor.data_ptr() if tensor is not None else stop
        if end > address:
            _advise(address, end)
        if tensor is not None:
            address = end + tensor.nbytes


def _advise(start: int, stop: int) -> None:
    """Advise huge pages for the whole pages in [start, stop)."""
    start = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    try:
        madvise = ctypes.CDLL(None).madvise
    except (AttributeError, OSError):
        return
    madvise.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    if stop - start >= mmap.PAGESIZE:
        madvise(start, stop - start, MADV_HUGEPAGE)  # a kernel that has none refuses, and nothing is lost
