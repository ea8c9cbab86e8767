"""The files of a data set with their classes and given splits, before anything is decoded."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.console import counted
from headstart.errors import DataError, nearest

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
SYSTEM_NAMES = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin"}


@dataclass(frozen=True)
class Entry:
    """A file that may be a picture.

    Attributes:
        path: Relative to the root with ``/``, or absolute for lists.
        class_name: NFC.
        split: ``train``, ``val``, ``test``, ``selection``, or empty if the data set gives none.
    """

    path: str
    class_name: str
    split: str


@dataclass(frozen=True)
class Listing:
    """Every candidate file, sorted by path.

    Attributes:
        layout: ``split-folders``, ``class-folders`` or ``list``.
        empty_classes: Class folders of the training part that hold no file.
        notes: What was ignored, for a person.
        ignored: Hidden and system files and folders, relative to the root; folders end in ``/``.
        excluded: Files and folders left out on demand, each with the pattern that did it.
    """

    root: Path
    entries: tuple[Entry, ...]
    layout: str
    empty_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    excluded: tuple[tuple[str, str], ...] = ()


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def path_order(path: str) -> tuple[str, str]:
    """Sort key that is the same on file systems that keep NFC and those that keep NFD."""
    return nfc(path), path


def is_ignored(name: str, is_folder: bool) -> bool:
    """Hidden and system names. Files may start with ``_``: cameras name them so (``_DSC0001.JPG``)."""
    return name.startswith(".") or (is_folder and name.startswith("_")) or name.lower() in SYSTEM_NAMES


def raise_all(faults: Sequence[DataError], where: object) -> None:
    """Raises a single fault as it is, several as one error that lists them."""
    if len(faults) == 1:
        raise faults[0]
    if faults:
        lines = []
        for fault in faults:
            shown = ", ".join(fault.details[:3]) + (", ..." if len(fault.details) > 3 else "")
            lines.append(
                f"{fault.code}: {fault.what}" + (f" ({shown})" if shown else "") + f" {fault.fix}".rstrip()
            )
        raise DataError(
            "HS-DATA-016", f"{len(faults)} things are wrong with the data.", where=where, details=lines
        )


def list_pairs(pairs: Sequence[Sequence[Any]], *, require_split: bool = True) -> Listing:
    """Takes (path, label) or (path, label, split) of each picture.

    Raises:
        DataError: HS-DATA-003 (empty), -004 (one class), -008 (class not in training), -014 (a row that
            cannot be used), -016 (several of them).
    """
    if not pairs:
        fix = "Give (path, label) of each picture."
        raise DataError("HS-DATA-003", "The list holds no pictures.", fix=fix)
    rows: list[Entry] = []
    bad: list[str] = []
    seen: dict[str, int] = {}
    splits = {**SPLIT_NAMES, "selection": "selection"}
    lengths = {len(pair) for pair in pairs if len(pair) in (2, 3)}
    for number, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) not in (2, 3):
            bad.append(f"row {number}: {pair!r} is not (path, label) or (path, label, split)")
            continue
        path, label = str(Path(pair[0]).absolute()), nfc(str(pair[1]))
        split = str(pair[2]).lower() if len(pair) == 3 else ""
        if not label.strip():
            bad.append(f"row {number}: {pair[0]} has an empty label")
        elif len(pair) != max(lengths):
            bad.append(f"row {number}: {pair[0]} has no split, other rows have one")
        elif split and split not in splits:
            bad.append(f"row {number}: '{pair[2]}' is no split.{nearest(split, splits)}")
        elif path in seen:
            bad.append(f"row {number}: {pair[0]} is listed before, in row {seen[path]}")
        else:
            seen[path] = number
            rows.append(Entry(path, label, splits.get(split, "")))
    faults = []
    if bad:
        faults.append(
            DataError(
                "HS-DATA-014", f"{counted(len(bad), 'row', 'rows')} of the list cannot be used.", details=bad
            )
        )
    if require_split and rows:
        faults += _split_faults(rows)
    raise_all(faults, "the list")
    return Listing(_common_folder(rows), tuple(sorted(rows, key=lambda row: path_order(row.path))), "list")


def _common_folder(rows: Sequence[Entry]) -> Path:
    try:
        return Path(os.path.commonpath([str(Path(row.path).parent) for row in rows]))
    except ValueError:  # several drives
        return Path()


def _split_faults(rows: list[Entry]) -> list[DataError]:
    given = {row.split for row in rows}
    trained = {row.class_name for row in rows if row.split in ("", "train")}
    if given != {""} and "train" not in given:
        what = "No row of the list is for training."
        return [DataError("HS-DATA-012", what, fix="Use the split 'train'.")]
    if unknown := sorted({row.class_name for row in rows} - trained):
        return [DataError("HS-DATA-008", f"Classes that no training row has: {listed(unknown)}.")]
    if len(trained) < 2:
        what = f"There is only one class, '{min(trained)}'; at least two are needed."
        return [DataError("HS-DATA-004", what)]
    return []


def quoted(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def listed(names: Sequence[str], shown: int = 5) -> str:
    """A few names and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
