"""Decisions on labels: a table of pictures that keep their class, get another one, or are dropped.

They act after the split is made, and on what trains or chooses only: a decision moves no picture to another
part, and the labels that results are reported on stay as they are.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.console import counted
from headstart.data.exclusions import relative_to_data
from headstart.data.listing import Entries, Entry, Excluded, Listing, listed, nfc, raise_all
from headstart.data.review import MINIMUM_TRAIN
from headstart.data.splits import Assignment
from headstart.data.tables import open_table
from headstart.errors import DataError, HeadstartError, nearest
from headstart.storage import csv_writer, write_atomic

KEEP, RELABEL, DROP = DECISIONS = ("keep", "relabel", "drop")
FLAG = "--overrides"


class Decision(NamedTuple):
    """A row of the table.

    Attributes:
        path: Of the picture.
        label: The class that it has; only for a person.
        suggested: The class that it gets, with ``relabel``.
        score: How doubtful the label is, 0-1; only for a person.
        decision: One of `DECISIONS`; empty: ``keep``.
    """

    path: str
    label: str = ""
    suggested: str = ""
    score: str = ""
    decision: str = KEEP


COLUMNS = ("path", "class", "suggested", "score", "decision")


@dataclass(frozen=True)
class Overridden:
    """What decisions do to a data set.

    Attributes:
        labels: Class index of each picture, int64 [n].
        kept: Whether a picture stays, bool [n].
        notes: What was done, for a person.
    """

    labels: NDArray[np.int64]
    kept: NDArray[np.bool_]
    notes: tuple[str, ...]


def write_decisions(path: Path, rows: Iterable[Decision]) -> None:
    """Writes the table as CSV with `COLUMNS`.

    Raises:
        RunError: HS-RUN-001 to -003.
    """
    text = io.StringIO()
    writer = csv_writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(row)
    write_atomic(path, text.getvalue().encode("utf-8", "surrogateescape"))


def read_decisions(path: Path) -> list[Decision]:
    """The rows of a table of decisions; columns that are not known are ignored.

    Raises:
        DataError: HS-DATA-080, there is no such file, or it is no table with the columns path and decision;
            HS-DATA-081, rows that cannot be used, all at once.
    """
    try:
        table = open_table(path, errors="surrogateescape")  # names may hold any byte
        rows = list(table.rows())
    except OSError as error:
        folder = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        guess = nearest(path.name, folder) if isinstance(error, FileNotFoundError) else ""
        raise _unreadable(path, f"{error.strerror}.{guess}") from None
    except HeadstartError as error:
        if error.code == "HS-DATA-050":
            raise _unreadable(path, error.what.rpartition(": ")[2]) from None
        raise
    columns = {name.lower(): i for i, name in enumerate(table.names)}
    missing = [name for name in ("path", "decision") if name not in columns]
    if missing:
        raise _unreadable(path, f"it has no column {' and no column '.join(missing)}.")
    order = [columns.get(name) for name in COLUMNS]
    found, bad = [], []
    for number, row in rows:
        if len(row) != len(table.names):
            bad.append(f"line {number} has {counted(len(row), 'cell', 'cells')}, not {len(table.names)}")
            continue
        cells = Decision(*("" if i is None else str(row[i]) for i in order))
        cells = cells._replace(decision=cells.decision.strip().lower() or KEEP)
        if fault := _fault(cells):
            bad.append(f"line {number} {fault}")
        found.append(cells)
    if bad:
        raise DataError(
            "HS-DATA-081",
            f"{counted(len(bad), 'line', 'lines')} of the table of decisions cannot be used.",
            where=path,
            details=bad,
            fix=f"Correct them; a decision is one of: {', '.join(DECISIONS)}.",
        )
    return found


def _unreadable(path: Path, why: str) -> DataError:
    return DataError(
        "HS-DATA-080",
        f"The table of decisions cannot be read: {why}",
        where=path,
        fix="Write it with `headstart suspects RUN`, and edit the column decision.",
    )


def _fault(row: Decision) -> str:
    if not row.path:
        return "names no path"
    if row.decision not in DECISIONS:
        return f"has the decision '{row.decision}'.{nearest(row.decision, DECISIONS)}"
    if row.decision == RELABEL and not row.suggested:
        return "relabels, but names no class in the column suggested"
    return ""


def overridden(
    file: Path,
    root: Path,
    paths: Sequence[str],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    assignment: Assignment,
) -> Overridden:
    """What the decisions of a file do to a data set whose split is made.

    Args:
        file: See `read_decisions`.
        root: The data folder, which relative paths begin in.
        paths: Of the readable pictures, n of them.
        labels: Their class indices, int64 [n].
        classes: Names.
        assignment: Their parts.

    Raises:
        DataError: as `read_decisions`; HS-DATA-081, classes that there are not, or two decisions on one
            picture; HS-DATA-082, paths that are not among the pictures; HS-DATA-083, pictures of the reported
            part; HS-DATA-084, a class is left with too few pictures to train with; HS-DATA-016, several of
            these.
    """
    index = {nfc(path): i for i, path in enumerate(paths)}
    known = {nfc(name): c for c, name in enumerate(classes)}
    decisions: dict[int, Decision] = {}
    astray, reported, bad = [], [], []
    for row in read_decisions(file):
        i = index.get(nfc(relative_to_data(row.path, root)))
        if row.decision == KEEP:
            continue
        if i is None:
            astray.append(row.path)
        elif str(assignment.splits[i]) in ("val", "test"):
            reported.append(row.path)
        elif row.decision == RELABEL and nfc(row.suggested) not in known:
            bad.append(f"{row.path}: there is no class '{row.suggested}'.{nearest(row.suggested, classes)}")
        elif i in decisions and decisions[i] != row:
            bad.append(f"{row.path}: two decisions")
        else:
            decisions[i] = row
    changed, kept = labels.copy(), np.full(len(labels), True)
    for i, row in decisions.items():
        if row.decision == DROP:
            kept[i] = False
        else:
            changed[i] = known[nfc(row.suggested)]
    trains = kept & (assignment.splits == "train")
    left = np.bincount(changed[trains], minlength=len(classes))
    few = [f"'{classes[c]}': {left[c]}" for c in np.flatnonzero(left < MINIMUM_TRAIN).tolist()]
    raise_all(_faults(file, root, bad, astray, reported, few), file)
    relabelled, dropped = int((changed != labels)[kept].sum()), int((~kept).sum())
    done = f"{FLAG} {file}: {counted(relabelled, 'picture', 'pictures')} relabelled, {dropped:,} dropped"
    return Overridden(changed, kept, (done,))


def listing_after(
    listing: Listing, entries: Sequence[Entry], done: Overridden, classes: Sequence[str], file: Path
) -> Listing:
    """The listing with decisions carried out: dropped files are left out, probabilities follow a new class.

    Args:
        listing: All files.
        entries: The readable ones.
        done: What the decisions do to these.
        classes: Names.
        file: Of the decisions.
    """
    dropped = [entries[i].path for i in np.flatnonzero(~done.kept).tolist()]
    gone, soft = set(dropped), dict(listing.soft)
    if soft:
        for entry, label in zip(entries, done.labels.tolist(), strict=True):
            if entry.class_name != classes[label]:
                soft[entry.path] = tuple(float(name == classes[label]) for name in listing.soft_classes)
    return replace(
        listing,
        entries=Entries.of(entry for entry in listing.entries if entry.path not in gone),
        excluded=(*listing.excluded, *(Excluded(path, f"{FLAG} {file}") for path in dropped)),
        soft=soft,
    )


def _faults(
    file: Path,
    root: Path,
    bad: Sequence[str],
    astray: Sequence[str],
    reported: Sequence[str],
    few: Sequence[str],
) -> list[DataError]:
    said = (
        (
            "HS-DATA-081",
            f"{counted(len(bad), 'decision', 'decisions')} cannot be carried out.",
            bad,
            "Correct them: a class must be one of the data, and a picture has one decision.",
        ),
        (
            "HS-DATA-082",
            f"{counted(len(astray), 'path', 'paths')} of the table of decisions "
            f"{'is' if len(astray) == 1 else 'are'} not among the pictures of {root}.",
            astray,
            "Write paths as in dataset.csv of a run on these pictures, or leave the lines out.",
        ),
        (
            "HS-DATA-083",
            f"{counted(len(reported), 'decision', 'decisions')} on pictures that results are reported on: "
            "their labels are not changed by a model's advice.",
            reported,
            "Leave these lines out. If such a label is wrong for certain, correct the data themselves.",
        ),
        (
            "HS-DATA-084",
            f"The decisions leave {counted(len(few), 'class', 'classes')} with fewer than {MINIMUM_TRAIN} "
            f"pictures to train with ({listed(few)}).",
            few,
            "Keep more pictures, or leave the class out with --exclude.",
        ),
    )
    return [
        DataError(code, what, where=file, details=names, fix=fix) for code, what, names, fix in said if names
    ]
