"""The pictures of a run that are still where they were, read again from its ``dataset.csv``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from headstart.console import counted
from headstart.data.formats import UnreadableImage, read_file
from headstart.data.lock import OK, LockRow, read_lock


class OwnPictures:
    """Pictures of a run, in an order that depends on its table alone; those that have gone are counted.

    Args:
        folder: Of the run.
        root: Where relative paths begin; None: they lead nowhere.

    Attributes:
        missing: Files that are not there, or cannot be read, of those that were asked for.
        changed: Files whose content is another one.

    Raises:
        RunError: HS-RUN-040 and -041.
    """

    def __init__(self, folder: Path, root: Path | None) -> None:
        self.root = root
        self.missing = self.changed = 0
        self._rows = [row for row in read_lock(folder) if row.status == OK]

    def count(self, keep: Callable[[LockRow], bool]) -> int:
        """How many the table has."""
        return sum(map(keep, self._rows))

    def files(self, keep: Callable[[LockRow], bool]) -> Iterator[tuple[LockRow, bytes]]:
        """Those that are there, with the bytes of their files.

        Args:
            keep: Which rows come into question.
        """
        rows = [row for row in self._rows if keep(row)]
        for i in np.random.default_rng(0).permutation(len(rows)).tolist():
            data = self._read(rows[i])
            if data is None:
                self.missing += 1
            elif hashlib.sha256(data).hexdigest() != rows[i].file_hash:
                self.changed += 1
            else:
                yield rows[i], data

    def _read(self, row: LockRow) -> bytes | None:
        path = Path(row.path)
        if self.root is None and not path.is_absolute():
            return None
        try:
            return read_file(path if self.root is None else self.root / path)
        except (UnreadableImage, ValueError):  # ValueError: a name that no system has
            return None

    def gone(self) -> list[str]:
        """How many are not what they were, in words."""
        parts = ((self.missing, "not there any more"), (self.changed, "of another content now"))
        return [f"{counted(n, 'picture is', 'pictures are')} {what}" for n, what in parts if n]
