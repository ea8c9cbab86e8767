"""A table of predictions that is whole or absent under its name, and can be gone on with after a stop."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import shutil
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from headstart.deployment.table_formats import Cells, Column, Parquet, format_of
from headstart.errors import RunError, UsageError
from headstart.storage import storage_errors

PARTIAL = ".partial"
CHECKED = 8
"""So many rows of before are computed again: whether they came from this model and these settings."""


class Kept:
    """The rows of a table that was begun before; 16 bytes of memory for each.

    A picture is told by a 64-bit hash of its path: of a million, two are taken for one with a probability of
    3e-8.

    Attributes:
        rows: How many are whole.
        end: Place behind the last of them, bytes.
        failed: Pictures without an answer, by the kind of fault.
        by_class: Answers.
        unknown: Answers flagged as none of the classes.
        by_size: Pictures by the size of their set.
        first: The first `CHECKED` rows with an answer.
    """

    def __init__(self) -> None:
        self.rows = self.end = self.unknown = 0
        self.failed: Counter[str] = Counter()
        self.by_class: Counter[str] = Counter()
        self.by_size: Counter[int] = Counter()
        self.first: list[Cells] = []
        self._hashes = np.zeros(0, np.uint64)
        self._left = np.zeros(0, np.int64)

    @classmethod
    def read(cls, path: Path, columns: Sequence[Column]) -> Kept:
        """The whole rows of a file, up to the first one that is not.

        Raises:
            RunError: HS-PREDICT-046, a table with other columns; HS-RUN-003, it cannot be read.
        """
        kept = cls()
        hashes = array("Q")
        names = tuple(column.name for column in columns)
        with storage_errors(path), open(path, "rb") as file:
            form = format_of(Path(str(path).removesuffix(PARTIAL)))
            assert not issubclass(form, Parquet)
            rows = form.rows(file, columns)
            end, header = next(rows, (0, names))
            if header != names:
                raise other_table(path, "its columns are others")
            kept.end = end
            for end, cells in rows:
                kept._count(dict(zip(names, cells, strict=True)))
                if len(kept.first) < CHECKED and cells[1] == "ok":
                    kept.first.append(cells)
                hashes.append(_hash(str(cells[0] or "")))
                kept.rows, kept.end = kept.rows + 1, end
        kept._hashes, kept._left = np.unique(np.asarray(hashes, np.uint64), return_counts=True)
        return kept

    def _count(self, row: dict[str, object]) -> None:
        if row["prediction"] is None:
            self.failed[str(row["status"]).partition(":")[0]] += 1
        else:
            self.by_class[str(row["prediction"])] += 1
            self.unknown += bool(row["unknown"])
        if isinstance(names := row.get("set"), Sequence):
            self.by_size[len(names)] += 1

    def take(self, path: str) -> bool:
        """Whether there is a row of this picture; each row counts once."""
        if not len(self._hashes):
            return False
        wanted = np.uint64(_hash(path))
        place = int(np.searchsorted(self._hashes, wanted))
        if place == len(self._hashes) or self._hashes[place] != wanted or not self._left[place]:
            return False
        self._left[place] -= 1
        return True

    @property
    def left(self) -> int:
        """Rows that were not taken."""
        return int(self._left.sum())


def _hash(path: str) -> int:
    digest = hashlib.blake2b(path.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def same(before: Cells, now: Cells) -> bool:
    """Whether two rows are of the same model: numbers as close as an export admits, the rest equal."""
    return all(
        math.isclose(a, b, rel_tol=1e-3, abs_tol=1e-4)
        if isinstance(a, float) and isinstance(b, float)
        else a == b or (isinstance(a, Sequence) and isinstance(b, Sequence) and list(a) == list(b))
        for a, b in zip(before, now, strict=True)
    )


def other_table(path: Path, why: str) -> RunError:
    return RunError(
        "HS-PREDICT-046",
        f"This table was not begun by the same command: {why}.",
        where=path,
        fix="Give the model, pictures and flags of before; or another --output; or leave --resume out: then "
        "it is begun anew.",
    )


def begun(output: Path, columns: Sequence[Column]) -> tuple[Path, Kept] | None:
    """What there is to go on with: a table that was stopped, else a complete one, which may lack pictures.

    Raises:
        UsageError: HS-PREDICT-045, Parquet.
        RunError: as `Kept.read`.
    """
    if format_of(output) is Parquet:
        raise UsageError(
            "HS-PREDICT-045",
            "A Parquet file cannot be gone on with: only its end tells where its rows are.",
            where=output,
            fix="Write .csv or .jsonl; or several smaller Parquet files with --shard 1/8 and so on.",
        )
    for path in (partial_of(output), output):
        if path.is_file():
            return path, Kept.read(path, columns)
    return None


def partial_of(output: Path) -> Path:
    """Where the rows are until the table is complete."""
    return output.with_name(output.name + PARTIAL)


@contextlib.contextmanager
def table_file(output: Path, kept: tuple[Path, Kept] | None = None) -> Iterator[BinaryIO]:
    """A file to be written, which takes the place of ``output`` when the block ends without an error.

    After an error it stays under another name, if it can be gone on with.

    Args:
        output: The table.
        kept: Rows to stand at its beginning.

    Raises:
        OSError: It cannot be written.
        RunError: HS-PREDICT-048, another process writes it.
    """
    partial = partial_of(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    if kept is not None and kept[0] != partial:
        shutil.copyfile(kept[0], partial)
    with _locked(partial) as file:
        file.truncate(0 if kept is None else kept[1].end)
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if os.name == "posix":
                partial.replace(output)
        except BaseException:
            if format_of(output) is Parquet:
                partial.unlink(missing_ok=True)
            raise
    if os.name != "posix":  # Windows moves no open file
        partial.replace(output)


def _locked(path: Path) -> BinaryIO:
    """The file, opened to read and write, that no other process writes.

    Raises:
        RunError: HS-PREDICT-048.
    """
    while True:
        file = open(path, "a+b")  # noqa: SIM115
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
            file.close()  # it was completed, and renamed, in between
        except ImportError:  # Windows
            return file
        except BlockingIOError as error:
            file.close()
            raise RunError(
                "HS-PREDICT-048",
                "Another process writes this table.",
                where=path,
                fix="Wait for it, or choose another --output. Several processes share the work with --shard.",
            ) from error
