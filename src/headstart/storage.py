"""Files that are whole or absent: written beside their place, flushed to disk, then renamed."""

from __future__ import annotations

import contextlib
import csv
import errno
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from headstart.errors import RunError

READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
FULL = {errno.ENOSPC, errno.EDQUOT}


def home() -> Path:
    """Where headstart keeps what it downloads; not created here.

    ``$HEADSTART_HOME``, else ``$XDG_CACHE_HOME/headstart``, else ``~/.cache/headstart``; on Windows
    ``%LOCALAPPDATA%\\headstart``.
    """
    if chosen := os.environ.get("HEADSTART_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "headstart"
    if caches := os.environ.get("XDG_CACHE_HOME"):
        return Path(caches) / "headstart"
    return Path.home() / ".cache" / "headstart"


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError on ``path`` into a RunError that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in READ_ONLY:
            raise RunError(
                "HS-RUN-001",
                "The output folder cannot be written.",
                where=path,
                fix="Choose another folder with --output, or change its permissions.",
            ) from error
        if error.errno in FULL:
            raise RunError(
                "HS-RUN-002",
                "The disk is full. What was saved before is intact.",
                where=path,
                fix="Free some space, or choose another disk with --output.",
            ) from error
        raise RunError(
            "HS-RUN-003", f"A file could not be written: {error.strerror or error}.", where=path
        ) from error


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the folder of ``path``; renamed onto it when the block ends without an error.

    Raises:
        RunError: HS-RUN-001 (not writable), HS-RUN-002 (disk full), HS-RUN-003 (anything else).
    """
    path = Path(path)
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    temporary = Path(name)
    try:
        with storage_errors(path):
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~current_umask())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def current_umask() -> int:
    """The permissions that new files of this process lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_atomic(path: Path, data: bytes | str) -> None:
    """Writes a whole file or nothing; text is UTF-8 with ``\\n`` line ends.

    Bytes of a file name that are no UTF-8 are written as ``\\udcXX``, which JSON and YAML read back.

    Raises:
        RunError: as `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data)


def csv_writer(file: IO[str]) -> _Writer:
    """The dialect of all tables that are written: commas, quotes where needed, ``\\n``."""
    return _Writer(file)


class _Writer:
    """csv.writer, but a lone carriage return is quoted too (the module leaves it bare before 3.13)."""

    def __init__(self, file: IO[str]) -> None:
        self._plain = csv.writer(file, lineterminator="\n")
        self._quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def writerow(self, row: Iterable[object]) -> None:
        cells = tuple("" if cell is None else str(cell) for cell in row)
        (self._quoted if any("\r" in cell for cell in cells) else self._plain).writerow(cells)
