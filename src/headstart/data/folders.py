"""Understands a data folder by names only.

Accepted: ``train/`` with ``test/`` and/or ``val/`` (usual spellings, any case) that hold class folders; class
folders alone. A class is the first folder below the split, whatever lies deeper, unless asked for otherwise
(``label_from``). All structural faults are reported at once.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headstart.config import LabelFrom
from headstart.console import counted
from headstart.data.exclusions import Exclusions
from headstart.data.folder_faults import LAYOUTS, no_pictures, one_class, split_beside_classes
from headstart.data.formats import HEAD_BYTES, PICTURE_SUFFIXES, UnreadableImage, recognise
from headstart.data.listing import (
    RUN_FILES,
    SPLIT_NAMES,
    Entry,
    Listing,
    is_folder,
    is_ignored,
    listed,
    nfc,
    path_order,
    quoted,
    raise_all,
)
from headstart.data.split_folders import parts_of
from headstart.errors import DataError, nearest


def list_folder(
    root: Path,
    *,
    exclude: Sequence[str] = (),
    exclude_list: Path | None = None,
    require_split: bool = True,
    label_from: LabelFrom = "top",
) -> Listing:
    """Understands the layout of a folder.

    Args:
        exclude: Names or relative paths to leave out; ``*`` and ``?`` as in a shell.
        exclude_list: A table of paths to leave out, see `headstart.data.exclusions.read_list`.
        label_from: Which of nested folders name the class.
        require_split: Whether the data are for training; otherwise one class and a lone ``test/`` are fine.

    Raises:
        DataError: HS-DATA-001 (no such folder), -002 (a file), -003 (no pictures), -004 (one class), -006
            (pictures beside class folders), -007 (split-named beside class folders), -008 (class not in
            training), -009 (equal names), -012 (no training part), -013 (two spellings of a split), -015
            (no permission), -016 (several of them), -075 and -076 (the list to leave out), -077 (the folder
            of a run), -078 (a data set among the classes).
    """
    check_is_folder(root)
    exclusions = Exclusions(exclude, exclude_list, root)
    return _FolderReader(root, exclusions, require_split, label_from).read()


def run_folder_fault(folder: Path, within: str = "") -> DataError:
    """Says that a folder is what headstart wrote; ``within``: its path inside of the data."""
    return DataError(
        "HS-DATA-077",
        "This is the folder of a run of headstart: its plots are no pictures to train on.",
        where=folder,
        fix=f'Leave it out: --exclude "{within}"' if within else "Give the folder that holds the pictures.",
    )


def label_of(path: str, label_from: LabelFrom) -> str:
    """The class that the folders of a path name: the first one, the last one, or all; empty without any.

    ``path`` begins below the split.
    """
    folders = nfc(path).split("/")[:-1]
    if not folders:
        return ""
    return {"top": folders[0], "parent": folders[-1], "path": "/".join(folders)}[label_from]


def check_is_folder(root: Path) -> None:
    if root.is_dir():
        return
    if root.exists():
        raise DataError(
            "HS-DATA-002",
            "This is a file, a folder of pictures is needed.",
            where=root,
            fix="Give the folder that holds the pictures.",
        )
    parent = root.parent
    folders = [p.name for p in parent.iterdir() if p.is_dir() or root.suffix] if parent.is_dir() else []
    raise DataError(
        "HS-DATA-001",
        f"There is no such {'file' if root.suffix else 'folder'}.{nearest(root.name, folders)}",
        where=root,
        fix="Check the spelling, and the folder that the command runs in.",
    )


@dataclass
class _FolderReader:
    """One walk over a data folder; collects faults and notes on the way."""

    root: Path
    exclusions: Exclusions
    require_split: bool
    label_from: LabelFrom = "top"
    faults: list[DataError] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def read(self) -> Listing:
        folders, files = self.visible(self.root)
        by_split: dict[str, list[str]] = defaultdict(list)
        parts = parts_of(folders)
        for name, part in parts.items():
            by_split[part].append(name)
        others = [name for name in folders if name not in parts]
        if by_split:
            others = self.without_pictures(others)
        self.check_beside(self.root, "", files, bool(folders))
        if not folders and not self.faults:
            self.faults.append(no_pictures(self.root, [*sorted(self.ignored), *self.beside]))
        elif by_split and others:
            self.faults.append(split_beside_classes(self.root, by_split, others))
        if not folders or (by_split and others):
            raise_all(self.faults, self.root)

        if by_split:
            entries, trained, empty = self.read_splits(by_split)
        else:
            entries, trained, empty = self.read_classes("", folders, "")
        raise_all(self.faults, self.root)
        classes = trained if self.require_split else {entry.class_name for entry in entries}
        if not entries:
            self.faults.append(no_pictures(self.root, [*sorted(self.ignored), *self.beside]))
        elif self.require_split and len(classes) < 2:
            name = min(classes, default="")
            inside = self.visible(self.root / name)[0] if name and (self.root / name).is_dir() else []
            self.faults.append(one_class(self.root, name, inside))
        raise_all(self.faults, self.root)
        self.note_ignored()
        return Listing(
            self.root,
            tuple(sorted(entries, key=lambda entry: path_order(entry.path))),
            "split-folders" if by_split else "class-folders",
            tuple(empty),
            tuple(self.notes),
            ignored=tuple(self.ignored),
            excluded=self.exclusions.found,
        )

    def read_splits(self, by_split: dict[str, list[str]]) -> tuple[list[Entry], set[str], list[str]]:
        entries: list[Entry] = []
        classes: dict[str, set[str]] = {}
        empty: list[str] = []
        for split in ("train", "val", "test"):
            names = by_split.get(split, [])
            if len(names) > 1:
                self.faults.append(
                    DataError(
                        "HS-DATA-013",
                        f"Two folders name the same part of the data: {quoted(names)}.",
                        where=self.root,
                        fix=f"Merge them, or leave one out: --exclude {names[-1]}",
                    )
                )
            if not names:
                continue
            if nfc(names[0]).lower() not in SPLIT_NAMES:
                self.notes.append(f"{names[0]}/ is read as {split}/")
            name, folders, files = self.innermost(names[0])
            names[0] = name
            self.check_beside(self.root / name, name, files, bool(folders))
            found, present, without = self.read_classes(name, folders, split)
            entries += found
            classes[split] = present
            if split == "train":
                empty = without
        if "train" not in classes and self.require_split:
            given = quoted([name for names in by_split.values() for name in names])
            self.faults.append(
                DataError(
                    "HS-DATA-012",
                    f"There is no training part, only {given}.",
                    where=self.root,
                    fix="Add a folder train/ with the same class folders.",
                )
            )
        if "train" in classes and self.require_split:
            for split in ("val", "test"):
                self.check_classes_known(by_split, split, classes.get(split, set()), classes["train"])
        return entries, classes.get("train", set()), empty

    def innermost(self, name: str) -> tuple[str, list[str], list[str]]:
        """The folder of a part that holds its classes, and what is in it: train/ also as train/train/."""
        folders, files = self.visible(self.root / name)
        while len(folders) == 1 and nfc(folders[0]).lower() == nfc(name.rpartition("/")[2]).lower():
            inner = f"{name}/{folders[0]}"
            if not self.holds_folders(inner) or any(looks_like_picture(self.root / name / f) for f in files):
                break
            self.beside += [f"{name}/{file}" for file in files]
            name = inner
            folders, files = self.visible(self.root / name)
        return name, folders, files

    def holds_folders(self, folder: str) -> bool:
        with contextlib.suppress(OSError), os.scandir(self.root / folder) as items:
            return any(is_folder(item) and not is_ignored(item.name, True) for item in items)
        return False

    def check_classes_known(
        self, by_split: dict[str, list[str]], split: str, present: set[str], trained: set[str]
    ) -> None:
        unknown = sorted(present - trained)
        if unknown and trained:
            folder, training = by_split[split][0], by_split["train"][0]
            guesses = "".join(dict.fromkeys(nearest(name, trained - present) for name in unknown))
            self.faults.append(
                DataError(
                    "HS-DATA-008",
                    f"Classes in {folder}/ that {training}/ does not have: {listed(unknown)}.{guesses}",
                    where=self.root / folder,
                    details=[
                        f"{folder}/: {listed(sorted(present))}",
                        f"{training}/: {listed(sorted(trained))}",
                    ],
                    fix=f"Rename the folders so that they agree, or leave one out: "
                    f'--exclude "{folder}/{unknown[0]}"',
                )
            )

    def read_classes(
        self, prefix: str, folders: list[str], split: str
    ) -> tuple[list[Entry], set[str], list[str]]:
        """Entries below class folders, names of classes that hold files, names of those that hold none."""
        entries: list[Entry] = []
        spellings: dict[str, list[str]] = defaultdict(list)
        for name in folders:
            spellings[nfc(name)].append(name)
        present: set[str] = set()
        empty: list[str] = []
        for class_name, names in spellings.items():
            if len(names) > 1:
                self.faults.append(
                    DataError(
                        "HS-DATA-009",
                        f"{len(names)} folders are named '{class_name}', in different Unicode forms.",
                        where=self.root / prefix,
                        details=[ascii(name) for name in names],
                        fix="Merge them into one folder.",
                    )
                )
            found = [path for name in names for path in self.walk(f"{prefix}/{name}".lstrip("/"))]
            below = len(prefix) + 1 if prefix else 0
            if not prefix and self.label_from == "top":
                self.check_is_class(class_name, found)
            labels = [class_name] * len(found)
            if self.label_from != "top":
                labels = [label_of(path[below:], self.label_from) for path in found]
            entries += [Entry(path, label, split) for path, label in zip(found, labels, strict=True)]
            present.update(labels)
            if not found:
                empty.append(class_name)
        if self.label_from == "top":
            self.note_nested(prefix, list(spellings))
        return entries, present, sorted(empty)

    def check_is_class(self, name: str, found: list[str]) -> None:
        """A folder that holds a training part with classes is a data set of its own."""
        inside: dict[str, str] = {}
        with contextlib.suppress(OSError), os.scandir(self.root / name) as items:
            inside = parts_of(sorted(item.name for item in items))
        if "train" not in inside.values():
            return
        parts = [path.split("/") for path in found]
        if found and all(len(part) > 3 and part[1] in inside for part in parts):
            holds = listed(list(inside))
            what = f"'{name}' is no class, but a data set of its own: it holds {holds} with classes."
            fix = f'Give one data set, such as {self.root / name}, or leave this one out: --exclude "{name}"'
            self.faults.append(DataError("HS-DATA-078", what, where=self.root, fix=fix))

    def note_nested(self, prefix: str, classes: list[str]) -> None:
        """Class folders that all hold the same folders: perhaps those are the classes."""
        inside: list[set[str]] = []
        for name in classes[:50]:
            try:
                with os.scandir(self.root / prefix / name) as items:
                    inside.append({nfc(i.name) for i in items if i.is_dir() and not is_ignored(i.name, True)})
            except OSError:
                return
        common = set.intersection(*inside) if inside else set()
        if (
            len(classes) > 1
            and len(common) > 1
            and not {name.lower() for name in common} & SPLIT_NAMES.keys()
        ):
            self.notes.append(
                f"each of {quoted(classes[:3])} holds the folders {listed(sorted(common))}: the class is the "
                "first folder; if it is the inner one, add --label-from parent"
            )

    def walk(self, folder: str, above: tuple[tuple[int, int], ...] = ()) -> Iterator[str]:
        """Relative paths of all visible files below a folder; links are followed, but not in circles."""
        status = (self.root / folder).stat()
        identity = (status.st_dev, status.st_ino)
        if identity in above:
            self.loops.append(folder)
            return
        folders, files = self.visible(self.root / folder)
        yield from (f"{folder}/{name}" for name in files)
        for name in folders:
            yield from self.walk(f"{folder}/{name}", (*above, identity))

    def visible(self, folder: Path) -> tuple[list[str], list[str]]:
        """Names of the sub-folders and of the files that are neither hidden nor excluded, sorted."""
        folders: list[str] = []
        files: list[str] = []
        try:
            with os.scandir(folder) as items:
                for item in items:
                    inner = is_folder(item)
                    if self.exclusions and self.exclusions.leaves_out(
                        self.relative(folder, item.name, inner)
                    ):
                        continue
                    if is_ignored(item.name, inner):
                        self.ignored.append(self.relative(folder, item.name, inner))
                    else:
                        (folders if inner else files).append(item.name)
        except PermissionError:
            self.faults.append(
                DataError(
                    "HS-DATA-015",
                    "A folder may not be read.",
                    where=folder,
                    fix="Change its permissions, or leave it out with --exclude.",
                )
            )
        if set(files) >= RUN_FILES:
            self.faults.append(run_folder_fault(folder, folder.relative_to(self.root).as_posix()))
            return [], []
        return sorted(folders, key=path_order), sorted(files, key=path_order)

    def relative(self, folder: Path, name: str, is_folder: bool) -> str:
        return (folder / name).relative_to(self.root).as_posix() + "/" * is_folder

    def without_pictures(self, names: list[str]) -> list[str]:
        """Those of the folders that hold pictures; the others (notes, scripts) are only noted."""
        kept = []
        for name in names:
            if any(looks_like_picture(self.root / path) for path in self.walk(name)):
                kept.append(name)
            else:
                self.notes.append(f"ignored: the folder {name}/, it holds no pictures")
        return kept

    def check_beside(self, folder: Path, name: str, files: list[str], has_folders: bool) -> None:
        """Pictures where only class folders belong; other files there are noted."""
        pictures = [file for file in files if looks_like_picture(folder / file)]
        self.beside += [f"{name}/{file}".lstrip("/") for file in files if file not in set(pictures)]
        if not pictures:
            return
        count = f"{len(pictures)} picture{'s lie' if len(pictures) > 1 else ' lies'}"
        place = f"directly in {name}/" if name else "directly in the data folder"
        if has_folders:
            what, fix = (
                f"{count} {place}, beside the class folders.",
                f'Move each into a class folder, or leave them out: --exclude "{pictures[0]}"',
            )
        else:
            what, fix = (
                f"{count} {place}; without class folders nobody knows their classes.",
                f"Make a folder per class: {LAYOUTS}.",
            )
        self.faults.append(DataError("HS-DATA-006", what, where=folder, details=pictures, fix=fix))

    def note_ignored(self) -> None:
        if self.beside:
            text = counted(len(self.beside), "file that is no picture", "files that are no pictures")
            self.notes.append(f"ignored: {text}, beside the class folders ({listed(self.beside)})")
        if self.loops:
            self.notes.append(f"not followed: links that lead in a circle ({listed(self.loops)})")
        self.notes += self.exclusions.notes("file or folder", "files and folders")


def looks_like_picture(path: Path) -> bool:
    """By name, else by the first bytes."""
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return True
    try:
        with open(path, "rb") as file:
            recognise(file.read(HEAD_BYTES))
    except (UnreadableImage, OSError):
        return False
    return True
