"""Arrays on disk by key: written once, memory-mapped, shared between runs and processes.

A store is a folder of segments. Each is a file of bytes, one array after the other, and an index that is
written when all of its bytes are on disk: a process that dies leaves no index, and later ones ignore the rest
and remove it. Segments never change, so any number of processes may read and add at the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from headstart.storage import write_atomic

INDEX, DATA = ".json", ".bin"
BEING_WRITTEN = float("inf")  # its last use
ORPHAN_AGE = 24 * 3600  # seconds after which bytes without an index belong to a process that died

Array = NDArray[Any]

_finishing: set[threading.Thread] = set()
_in_use: WeakValueDictionary[Path, Array] = WeakValueDictionary()  # segments that this process reads


@dataclass(frozen=True)
class Entry:
    """Where an array lies, and what else is known of it."""

    segment: Array
    """uint8 [bytes of the segment], memory-mapped, read-only."""
    offset: int
    shape: tuple[int, ...]
    dtype: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def array(self) -> Array:
        """The array, read-only; its pages are read when touched and given back when memory is short."""
        kind = np.dtype(self.dtype)
        size = kind.itemsize * int(np.prod(self.shape, dtype=np.int64))
        return self.segment[self.offset : self.offset + size].view(kind).reshape(self.shape)


class ArrayStore:
    """Arrays of one kind in one folder, by key.

    Args:
        folder: Made when first written to.

    A folder that cannot be read is an empty store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries: dict[str, Entry] = {}
        finish()  # what this process has begun; other processes' segments are seen when they are whole
        with contextlib.suppress(OSError):
            for index in sorted(folder.glob(f"*{INDEX}")):
                self._entries.update(read_segment(index))

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """The entry of a key."""
        return self._entries.get(key)

    def add(self, entries: Mapping[str, Entry]) -> None:
        """Makes entries known that this process wrote."""
        self._entries.update(entries)

    def add_others(self, store: ArrayStore) -> None:
        """Makes entries known that were found later; those that are known stay as they are."""
        self._entries = {**store._entries, **self._entries}


def read_segment(index: Path) -> dict[str, Entry]:
    """The entries of a segment; none if it is damaged or of another format."""
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        data = index.with_suffix(DATA)
        if data.stat().st_size != content["bytes"]:
            return {}
        segment = mapped(data)
        _in_use[data] = segment
        with contextlib.suppress(OSError):  # a cache that may only be read
            os.utime(index)  # the last use: what was used last is kept longest
        return {
            key: Entry(segment, offset, tuple(shape), content["dtype"], facts)
            for key, offset, shape, facts in content["entries"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def mapped(path: Path) -> Array:
    """The bytes of a file, read-only."""
    return np.memmap(path, dtype=np.uint8, mode="r")


class SegmentWriter:
    """Adds arrays of one dtype to a store: ``with SegmentWriter(...) as writer: writer.add(key, array)``.

    What was added can be read when the block has ended. Where the disk refuses, it stops writing and `full`
    is True; nothing is raised.

    Args:
        store: Where the arrays go.
        dtype: Of all arrays.
        limit: Bytes that may be written.
    """

    def __init__(self, store: ArrayStore, dtype: str, limit: int) -> None:
        self.store = store
        self.dtype = np.dtype(dtype)
        self.room = limit
        self.full = False
        self._rows: list[tuple[str, int, tuple[int, ...], Mapping[str, Any]]] = []
        self._keys: set[str] = set()
        self._size = 0
        self._path = store.folder / f"{time.time_ns():x}-{secrets.token_hex(4)}{DATA}"
        self._file: Any = None

    def __enter__(self) -> SegmentWriter:
        return self

    def add(self, key: str, array: Array, facts: Mapping[str, Any] | None = None) -> bool:
        """Writes an array; whether it is in the store now (or was put there by this writer before)."""
        if key in self._keys:
            return True
        if self.full or array.nbytes > self.room:
            self.full = True
            return False
        try:
            if self._file is None:
                self.store.folder.mkdir(parents=True, exist_ok=True)
                # without a buffer: what `write` has taken is with the system
                self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115
            rest = memoryview(np.ascontiguousarray(array, self.dtype).tobytes())
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError:
            self.full = True
            return False
        self._rows.append((key, self._size, array.shape, facts or {}))
        self._keys.add(key)
        self._size += array.nbytes
        self.room -= array.nbytes
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            self._file.truncate(self._size)  # half an array, where the disk was full
            segment = mapped(self._path)
        except (OSError, ValueError):
            self.full = True
            with contextlib.suppress(OSError):
                self._file.close()
                self._path.unlink(missing_ok=True)
            return
        _in_use[self._path] = segment
        self.store.add(
            {
                key: Entry(segment, offset, shape, self.dtype.str, facts)
                for key, offset, shape, facts in self._rows
            }
        )
        thread = threading.Thread(target=self._finish, name="store")
        _finishing.add(thread)
        thread.start()

    def _finish(self) -> None:
        """Bytes first, then the index; meanwhile this process reads what it wrote."""
        with contextlib.suppress(Exception):
            try:
                os.fsync(self._file.fileno())
            finally:
                self._file.close()
            index = {"bytes": self._size, "dtype": self.dtype.str, "entries": self._rows}
            write_atomic(self._path.with_suffix(INDEX), json.dumps(index, default=dict))
        _finishing.discard(threading.current_thread())


def finish() -> None:
    """Waits until the segments that this process has written are whole."""
    for thread in tuple(_finishing):
        thread.join()


def make_room(root: Path, needed: int, limit: int) -> int:
    """Removes what was used longest ago until ``needed`` more bytes fit below ``limit``.

    What this process reads, and what others write, stays.

    Args:
        root: Folder of stores.
        needed: Bytes, about.
        limit: Bytes that all segments below ``root`` may take.

    Returns:
        Bytes that may be written.
    """
    segments = sorted(sizes(root), key=lambda segment: segment[1])
    used = sum(size for _, _, size in segments)
    for data, last_use, size in segments:
        if used + needed <= limit:
            break
        if data not in _in_use and last_use < BEING_WRITTEN:
            with contextlib.suppress(OSError):
                data.unlink()  # first: where the system refuses, the entries stay
                data.with_suffix(INDEX).unlink(missing_ok=True)
                used -= size
    return max(0, limit - used)


def sizes(root: Path) -> Iterator[tuple[Path, float, int]]:
    """File, time of the last use and bytes of each segment; bytes that nobody finished are removed."""
    with contextlib.suppress(OSError):
        for data in root.rglob(f"*{DATA}"):
            with contextlib.suppress(OSError):
                status = data.stat()
                index = data.with_suffix(INDEX)
                if index.exists():
                    yield data, index.stat().st_mtime, status.st_size
                elif time.time() - status.st_mtime > ORPHAN_AGE:
                    data.unlink()
                else:
                    yield data, BEING_WRITTEN, status.st_size
