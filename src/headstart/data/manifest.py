"""A table that names pictures and their classes (CSV, TSV, JSON Lines, Parquet), as a listing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headstart.config import LabelFrom
from headstart.console import counted
from headstart.data.columns import (
    SPLITS,
    Roles,
    find_roles,
    of_several_classes,
    several_classes,
    sums_to_one,
    survey,
    text_of,
)
from headstart.data.exclusions import Exclusions
from headstart.data.folders import check_is_folder, label_of
from headstart.data.grouping import check_groups, compiled, grouped_by_path
from headstart.data.listing import Entries, Listing, listed, nfc, raise_all, split_faults
from headstart.data.relocation import Relocation, is_file, place, relocation, with_slashes
from headstart.data.tables import Row, Table, is_number, open_table, unreadable
from headstart.errors import SHOWN_DETAILS, ConfigError, DataError, nearest

MISSING_SHARE = 0.05  # of the rows; more missing files are an error, fewer are left out and named
SHOWN_FAULTS = 1000  # faults of rows that are put into words


def list_manifest(
    path: Path,
    *,
    images: Path | None = None,
    columns: Mapping[str, str] | None = None,
    label_from: LabelFrom | None = None,
    group_by: str | None = None,
    exclude: Sequence[str] = (),
    exclude_list: Path | None = None,
    require_split: bool = True,
    anyway: bool = False,
) -> Listing:
    """The pictures that a table names.

    Args:
        path: The table; what it is decides its content.
        images: The folder that its paths begin in; None: the table's own.
        columns: Which column is ``path``, ``label``, ``split`` or ``group``; what is not said is found.
        label_from: Take classes from the folders in the paths, not from a column.
        group_by: The column of groups if one has this name, else a regular expression over the paths.
        exclude: Paths, parts of paths and classes to leave out; ``*`` and ``?`` as in a shell.
        exclude_list: A table of paths to leave out, see `headstart.data.exclusions.read_list`.
        require_split: Whether the data are for training.
        anyway: Leave out rows that cannot be used, and have no other faults than -050 to -052, -056 and -057,
            instead of raising.

    Raises:
        DataError: HS-DATA-050 (no table), -051 and -052 (which column?), -053 (rows that cannot be used),
            -054 (several classes in a row), -055 (files are missing), -056 (paths of another place), -057 (no
            such column), -060, -061 (groups), -003, -004, -008, -012 as for folders, -016 (several of them),
            -075 and -076 (the list to leave out).
        ConfigError: HS-CONFIG-007, classes both from a column and from folders; HS-CONFIG-020, groups by
            neither a column nor a regular expression.
        MissingExtraError: HS-INSTALL-001, Parquet needs pyarrow.
    """
    if label_from is not None and "label" in (columns or {}):
        raise ConfigError(
            "HS-CONFIG-007",
            "These settings contradict each other.",
            details=["--label-from takes the class from the paths, --columns label=... from a column"],
            fix="Leave out one of them.",
        )
    base = path.parent if images is None else images
    check_is_folder(base)
    table = open_table(path)
    seen = survey(table)
    if not seen.rows:
        raise unreadable(path, "it has no rows")
    by_column = group_by is not None and group_by.strip() in (name.strip() for name in table.names)
    by_pattern = group_by is not None and not by_column
    if by_pattern:
        compiled(group_by or "", table.names)  # wrong before the table is read to its end
    roles = find_roles(
        table,
        seen,
        {**(columns or {}), **({"group": group_by or ""} if by_column else {})},
        lambda cell: is_file(base, with_slashes(cell)),
        label_needed=label_from is None,
    )
    if by_pattern:
        roles = dataclasses.replace(roles, group=None)
    sample = [with_slashes(str(row[roles.path])) for row in seen.sample if row[roles.path]]
    change = relocation(base, sample, path)
    # Columns of nothing but 0 and 1 say no more than the class itself.
    keeps_soft = roles.probability or any(seen.columns[i].fractions for i in roles.soft)
    exclusions = Exclusions(exclude, exclude_list, base)
    reader = _Reader(table, base, roles, change, label_from, exclusions, require_split, keeps_soft)
    reader.read()
    listing = reader.listing(sample[0] if sample else "", anyway)
    if by_pattern:
        return grouped_by_path(
            listing, group_by or "", columns=table.names, several=require_split, anyway=anyway
        )
    if by_column and not anyway:
        groups, nothing = (entry.group for entry in listing.entries), f"column '{group_by}' has no value"
        details = [f"the table's columns: {', '.join(table.names)}"]
        check_groups(groups, nothing, path, details, several=require_split)
    return listing


@dataclass
class _Reader:
    """The second pass over a table; collects rows, faults and notes."""

    table: Table
    base: Path
    roles: Roles
    change: Relocation
    label_from: LabelFrom | None
    exclusions: Exclusions
    require_split: bool
    keeps_soft: bool
    paths: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    soft: dict[str, tuple[float, ...]] = field(default_factory=dict)
    bad: list[str] = field(default_factory=list)
    bad_count: int = 0
    several: dict[str, int] = field(default_factory=dict)
    unlabelled: int = 0
    trimmed: int = 0
    ties: int = 0
    repeated: int = 0

    def read(self) -> None:
        known: dict[str, str] = {}  # of equal names one object

        def shared(name: str) -> str:
            return known.setdefault(name, name)

        width = len(self.table.names)
        roles = self.roles
        for number, row in self.table.rows():
            if len(row) != width:
                self.fault(number, f"has {counted(len(row), 'cell', 'cells')}, not {width}")
                continue
            cell = row[roles.path]
            written = with_slashes(cell) if isinstance(cell, str) else ""
            if not written:
                self.fault(number, "names no picture")
                continue
            if "://" in written:
                self.fault(number, f"{written} is an address: fetch the pictures, and give their paths")
                continue
            path = self.relative(self.change(written))
            label = self.label(number, row, path)
            if label is None:
                continue
            split = self.split(number, row)
            if split is None or self.exclusions.leaves_out(path, label):
                continue
            self.paths.append(path)
            self.classes.append(shared(label))
            self.splits.append(split)
            if roles.group is not None:
                self.groups.append(shared(text_of(row[roles.group])))

    def fault(self, number: int, what: str) -> None:
        self.bad_count += 1
        if len(self.bad) < SHOWN_FAULTS:
            self.bad.append(f"row {number}: {what}")

    def relative(self, path: str) -> str:
        """Relative to the pictures' folder where it lies below."""
        if path.startswith("/"):
            root = os.path.abspath(self.base) + "/"  # noqa: PTH100
            return path.removeprefix(root)
        if path.startswith("./") or "/." in path or "//" in path:
            path = os.path.normpath(path).replace(os.sep, "/")
            if path.startswith("../"):
                path = os.path.abspath(self.base / path).replace(os.sep, "/")  # noqa: PTH100
        return path

    def label(self, number: int, row: Row, path: str) -> str | None:
        roles = self.roles
        if roles.soft or roles.probability:
            return self.likeliest(number, row, path)
        if roles.label is None:
            assert self.label_from is not None
            if not (label := label_of(path, self.label_from)):
                self.fault(number, f"{path} lies in no folder that could name its class")
            return label or None
        cell = row[roles.label]
        if isinstance(cell, list):
            if len(cell) > 1:
                self.several[";".join(cell)] = number
                return None
            cell = cell[0] if cell else ""
        label = nfc(cell.strip())
        self.trimmed += label != nfc(cell)
        if not label:
            self.unlabelled += 1
            return None
        if "\n" in label:
            self.fault(number, "its class goes on over several lines: is a quote not closed?")
            return None
        return label

    def likeliest(self, number: int, row: Row, path: str) -> str | None:
        """The class with the highest probability; all of them are kept."""
        roles = self.roles
        cells = [text_of(row[i]) for i in (roles.soft or (roles.label or 0,))]
        if not any(cells):
            self.unlabelled += 1
            return None
        if not all(is_number(cell or "0") for cell in cells):
            self.fault(number, f"{' '.join(cells)} are no probabilities")
            return None
        values = tuple(float(cell or 0) for cell in cells)
        if roles.probability:
            values = (1 - values[0], values[0])
        if not sums_to_one([str(value) for value in values]):
            self.fault(number, f"the probabilities {' '.join(cells)} are not from 0 to 1, or do not sum to 1")
            return None
        best = max(values)
        self.ties += values.count(best) > 1
        if self.keeps_soft and self.soft.setdefault(path, values) != values:
            self.fault(number, f"{path} was listed before with other probabilities")
            return None
        return self.soft_classes()[values.index(best)]

    def soft_classes(self) -> tuple[str, ...]:
        names = self.table.names
        if self.roles.probability:
            assert self.roles.label is not None
            name = class_of_column(names[self.roles.label])
            return (f"not {name}", name)
        return tuple(class_of_column(names[i]) for i in self.roles.soft)

    def split(self, number: int, row: Row) -> str | None:
        if self.roles.split is None:
            return ""
        given = text_of(row[self.roles.split])
        split = SPLITS.get(given.casefold())
        if split is None:
            what = f"'{given}' is no split.{nearest(given, SPLITS)}" if given else "has no split"
            self.fault(number, what)
        return split

    def listing(self, example: str, anyway: bool) -> Listing:
        """Everything in order, or all faults at once."""
        entries = self.once(Entries(self.paths, self.classes, self.splits, self.groups or None))
        if not anyway:
            raise_all(self.faults(entries, example), self.table.path)
        return Listing(
            self.base,
            entries,
            "table",
            notes=tuple(self.notes(example)),
            soft=self.soft,
            soft_classes=self.soft_classes() if self.soft else (),
            excluded=self.exclusions.found,
        )

    def faults(self, entries: Entries, example: str) -> list[DataError]:
        """What is wrong with the rows."""
        faults: list[DataError] = []
        where = self.table.path
        labels = dict.fromkeys(self.classes, 0)
        several = [*self.several, *(of_several_classes(labels) if self.roles.label is not None else ())]
        if several:
            details = [
                f"row {self.several[name]}: {name}" if name in self.several else name for name in several
            ]
            faults.append(several_classes(where, details))
        if self.bad_count:
            rows = counted(self.bad_count, "row", "rows")
            hidden = [""] * (self.bad_count - len(self.bad))  # counted, not worded
            faults.append(
                DataError(
                    "HS-DATA-053",
                    f"{rows} of the table cannot be used.",
                    where=where,
                    details=[*self.bad, *hidden],
                    fix="Correct them in the table.",
                )
            )
        if entries:
            faults += self.missing(entries)
            faults += split_faults(entries, where) if self.require_split and not several else []
        elif not faults:
            faults.append(
                DataError(
                    "HS-DATA-003",
                    "The table names no picture with a class.",
                    where=where,
                    details=self.notes(example),
                    fix="Give a row with path and class of each picture.",
                )
            )
        return faults

    def once(self, entries: Entries) -> Entries:
        """The entries without rows that say the same again; those that contradict each other are faults."""
        paths = entries.paths
        again = [i for i in range(1, len(paths)) if paths[i] == paths[i - 1]]
        if not again:
            return entries
        for i in again:
            first, second = entries[i - 1], entries[i]
            if first == second:
                self.repeated += 1
            else:
                self.bad_count += 1
                says = [f"{entry.class_name} {entry.split}".strip() for entry in (first, second)]
                self.bad.append(f"{second.path} is listed as {' and as '.join(sorted(says))}")
        doubled = set(again)
        kept = [i for i in range(len(paths)) if i not in doubled]
        groups = None if entries.groups is None else [entries.groups[i] for i in kept]
        return Entries(
            [paths[i] for i in kept],
            [entries.classes[i] for i in kept],
            [entries.splits[i] for i in kept],
            groups,
        )

    def missing(self, entries: Entries) -> list[DataError]:
        """An error if more than a few files are not there; a few are left out, and named, when read."""
        gone = [path for path in entries.paths if not is_file(self.base, path)]
        if len(gone) <= MISSING_SHARE * len(entries):
            return []
        known = set(entries.paths)
        details = [
            f"{path}{self.nearby(path, known)}" if i < SHOWN_DETAILS else path for i, path in enumerate(gone)
        ]
        return [
            DataError(
                "HS-DATA-055",
                f"{len(gone):,} of {len(entries):,} files that the table names are not there.",
                where=self.table.path,
                details=details,
                fix="Name the folder that the paths begin in (--images DIR), correct them, or leave them out "
                "with --exclude.",
            )
        ]

    def nearby(self, path: str, known: set[str]) -> str:
        """The nearest name of a file in the same folder that the table does not name."""
        folder, _, name = path.rpartition("/")
        try:
            beside = [item.name for item in Path(place(self.base, folder)).iterdir()]
        except OSError:
            return ""
        return nearest(name, [item for item in beside if f"{folder}/{item}".lstrip("/") not in known])

    def notes(self, example: str) -> list[str]:
        """What was found and what was done, for a person."""
        names, roles = self.table.names, self.roles
        said = [f"path: {names[roles.path]}"]
        if roles.soft:
            kind = "the likeliest" if self.keeps_soft else "the one with a 1"
            said.append(f"class: {kind} of {listed(self.soft_classes())}")
        elif roles.label is not None:
            said.append(f"class: {names[roles.label]}")
        else:
            said.append(f"class: the path's folders ({self.label_from})")
        said += [
            f"{role}: {names[i]}"
            for role, i in (("split", roles.split), ("group", roles.group))
            if i is not None
        ]
        notes = [f"{self.table.kind} table, columns {', '.join(said)}"]
        if self.change != Relocation():
            notes.append(f"paths of the table are read as they lie here: {self.change.in_words(example)}")
        if self.soft:
            notes.append(
                "the table gives probabilities: training learns them, and the likeliest class is the label "
                "that results are of"
            )
            never = sorted(set(self.soft_classes()) - set(self.classes))
            if never:
                notes.append(f"never the likeliest, so not a class: {listed(never)}")
        if self.ties:
            text = counted(self.ties, "picture has", "pictures have")
            notes.append(f"{text} several likeliest classes: the first column counts")
        if self.unlabelled:
            notes.append(f"left out: {counted(self.unlabelled, 'row', 'rows')} without a class")
        if self.repeated:
            notes.append(f"left out: {counted(self.repeated, 'row', 'rows')} that say the same again")
        if self.trimmed:
            notes.append(f"spaces around the class are dropped in {counted(self.trimmed, 'row', 'rows')}")
        return notes + self.exclusions.notes("row", "rows")


def class_of_column(name: str) -> str:
    """The class that a column of probabilities is of: headstart's own tables write ``prob:CLASS``."""
    return nfc(name.strip().removeprefix("prob:"))
