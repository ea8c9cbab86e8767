"""A list of (path, label[, split]) of each picture, as a listing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from headstart.console import counted
from headstart.data.exclusions import Exclusions
from headstart.data.listing import SPLIT_NAMES, Entry, Listing, nfc, path_order, raise_all, split_faults
from headstart.errors import DataError, nearest


def list_pairs(
    pairs: Sequence[Sequence[Any]],
    *,
    exclude: Sequence[str] = (),
    exclude_list: Path | None = None,
    require_split: bool = True,
    anyway: bool = False,
) -> Listing:
    """Takes (path, label) or (path, label, split) of each picture.

    Args:
        exclude: Paths, parts of paths (below the folder common to all) and classes to leave out.
        exclude_list: A table of paths to leave out, see `headstart.data.exclusions.read_list`.
        require_split: Whether the data are for training.
        anyway: Leave out rows that cannot be used, and have no other faults, instead of raising.

    Raises:
        DataError: HS-DATA-003 (empty), -004 (one class), -008 (class not in training), -014 (a row that
            cannot be used), -016 (several of them), -075 and -076 (the list to leave out).
    """
    rows: list[Entry] = []
    bad: list[str] = []
    seen: dict[str, int] = {}
    splits = {**SPLIT_NAMES, "selection": "selection", "calibration": "calibration"}
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
                "HS-DATA-014",
                f"{counted(len(bad), 'row', 'rows')} of the list cannot be used.",
                details=bad,
                fix="Correct them in the list.",
            )
        )
    root = _common_folder(rows)
    exclusions = Exclusions(exclude, exclude_list, root)
    rows = [row for row in rows if not exclusions.leaves_out(row.path, row.class_name, within=str(root))]
    notes = exclusions.notes("picture", "pictures")
    if not rows and not bad:
        fix = "Give (path, label) of each picture."
        raise DataError("HS-DATA-003", "The list holds no pictures.", details=notes, fix=fix)
    if require_split and rows:
        faults += split_faults(rows, "the list")
    if not anyway or not rows:
        raise_all(faults, "the list")
    return Listing(
        _common_folder(rows),
        tuple(sorted(rows, key=lambda row: path_order(row.path))),
        "list",
        notes=tuple(notes),
        excluded=exclusions.found,
    )


def _common_folder(rows: Sequence[Entry]) -> Path:
    try:
        return Path(os.path.commonpath([str(Path(row.path).parent) for row in rows]))
    except ValueError:  # several drives
        return Path()
