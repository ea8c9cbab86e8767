"""``dataset.csv`` of a run: which pictures it used, as what, and which it did not; read back, compared."""

from __future__ import annotations

import csv
import io
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from headstart.console import counted
from headstart.data.listing import Excluded, listed
from headstart.data.review import LeftOut
from headstart.errors import RunError
from headstart.storage import csv_writer, write_atomic

CSV_COLUMNS = ("path", "class", "split", "group", "file_hash", "status", "reason")
EARLIER_COLUMNS = CSV_COLUMNS[:-1]  # of runs before there were reasons
SOFT = "prob:"  # begins the columns of probabilities, if a table gave them
OK = "ok"
EXCLUDED = "excluded"


class LockRow(NamedTuple):
    """A file of the data.

    Attributes:
        path: Relative to the data folder, absolute for a list; a folder that was left out ends in ``/``.
        class_name, split, group, file_hash: As in `headstart.data.dataset.Dataset`; empty if not known.
        status: ``ok``, the kind of fault, or ``excluded``.
        reason: Why it is not ``ok``.
        soft: Class and probability, where a table gives them.
    """

    path: str
    class_name: str = ""
    split: str = ""
    group: str = ""
    file_hash: str = ""
    status: str = OK
    reason: str = ""
    soft: tuple[tuple[str, float], ...] = ()

    @property
    def group_name(self) -> str:
        """Of a group that was named; empty if the picture stands alone."""
        return "" if self.group == self.file_hash else self.group

    def label(self) -> str:
        """The class, with the probabilities of a table."""
        shares = ", ".join(f"{name} {share:g}" for name, share in self.soft)
        return f"{self.class_name} ({shares})" if shares else self.class_name


def soft_label(classes: Sequence[str], probabilities: Iterable[float]) -> tuple[tuple[str, float], ...]:
    """`LockRow.soft`, in the precision that training keeps: float32."""
    return tuple(zip(classes, (float(str(np.float32(value))) for value in probabilities), strict=True))


def left_out_rows(left_out: Iterable[LeftOut], excluded: Iterable[Excluded]) -> Iterator[LockRow]:
    """The rows of files that give no picture, and of what was left out on demand."""
    for item in left_out:
        yield LockRow(item.path, item.class_name, status=item.kind, reason=item.reason)
    for named in excluded:
        yield LockRow(named.path, status=EXCLUDED, reason=": ".join(filter(None, (named.by, named.reason))))


def write_lock(path: Path, rows: Iterable[LockRow], soft_classes: Sequence[str] = ()) -> None:
    """Writes the rows as CSV with `CSV_COLUMNS`, UTF-8, and a column ``prob:CLASS`` of each soft class.

    Raises:
        RunError: HS-RUN-001 to -003.
    """
    text = io.StringIO()
    writer = csv_writer(text)
    writer.writerow((*CSV_COLUMNS, *(f"{SOFT}{name}" for name in soft_classes)))
    for *cells, soft in rows:
        shares = dict(soft)
        writer.writerow((*cells, *(shares.get(name, "") for name in soft_classes)))
    # File names that are no valid UTF-8 keep their bytes.
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_lock(folder: Path) -> list[LockRow]:
    """The rows of a run's ``dataset.csv``.

    Args:
        folder: Of the run.

    Raises:
        RunError: HS-RUN-040, there is none; HS-RUN-041, it cannot be used.
    """
    path = folder / "dataset.csv"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError:
        raise RunError(
            "HS-RUN-040",
            "There is no table of pictures in this folder.",
            where=path,
            fix="Give the folder of a run, as `headstart train` printed it.",
        ) from None
    except (OSError, csv.Error) as error:
        raise _unusable(path, str(error)) from error
    header = tuple(lines[0]) if lines else ()
    width = next((i for i, name in enumerate(header) if name.startswith(SOFT)), len(header))
    soft_classes = [name.removeprefix(SOFT) for name in header[width:]]
    if header[:width] not in (CSV_COLUMNS, EARLIER_COLUMNS):
        raise _unusable(path, f"its columns are not {','.join(CSV_COLUMNS)}")
    for number, cells in enumerate(lines[1:], start=2):
        if len(cells) != len(header):
            raise _unusable(path, f"line {number} has {len(cells)} cells, the header {len(header)}")
    try:
        return [_row(cells, width, soft_classes) for cells in lines[1:]]
    except ValueError as error:
        raise _unusable(path, str(error)) from error


def _row(cells: Sequence[str], width: int, soft_classes: Sequence[str]) -> LockRow:
    shares = zip(soft_classes, cells[width:], strict=True)
    soft = tuple((name, float(share)) for name, share in shares if share)
    return LockRow(*cells[:width])._replace(soft=soft)  # type: ignore[arg-type]


def _unusable(path: Path, why: str) -> RunError:
    return RunError(
        "HS-RUN-041",
        f"The table of pictures cannot be used: {why}.",
        where=path,
        fix="It was changed by hand or by another program. Take that of another run, or train anew.",
    )


