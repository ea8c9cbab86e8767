"""Which column of a table holds what: paths, classes, split, group. Content decides, then names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from headstart.data.formats import PICTURE_SUFFIXES
from headstart.data.listing import SPLIT_NAMES, listed, nfc, quoted, raise_all
from headstart.data.tables import Row, Table, is_number
from headstart.errors import DataError, nearest

ROLES = ("path", "label", "split", "group")
PATH_NAMES = (
    *("path", "image_path", "img_path", "filepath", "file_path", "file_name", "filename", "file", "image"),
    *("img", "image_name", "image_id", "img_id", "id", "name", "picture", "photo"),
)
LABEL_NAMES = (
    *("label", "labels", "class", "class_name", "classname", "category", "target", "truth", "species"),
    *("breed", "diagnosis", "dx", "y"),
)
SPLIT_COLUMN_NAMES = ("split", "set", "subset", "partition", "part", "phase", "fold")
GROUP_NAMES = (
    *("group", "group_id", "patient", "patient_id", "subject", "subject_id", "case", "case_id", "lesion_id"),
    *("series", "series_id", "lot", "lot_id", "specimen", "specimen_id", "donor", "animal_id", "plate"),
)
SPLITS = {**SPLIT_NAMES, "selection": "selection", "calibration": "calibration"}
DISTINCT = 20_000  # values of a column that are told apart
SAMPLE = 400  # rows that are looked at together, evenly spread
MOSTLY = 0.8  # of the cells; so many tell what a column is, the others are faults
SUM_OF_PROBABILITIES = 0.011  # around 1; tables round to two places


@dataclass
class Column:
    """What the cells of one column have in common.

    Attributes:
        values: Different cells, up to `DISTINCT`.
        filled: Cells that are not empty.
        lists: Cells that list several things.
        low, high: Of cells that are numbers; ``numeric`` if all are.
        fractions: Whether some number is not whole.
    """

    name: str
    values: set[str] = field(default_factory=set)
    filled: int = 0
    lists: int = 0
    numeric: bool = True
    low: float = float("inf")
    high: float = float("-inf")
    fractions: bool = False

    def add(self, cell: str | list[str]) -> None:
        if isinstance(cell, list):
            self.lists += len(cell) > 1
            cell = cell[0] if len(cell) == 1 else ";".join(cell)
        if not cell:
            return
        self.filled += 1
        if cell in self.values:
            return
        if len(self.values) < DISTINCT:
            self.values.add(cell)
        if self.numeric:
            if not is_number(cell):
                self.numeric = False
                return
            number = float(cell)
            self.low, self.high = min(self.low, number), max(self.high, number)
            self.fractions = self.fractions or number != int(number) if abs(number) < 1e15 else self.fractions

    @property
    def probable(self) -> bool:
        """All cells are numbers from 0 to 1."""
        return self.numeric and self.filled > 0 and self.low >= 0 and self.high <= 1

    @property
    def plain(self) -> str:
        return self.name.strip().casefold().replace(" ", "_").replace("-", "_")


@dataclass(frozen=True)
class Survey:
    """One pass over a table.

    Attributes:
        columns: What each holds.
        sample: Up to `SAMPLE` whole rows, evenly spread.
        rows: How many there are.
    """

    columns: tuple[Column, ...]
    sample: tuple[Row, ...]
    rows: int


@dataclass(frozen=True)
class Roles:
    """Indices of the columns; None where there is none.

    Attributes:
        soft: One column of probabilities per class.
        probability: ``label`` holds the probability of one class.
    """

    path: int
    label: int | None
    split: int | None = None
    group: int | None = None
    soft: tuple[int, ...] = ()
    probability: bool = False


def survey(table: Table) -> Survey:
    """Reads a table once."""
    columns = tuple(Column(name) for name in table.names)
    kept: list[Row] = []
    stride, count = 1, 0
    for _, row in table.rows():
        for column, cell in zip(columns, row, strict=False):
            column.add(cell.strip() if isinstance(cell, str) else cell)
        if count % stride == 0 and len(row) == len(columns):
            kept.append(row)
            if len(kept) > SAMPLE:
                kept, stride = kept[::2], stride * 2
        count += 1
    return Survey(columns, tuple(kept), count)


def find_roles(
    table: Table,
    seen: Survey,
    given: Mapping[str, str],
    is_there: Callable[[str], bool],
    *,
    label_needed: bool = True,
) -> Roles:
    """Decides which column holds what.

    Args:
        table: Its names.
        seen: Its content.
        given: Columns that the user named, by `ROLES`.
        is_there: Whether a path of the table leads to a file.
        label_needed: False: classes come from elsewhere.

    Raises:
        DataError: HS-DATA-051 (no column of paths, or several), HS-DATA-052 (the same of classes),
            HS-DATA-057 (a column was named that is not there).
    """
    return _Finder(table, seen, given, is_there, label_needed).roles()


@dataclass
class _Finder:
    table: Table
    seen: Survey
    given: Mapping[str, str]
    is_there: Callable[[str], bool]
    label_needed: bool

    def roles(self) -> Roles:
        faults: list[DataError] = []
        known: dict[str, int] = {}
        for role in ROLES:
            if role in self.given:
                try:
                    known[role] = self.named(role)
                except DataError as fault:
                    faults.append(fault)
        raise_all(faults, self.table.path)
        taken = set(known.values())
        path = known.get("path", -1)
        if path < 0:
            try:
                path = self.path(taken)
            except DataError as fault:
                faults.append(fault)
                taken |= {
                    i for i in range(len(self.seen.columns)) if self.share(i, looks_like_picture) >= 0.5
                }
        taken.add(path)
        split = known.get("split", self.split(taken))
        taken.add(-1 if split is None else split)
        group = known.get("group", self.group(taken))
        taken.add(-1 if group is None else group)
        label = known.get("label")
        soft: tuple[int, ...] = ()
        probability = False
        if label is not None:
            column = self.seen.columns[label]
            probability = column.probable and column.fractions
        elif self.label_needed:
            try:
                label, soft, probability = self.label(taken)
            except DataError as fault:
                faults.append(fault)
        raise_all(faults, self.table.path)
        return Roles(path, label, split, group, soft, probability)

    def named(self, role: str) -> int:
        wanted = self.given[role]
        for i, name in enumerate(self.table.names):
            if name.strip() == wanted.strip():
                return i
        raise DataError(
            "HS-DATA-057",
            f"The table has no column '{wanted}'.{nearest(wanted, self.table.names)}",
            where=self.table.path,
            fix=f"Its columns: {', '.join(self.table.names)}.",
        )

    def share(self, column: int, good: Callable[[str], bool]) -> float:
        cells = [row[column] for row in self.seen.sample if row[column]]
        return sum(isinstance(cell, str) and good(cell.strip()) for cell in cells) / max(1, len(cells))

    def path(self, taken: set[int]) -> int:
        free = [i for i in range(len(self.table.names)) if i not in taken and i < len(self.seen.columns)]
        there = {i: self.share(i, self.is_there) for i in free}
        pictures = [i for i in free if self.share(i, looks_like_picture) >= 0.5 or there[i] >= 0.5]
        if not pictures:
            pictures = [
                i
                for i in free
                if self.seen.columns[i].plain in PATH_NAMES
                and len(self.seen.columns[i].values) >= min(self.seen.columns[i].filled, DISTINCT) > 0
            ]
        if len(pictures) > 1:
            most = max(there[i] for i in pictures)
            pictures = [i for i in pictures if there[i] == most]
        if len(pictures) > 1:
            named = [i for i in pictures if self.seen.columns[i].plain in PATH_NAMES]
            pictures = named if len(named) == 1 else pictures
        if len(pictures) == 1:
            return pictures[0]
        names = [self.table.names[i] for i in pictures]
        what = (
            f"Several columns hold paths of pictures: {quoted(names)}."
            if pictures
            else "No column of the table holds paths of pictures."
        )
        raise DataError(
            "HS-DATA-051",
            what,
            where=self.table.path,
            details=self.described(pictures or free),
            fix=f"Name it: --columns path={names[0] if names else 'COLUMN'}",
        )

    def split(self, taken: set[int]) -> int | None:
        found = []
        for i, column in enumerate(self.seen.columns):
            names = {value.casefold() for value in column.values}
            if i in taken or not names:
                continue
            if column.plain in SPLIT_COLUMN_NAMES and self.share(i, is_split) >= MOSTLY:
                return i  # others are told one by one
            if names <= SPLITS.keys():
                found += [i] if len(names) > 1 else []
        return found[0] if len(found) == 1 else None

    def group(self, taken: set[int]) -> int | None:
        for name in GROUP_NAMES:
            for i, column in enumerate(self.seen.columns):
                if i not in taken and column.plain == name and len(column.values) > 1:
                    return i
        return None

    def label(self, taken: set[int]) -> tuple[int | None, tuple[int, ...], bool]:
        """The column of classes; or those of one probability per class; whether it is one probability."""
        columns = self.seen.columns
        free = [i for i in range(len(columns)) if i not in taken and columns[i].filled]
        named = [i for i in free if columns[i].plain in LABEL_NAMES]
        if len(named) > 1:
            named = self.one_of_equals(named)
        if len(named) == 1:
            column = columns[named[0]]
            return named[0], (), column.probable and column.fractions
        if not named:
            if soft := self.soft(free):
                return None, soft, False
            categories = [
                i
                for i in free
                if 2 <= len(columns[i].values) <= max(2, columns[i].filled // 2)
                and not (columns[i].numeric and columns[i].fractions)
                and len(columns[i].values) < DISTINCT
            ]
            probabilities = [i for i in free if columns[i].probable and columns[i].fractions]
            if len(categories) == 1 and not probabilities:
                return categories[0], (), False
            if len(probabilities) == 1 and not categories:
                return probabilities[0], (), True
            named = sorted((*categories, *probabilities))
        names = [self.table.names[i] for i in named]
        what = (
            f"Several columns could be the class: {quoted(names)}."
            if named
            else "No column of the table holds classes."
        )
        fix = f"Name it: --columns label={names[0] if names else 'COLUMN'}"
        if not named:
            fix += ". If the folders are the classes: --label-from parent"
        raise DataError(
            "HS-DATA-052", what, where=self.table.path, details=self.described(named or free), fix=fix
        )

    def one_of_equals(self, named: list[int]) -> list[int]:
        """Of columns that say the same (a number and a name), the one in words."""
        pairs = {tuple(str(row[i]) for i in named) for row in self.seen.sample}
        if any(len({pair[k] for pair in pairs}) != len(pairs) for k in range(len(named))):
            return named
        words = [i for i in named if not self.seen.columns[i].numeric]
        return words[:1] or named[:1]

    def soft(self, free: list[int]) -> tuple[int, ...]:
        """Columns of numbers from 0 to 1 that sum to 1 in every row of the sample.

        Of fractions, a few rows may be wrong, which are told one by one.
        """
        shares = tuple(i for i in free if self.share(i, is_probability) >= MOSTLY)
        if len(shares) > 1 and any(self.seen.columns[i].fractions for i in shares):
            good = [sums_to_one([text_of(row[i]) for i in shares]) for row in self.seen.sample]
            if sum(good) >= MOSTLY * len(good):
                return shares
        numbers = tuple(i for i in free if self.seen.columns[i].probable)
        if len(numbers) < 2 or not self.seen.sample:
            return ()
        sums = [sum(float(str(row[i]) or 0) for i in numbers) for row in self.seen.sample]
        if all(abs(total - 1) <= SUM_OF_PROBABILITIES for total in sums):
            return numbers
        flags = not any(self.seen.columns[i].fractions for i in numbers)
        if flags and len(numbers) > 2 and sum(total > 1 for total in sums) and len(numbers) == len(free):
            names = [self.table.names[i] for i in numbers]
            many = next(row for row, total in zip(self.seen.sample, sums, strict=True) if total > 1)
            raise several_classes(
                self.table.path,
                [
                    f"a column for each of {listed(names)}; {sum(total > 1 for total in sums)} of "
                    f"{len(sums)} rows have more than one, such as {', '.join(str(cell) for cell in many)}"
                ],
            )
        return ()

    def described(self, columns: Sequence[int]) -> list[str]:
        lines = []
        for i in columns:
            column = self.seen.columns[i]
            count = len(column.values)
            number = f"{count:,}" if count < DISTINCT else f"{DISTINCT:,} or more"
            lines.append(f"{column.name}: {number} different ({listed(sorted(column.values)[:50], 3)})")
        return lines


def is_split(text: str) -> bool:
    return text.casefold() in SPLITS


def is_probability(text: str) -> bool:
    return is_number(text) and 0 <= float(text) <= 1


def sums_to_one(cells: Sequence[str]) -> bool:
    """Whether these are the probabilities of all classes."""
    if not all(is_probability(cell or "0") for cell in cells):
        return False
    return abs(sum(float(cell or 0) for cell in cells) - 1) <= SUM_OF_PROBABILITIES


def text_of(cell: str | list[str]) -> str:
    return cell.strip() if isinstance(cell, str) else ";".join(cell)


def looks_like_picture(text: str) -> bool:
    return PurePosixPath(text.replace("\\", "/")).suffix.lower() in PICTURE_SUFFIXES


def several_classes(path: Path, details: Sequence[str]) -> DataError:
    return DataError(
        "HS-DATA-054",
        "Pictures have several classes at once, which headstart does not train on yet.",
        where=path,
        details=details,
        fix="Keep one class in each row; or, if the combination is the class, join it with another character "
        "(cat+dog).",
    )


def of_several_classes(labels: Mapping[str, int]) -> list[str]:
    """Labels that list classes (``cat;dog``), each of which is found elsewhere too."""
    for separator in (";", "|", ","):
        split = {
            label: {nfc(part.strip()) for part in re.split(re.escape(separator), label)}
            for label in labels
            if separator in label
        }
        single = set(labels) - set(split)
        uses: dict[str, int] = {}
        for parts in split.values():
            for part in parts:
                uses[part] = uses.get(part, 0) + 1
        many = [
            label
            for label, parts in split.items()
            if len(parts) > 1 and all(part in single or uses[part] > 1 for part in parts)
        ]
        if many:
            return many
    return []
