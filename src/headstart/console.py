"""What a person sees while headstart works: everything goes to stderr, stdout is for results.

On a terminal: a progress bar with rate and time left. Elsewhere (logs, CI): a plain line every few
seconds. `headstart` and its libraries never print by other means.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from headstart.errors import one_line
from headstart.storage import storage_errors

PLAIN_INTERVAL = 10.0  # seconds between plain progress lines

_log: BinaryIO | None = None
_quiet = False


def say(line: str = "") -> None:
    """Prints a line, and keeps it in the run's ``log.txt``; codes that steer a terminal are written out."""
    line = "\n".join(map(one_line, line.split("\n")))
    if not _quiet:
        print(line, file=sys.stderr, flush=True)
    if _log is not None:
        with storage_errors(Path(_log.name)):
            _log.write(f"{line}\n".encode("utf-8", "backslashreplace"))


def warn(line: str) -> None:
    """Prints a line that the user should not miss."""
    say(f"warning: {line}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Prints nothing inside the block (the log is still written)."""
    global _quiet
    before, _quiet = _quiet, True
    try:
        yield
    finally:
        _quiet = before


@contextlib.contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Copies every line said inside the block to ``path``."""
    global _log
    before = _log
    with storage_errors(path):
        file = open(path, "ab", buffering=0)  # noqa: SIM115
    _log = file
    with file:
        try:
            yield
        finally:
            _log = before


def on_terminal() -> bool:
    """Whether a person watches: stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and not _quiet


@contextlib.contextmanager
def progress(total: int | None, label: str, unit: str = "pictures") -> Iterator[Callable[[int], None]]:
    """A progress display; yields ``advance(n)``, which may be called from any thread.

    Args:
        total: Number of units to come; 0 shows nothing; None: it is not known.
        label: What is being done, a few words.
        unit: Plural noun of what is counted.
    """
    if total is not None and total <= 0:
        yield lambda n: None
    elif on_terminal():
        with _bar(total, label, unit) as advance:
            yield advance
    else:
        yield _plain_lines(total, label, unit)


@contextlib.contextmanager
def _bar(total: int | None, label: str, unit: str) -> Iterator[Callable[[int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total, rate="")
        start = time.perf_counter()

        def advance(n: int = 1) -> None:
            bar.advance(task, n)
            done = bar.tasks[task].completed
            bar.update(task, rate=f"{pace(done, start)} {unit}/s")

        yield advance


def pace(done: float, start: float) -> str:
    """How many a second since ``start``, with a digit behind the point where they are few."""
    rate = done / max(time.perf_counter() - start, 1e-9)
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"


def _plain_lines(total: int | None, label: str, unit: str) -> Callable[[int], None]:
    start = last = time.perf_counter()
    done = 0

    def advance(n: int = 1) -> None:
        nonlocal done, last
        done += n
        now = time.perf_counter()
        if now - last >= PLAIN_INTERVAL and (total is None or done < total):
            last = now
            of = f"{done}" if total is None else f"{done} of {total}"
            left = "" if total is None else f", {(total - done) / (done / (now - start)):.0f} s left"
            say(f"{label}: {of} {unit}, {pace(done, start)}/s{left}")

    return advance


def table(header: Sequence[str], rows: Sequence[Sequence[object]], *, indent: str = "  ") -> str:
    """Aligned plain-text columns; numbers to the right. Wide (CJK) letters count two places."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(text_width(row[i]) for row in cells) for i in range(len(header))]
    right = [
        bool(rows) and all(isinstance(row[i], int | float) or str(row[i])[:1].isdigit() for row in rows)
        for i in range(len(header))
    ]

    def padded(cell: str, i: int) -> str:
        space = " " * (widths[i] - text_width(cell))
        return space + cell if right[i] else cell + space

    def line(row: Sequence[str]) -> str:
        return (indent + "  ".join(padded(cell, i) for i, cell in enumerate(row))).rstrip()

    return "\n".join(line(row) for row in cells)


def counted(n: int, one: str, many: str) -> str:
    """A number with its noun: ``1 picture``, ``3 pictures``."""
    return f"{n:,} {one if n == 1 else many}"


def text_width(text: str) -> int:
    """Places that a text takes on a terminal: wide (CJK) letters two, combining marks none."""
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)
