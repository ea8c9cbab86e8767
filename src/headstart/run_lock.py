"""One process at a time writes a run's folder: two that went on with the same run would mix their files."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from headstart import console
from headstart.errors import RunError
from headstart.storage import write_atomic

LOCK = ".lock"
HOLDER = ".holder"  # a file of its own: Windows lets nobody read a locked one


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The run's folder belongs to this process inside the block, which may be entered again inside itself.

    The system takes the lock back when the process ends, however it does. Where the file system has no
    locks, that is said and the block is entered without one.

    Raises:
        RunError: HS-RUN-027, another process has it: which one, where, and since when.
    """
    from filelock import FileLock, Timeout

    # Not the library's own substitute for a missing lock, which would outlive a killed process.
    lock = FileLock(folder / LOCK, blocking=False, is_singleton=True, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            "HS-RUN-027",
            f"Another process works on this run: {holder(folder)}.",
            where=folder,
            fix="Wait until it has ended, or end it first.",
        ) from None
    except OSError as error:
        console.warn(
            f"{folder}: cannot be locked ({error.strerror or error}); start no second process on this run"
        )
        yield
        return
    outermost = lock.lock_counter == 1
    try:
        if outermost:
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            write_atomic(folder / HOLDER, f"process {os.getpid()} on {socket.gethostname()}, since {since}")
        yield
    finally:
        if outermost:
            with contextlib.suppress(OSError):
                (folder / HOLDER).unlink(missing_ok=True)
        lock.release()


def holder(folder: Path) -> str:
    """Who has the folder, for a person."""
    try:
        return (folder / HOLDER).read_text(encoding="utf-8").strip() or "one that has just begun"
    except OSError:
        return "one that has just begun"


def discard_lock(folder: Path) -> None:
    """Removes the file of the lock from a run that has ended, which nobody goes on with."""
    with contextlib.suppress(OSError):  # Windows removes it not while it is held
        (folder / LOCK).unlink(missing_ok=True)