class Change(NamedTuple):
    """A picture that is not what it was.

    Attributes:
        kind: One of `KINDS`.
        path: Now; of a removed picture, before.
        before, after: Path, class, group, split or status, as the kind has it.
    """

    kind: str
    path: str
    before: str = ""
    after: str = ""


KINDS = ("added", "removed", "relabelled", "regrouped", "moved", "changed", "renamed")


@dataclass(frozen=True)
class Difference:
    """How a data set differs from an earlier one.

    Attributes:
        changes: By kind, then by path. A picture may be relabelled and moved at once.
        unchanged: Pictures that are the same.
    """

    changes: tuple[Change, ...]
    unchanged: int

    def of(self, kind: str) -> list[Change]:
        """The changes of one kind."""
        return [change for change in self.changes if change.kind == kind]

    def summary(self) -> str:
        """``14 added, 3 relabelled, 1 moved from train to val``."""
        parts = []
        for kind in KINDS:
            found = self.of(kind)
            if kind == "moved":
                ways = Counter((change.before, change.after) for change in found)
                parts += [f"{n:,} moved from {a} to {b}" for (a, b), n in sorted(ways.items())]
            elif found:
                parts.append(f"{len(found):,} {kind}")
        return ", ".join(parts) or "no difference"

    def lines(self) -> list[str]:
        """For the terminal: the summary, then a line for each kind."""
        lines = [f"{self.summary()}; {counted(self.unchanged, 'picture', 'pictures')} unchanged"]
        by_kind = {kind: [_told(change) for change in self.of(kind)] for kind in KINDS}
        return lines + [f"  {kind}: {listed(found)}" for kind, found in by_kind.items() if found]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``: all paths."""
        return {
            "summary": self.summary(),
            "unchanged": self.unchanged,
            **{
                kind: [
                    {"path": change.path, "before": change.before, "after": change.after}
                    if change.before or change.after
                    else {"path": change.path}
                    for change in self.of(kind)
                ]
                for kind in KINDS
            },
        }


def _told(change: Change) -> str:
    return f"{change.path} ({change.before} -> {change.after})" if change.before else change.path


def difference(before: Sequence[LockRow], now: Sequence[LockRow]) -> Difference:
    """What was added, removed, relabelled, changed in content, renamed, or put into another group or part.

    A picture is the one with the same path; where that is new, one with the same bytes whose path is gone.
    """
    old = {row.path: row for row in before if row.status == OK}
    new = {row.path: row for row in now if row.status == OK}
    pairs = [(old[path], row) for path, row in new.items() if path in old]
    gone = {path: row for path, row in old.items() if path not in new}
    come = {path: row for path, row in new.items() if path not in old}
    pairs += _moved_files(gone, come)
    changes: list[Change] = []
    for one, other in pairs:
        changes += _changes(one, other)
    unreadable_before = {row.path: row for row in before if row.status not in (OK, EXCLUDED)}
    unreadable_now = {row.path: row for row in now if row.status not in (OK, EXCLUDED)}
    for path in come:
        earlier = unreadable_before.get(path)
        changes.append(Change("changed", path, earlier.status, OK) if earlier else Change("added", path))
    for path in gone:
        later = unreadable_now.get(path)
        changes.append(Change("changed", path, OK, later.status) if later else Change("removed", path))
    changes.sort(key=lambda change: (KINDS.index(change.kind), change.path))
    return Difference(tuple(changes), sum(not _changes(one, other) for one, other in pairs))


def _moved_files(gone: dict[str, LockRow], come: dict[str, LockRow]) -> list[tuple[LockRow, LockRow]]:
    """Pairs of equal content, taken out of both; those of the same class and part first, then by path."""
    candidates: dict[str, list[LockRow]] = defaultdict(list)
    for path in sorted(gone):
        candidates[gone[path].file_hash].append(gone[path])
    pairs = []
    for alike in (("class_name", "split"), ("class_name",), ()):
        for path in sorted(come):
            row = come[path]
            match = next(
                (
                    other
                    for other in candidates[row.file_hash]
                    if all(getattr(other, name) == getattr(row, name) for name in alike)
                ),
                None,
            )
            if match is not None:
                candidates[row.file_hash].remove(match)
                pairs.append((match, row))
                del gone[match.path], come[path]
    return pairs


def _changes(one: LockRow, other: LockRow) -> list[Change]:
    found = []
    if one.file_hash != other.file_hash:
        found.append(Change("changed", other.path))
    if (one.class_name, one.soft) != (other.class_name, other.soft):
        found.append(Change("relabelled", other.path, one.label(), other.label()))
    if one.group_name != other.group_name:
        before, after = one.group_name or "alone", other.group_name or "alone"
        found.append(Change("regrouped", other.path, before, after))
    if one.split != other.split:
        found.append(Change("moved", other.path, one.split, other.split))
    if not found and one.path != other.path:
        found.append(Change("renamed", other.path, one.path, other.path))
    return found
