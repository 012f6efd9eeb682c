"""Reads rows from a damaged SQLite file, page by page, without SQLite.

The format: https://www.sqlite.org/fileformat2.html. The rows of every intact leaf page of a table are read, whatever
state the pages above it are in. Malformed rows are left out; rows with wrong values must be found by their checksums.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE_SIZE = 4096
TABLE_LEAF = 0x0D
INTEGER_SIZES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # bytes, by serial type


def read_rows(file: Path, log: Path | None = None) -> Iterator[tuple[int, list[Any]]]:
    """(rowid, values) of every readable row of every table. `log` is the file's write-ahead log."""
    pages = _Pages(file, log)
    for number in range(1, pages.count + 1):
        page = pages.get(number)
        start = 100 if number == 1 else 0
        if len(page) == PAGE_SIZE and page[start] == TABLE_LEAF:
            yield from _leaf_rows(pages, page, start)


class _Pages:
    """The pages of the file by number from 1, each in its newest committed version."""

    def __init__(self, file: Path, log: Path | None) -> None:
        size = file.stat().st_size
        with file.open("rb") as stream:
            self._data: bytes | mmap.mmap = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self._newer = _committed_pages(log) if log and log.exists() else {}
        self.count = max([size // PAGE_SIZE, *self._newer])

    def get(self, number: int) -> bytes:
        if number in self._newer:
            return self._newer[number]
        return bytes(self._data[(number - 1) * PAGE_SIZE : number * PAGE_SIZE])


def _committed_pages(log: Path) -> dict[int, bytes]:
    """The newest committed version of each page in a write-ahead log."""
    data = log.read_bytes()
    salt = data[16:24]
    committed: dict[int, bytes] = {}
    uncommitted: dict[int, bytes] = {}
    for start in range(32, len(data) - PAGE_SIZE - 23, PAGE_SIZE + 24):
        number, commit = struct.unpack_from(">II", data, start)
        if data[start + 8 : start + 16] != salt or not number:
            break
        uncommitted[number] = data[start + 24 : start + 24 + PAGE_SIZE]
        if commit:
            committed.update(uncommitted)
            uncommitted.clear()
    return committed


def _leaf_rows(pages: _Pages, page: bytes, start: int) -> Iterator[tuple[int, list[Any]]]:
    count = int.from_bytes(page[start + 3 : start + 5])
    for slot in range(start + 8, min(start + 8 + 2 * count, PAGE_SIZE - 1), 2):
        try:
            size, at = _varint(page, int.from_bytes(page[slot : slot + 2]))
            rowid, at = _varint(page, at)
            yield rowid, _record(_payload(pages, page, at, size))
        except (IndexError, ValueError):
            continue


def _payload(pages: _Pages, page: bytes, at: int, size: int) -> bytes:
    """The payload of a row, `size` bytes: the part on its leaf page and that on its chain of overflow pages."""
    local = size
    if size > PAGE_SIZE - 35:
        minimum = (PAGE_SIZE - 12) * 32 // 255 - 23
        local = minimum + (size - minimum) % (PAGE_SIZE - 4)
        local = local if local <= PAGE_SIZE - 35 else minimum
    chunks = [page[at : at + local]]
    remaining = size - local
    next_page = int.from_bytes(page[at + local : at + local + 4]) if remaining else 0
    if remaining > pages.count * PAGE_SIZE:
        raise ValueError("a row longer than the file")
    while remaining > 0:
        if not 1 < next_page <= pages.count:
            raise ValueError("a broken chain")
        overflow = pages.get(next_page)
        chunks.append(overflow[4 : 4 + min(remaining, PAGE_SIZE - 4)])
        remaining -= PAGE_SIZE - 4
        next_page = int.from_bytes(overflow[:4])
    payload = b"".join(chunks)
    if len(payload) != size:
        raise ValueError("a short row")
    return payload


def _record(payload: bytes) -> list[Any]:
    """The values of a record: a header of serial types, then the values."""
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values = []
    for kind in kinds:
        value, at = _value(payload, kind, at)
        values.append(value)
    if at != len(payload):
        raise ValueError("not a row")
    return values


def _value(payload: bytes, kind: int, at: int) -> tuple[Any, int]:
    """The value of serial type `kind` at an offset, and the offset of its end."""
    if kind in INTEGER_SIZES:
        end = at + INTEGER_SIZES[kind]
        return int.from_bytes(payload[at:end], signed=True), end
    if kind == 7:
        if at + 8 > len(payload):
            raise ValueError("a short number")
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind in (0, 8, 9):
        return (None if kind == 0 else kind - 8), at
    if kind < 12:
        raise ValueError("a reserved kind")
    end = at + (kind - 12) // 2
    raw = payload[at:end]
    return (raw.decode("utf-8") if kind % 2 else raw), end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The variable-length integer at an offset (big-endian, 7 bits a byte, at most 9 bytes), and the offset of its end."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9
