"""Rows out of a damaged SQLite file, page by page, without SQLite.

The format: https://www.sqlite.org/fileformat2.html. Every whole leaf page of a table gives its rows, whatever became of
the pages above it; rows that cannot be are left out, rows that are wrong are for the reader's checksums to find.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE_SIZE = 4096
LEAF = 0x0D
INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


def read_rows(file: Path, log: Path | None = None) -> Iterator[tuple[int, list[Any]]]:
    """(rowid, values) of every readable row of every table; `log` is the write-ahead log beside the file."""
    pages = _Pages(file, log)
    for number in range(1, pages.count + 1):
        page = pages.get(number)
        start = 100 if number == 1 else 0
        if len(page) == PAGE_SIZE and page[start] == LEAF:
            yield from _leaf(pages, page, start)


class _Pages:
    """The pages of the file, each as the log has it last."""

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
    open_: dict[int, bytes] = {}
    for start in range(32, len(data) - PAGE_SIZE - 23, PAGE_SIZE + 24):
        number, commit = struct.unpack_from(">II", data, start)
        if data[start + 8 : start + 16] != salt or not number:
            break
        open_[number] = data[start + 24 : start + 24 + PAGE_SIZE]
        if commit:
            committed.update(open_)
            open_.clear()
    return committed


def _leaf(pages: _Pages, page: bytes, start: int) -> Iterator[tuple[int, list[Any]]]:
    count = int.from_bytes(page[start + 3 : start + 5])
    for slot in range(start + 8, min(start + 8 + 2 * count, PAGE_SIZE - 1), 2):
        try:
            size, at = _varint(page, int.from_bytes(page[slot : slot + 2]))
            rowid, at = _varint(page, at)
            yield rowid, _record(_payload(pages, page, at, size))
        except (IndexError, ValueError):
            continue


def _payload(pages: _Pages, page: bytes, at: int, size: int) -> bytes:
    """A row's bytes: those on its leaf and those on its chain of overflow pages."""
    local = size
    if size > PAGE_SIZE - 35:
        least = (PAGE_SIZE - 12) * 32 // 255 - 23
        local = least + (size - least) % (PAGE_SIZE - 4)
        local = local if local <= PAGE_SIZE - 35 else least
    pieces = [page[at : at + local]]
    left = size - local
    following = int.from_bytes(page[at + local : at + local + 4]) if left else 0
    if left > pages.count * PAGE_SIZE:
        raise ValueError("a row longer than the file")
    while left > 0:
        if not 1 < following <= pages.count:
            raise ValueError("a broken chain")
        over = pages.get(following)
        pieces.append(over[4 : 4 + min(left, PAGE_SIZE - 4)])
        left -= PAGE_SIZE - 4
        following = int.from_bytes(over[:4])
    payload = b"".join(pieces)
    if len(payload) != size:
        raise ValueError("a short row")
    return payload


def _record(payload: bytes) -> list[Any]:
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
    if kind in INTEGERS:
        end = at + INTEGERS[kind]
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
    """A big-endian number of 7 bits a byte, at most nine bytes, and where it ends."""
    value = 0
    for place in range(at, at + 8):
        value = value << 7 | data[place] & 0x7F
        if data[place] < 0x80:
            return value, place + 1
    return value << 8 | data[at + 8], at + 9
