"""The files of a data set with their classes and given splits, before anything is decoded."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from headstart.errors import DataError, nearest

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
RUN_FILES = {"config.yaml", "dataset.csv", "log.txt"}  # by which the folder of a run is told
SYSTEM_NAMES = {"__macosx", "@eadir", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that may be a picture.

    Attributes:
        path: Relative to the root with ``/``, or absolute for lists.
        class_name: NFC.
        split: ``train``, ``val``, ``test``, ``selection``, or empty if the data set gives none.
        group: What it must stay together with (a patient, a lot), empty if nothing is said.
    """

    path: str
    class_name: str
    split: str
    group: str = ""


class Excluded(NamedTuple):
    """What was left out on demand.

    Attributes:
        path: As in the listing; a folder ends in ``/``.
        by: The flag that did it: ``--exclude PATTERN`` or ``--exclude-list FILE``.
        reason, code: What the list says of it; may be empty.
    """

    path: str
    by: str
    reason: str = ""
    code: str = ""


class Entries(Sequence[Entry]):
    """Entries column by column, sorted by path: a million of them take a third of the memory of objects.

    Args:
        paths: Of each file.
        classes, splits, groups: Of each file; equal names should be one object.
    """

    __slots__ = ("classes", "groups", "paths", "splits")

    def __init__(
        self, paths: list[str], classes: list[str], splits: list[str], groups: list[str] | None = None
    ) -> None:
        order: Sequence[int]
        if all(map(str.isascii, paths)):
            order = sorted(range(len(paths)), key=paths.__getitem__)
        else:
            order = sorted(range(len(paths)), key=lambda i: path_order(paths[i]))
        self.paths = [paths[i] for i in order]
        self.classes = [classes[i] for i in order]
        self.splits = [splits[i] for i in order]
        self.groups = None if groups is None else [groups[i] for i in order]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Entries:
        """The same entries, column by column."""
        rows = list(entries)
        names = ("path", "class_name", "split", "group")
        paths, classes, splits, groups = ([getattr(row, name) for row in rows] for name in names)
        return cls(paths, classes, splits, groups if any(groups) else None)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry, self.paths, self.classes, self.splits, self.groups or itertools.repeat(""))

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        group = "" if self.groups is None else self.groups[index]
        return Entry(self.paths[index], self.classes[index], self.splits[index], group)


@dataclass(frozen=True)
class Listing:
    """Every candidate file, sorted by path.

    Attributes:
        layout: ``split-folders``, ``class-folders``, ``list`` or ``table``; ``unclear`` of a folder that
            training refuses.
        empty_classes: Class folders of the training part that hold no file.
        notes: What was ignored or guessed, for a person.
        soft: Probability of each class by the path of a picture, where a table gives them, in the order of
            ``soft_classes``; the class of an entry is the likeliest.
        soft_classes: Classes of ``soft``.
        ignored: Hidden and system files and folders, relative to the root; folders end in ``/``.
        excluded: Files and folders left out on demand.
    """

    root: Path
    entries: Sequence[Entry]
    layout: str
    empty_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    soft: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    soft_classes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    excluded: Sequence[Excluded] = ()


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def path_order(path: str) -> tuple[str, str]:
    """Sort key that is the same on file systems that keep NFC and those that keep NFD."""
    return nfc(path), path


def is_ignored(name: str, is_folder: bool) -> bool:
    """Hidden and system names. Files may start with ``_``: cameras name them so (``_DSC0001.JPG``)."""
    return name.startswith(".") or (is_folder and name.startswith("_")) or name.lower() in SYSTEM_NAMES


def is_folder(item: os.DirEntry[str]) -> bool:
    """Whether it is a folder, or a link to one; not so of a link that leads to itself."""
    try:
        return item.is_dir()
    except OSError:
        return False


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


def split_faults(rows: Sequence[Entry], where: object) -> list[DataError]:
    """What keeps the rows of a list or table from being trained on, as a whole."""
    pairs = {(row.split, row.class_name) for row in rows}
    given = {split for split, _ in pairs}
    trained = {name for split, name in pairs if split in ("", "train")}
    if given != {""} and "train" not in given:
        what = "No row is for training."
        return [DataError("HS-DATA-012", what, where=where, fix="Use the split 'train'.")]
    if unknown := sorted({name for _, name in pairs} - trained):
        guesses = "".join(dict.fromkeys(nearest(name, trained) for name in unknown))
        what = f"Classes that no training row has: {listed(unknown)}.{guesses}"
        fix = f'Give them the name of a class that trains, or leave one out: --exclude "{unknown[0]}"'
        return [DataError("HS-DATA-008", what, where=where, fix=fix)]
    if len(trained) < 2:
        what = f"There is only one class, '{min(trained)}'; at least two are needed."
        fix = "Add pictures of something else (for example 'other')."
        return [DataError("HS-DATA-004", what, where=where, fix=fix)]
    return []


def quoted(names: Sequence[str]) -> str:
    return " and ".join(f"'{name}'" for name in names)


def listed(names: Sequence[str], shown: int = 5) -> str:
    """A few names and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")
