"""What a person should know about a data set once it was read: faults that stop, notes that do not."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from headstart.console import counted
from headstart.data.decoding import Decoded
from headstart.data.formats import PICTURE_SUFFIXES
from headstart.data.limits import GIANT_PIXELS
from headstart.data.listing import Entry, Listing, listed, raise_all
from headstart.data.splits import Assignment
from headstart.errors import DataError

MINIMUM_TRAIN = 2  # readable training pictures that each class needs
MINIMUM_FREE = 3  # the same where the split is made here: one more, to evaluate on
BAD_SHARE = 0.05  # of a class; more unreadable pictures are pointed out


@dataclass(frozen=True)
class LeftOut:
    """A file that gives no picture: ``kind`` and ``reason`` as in `headstart.data.images.UnreadableImage`."""

    path: str
    class_name: str
    kind: str
    reason: str

    @property
    def was_meant_as_picture(self) -> bool:
        """Whether its name or content promised a picture (a stray text file did not)."""
        suffix = PurePosixPath(self.path).suffix.lower()
        return self.kind != "not-an-image" or suffix in PICTURE_SUFFIXES

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def class_names(listing: Listing, from_training: bool) -> tuple[str, ...]:
    """Classes in NFC by code point; from the training part only, unless the data are for evaluation."""
    return tuple(
        sorted({e.class_name for e in listing.entries if not from_training or e.split in ("", "train")})
    )


def check_readable(
    listing: Listing,
    readable: Sequence[Entry],
    left_out: Sequence[LeftOut],
    classes: Sequence[str],
    split_needed: bool,
) -> None:
    """Every class must have enough readable pictures.

    Raises:
        DataError: HS-DATA-003 (nothing can be read), -005 (too few), -010 (a class lost all its pictures),
            -011 (Git LFS pointers), -016 (several of them).
    """
    pictures_lost = [item for item in left_out if item.was_meant_as_picture]
    if not readable:
        raise _nothing_readable(listing, left_out, pictures_lost)
    if not split_needed:
        return
    trained = Counter(entry.class_name for entry in readable if entry.split in ("", "train"))
    lost: dict[str, list[LeftOut]] = defaultdict(list)
    gone = {item.path for item in pictures_lost}
    in_training = {e.path for e in listing.entries if e.path in gone and e.split in ("", "train")}
    for item in pictures_lost:
        if item.path in in_training:
            lost[item.class_name].append(item)
    needed = MINIMUM_TRAIN if any(entry.split for entry in listing.entries) else MINIMUM_FREE
    faults = [
        DataError(
            "HS-DATA-010",
            f"Class '{name}' loses all its {counted(len(lost[name]), 'picture', 'pictures')}: "
            "none can be read.",
            where=listing.root,
            details=[str(item) for item in lost[name]],
            fix=_fix_for(lost[name]) or f'Replace them, or leave the class out: --exclude "{name}"',
        )
        for name in classes
        if not trained[name] and lost[name]
    ]
    few = [*listing.empty_classes, *(name for name in classes if trained[name] < needed)]
    few = sorted(name for name in few if trained[name] or not lost[name])
    if few:
        part = "" if needed == MINIMUM_FREE else "training "
        faults.append(
            DataError(
                "HS-DATA-005",
                f"{counted(len(few), 'class has', 'classes have')} too few readable {part}pictures; "
                f"each needs at least {needed}.",
                where=listing.root,
                details=[
                    f"'{name}': {trained[name]} readable"
                    + (f", {len(lost[name])} not readable" if lost[name] else "")
                    for name in few
                ],
                fix=f'Add pictures, or leave the folder out: --exclude "{few[0]}"',
            )
        )
    raise_all(faults, listing.root)


def _nothing_readable(
    listing: Listing, left_out: Sequence[LeftOut], pictures_lost: Sequence[LeftOut]
) -> DataError:
    pointers = [item for item in pictures_lost if item.kind == "lfs-pointer"]
    if pointers and len(pointers) == len(pictures_lost):
        return DataError(
            "HS-DATA-011",
            f"All {counted(len(pointers), 'file is a Git LFS pointer', 'files are Git LFS pointers')}, "
            "not pictures: the folder was cloned without git-lfs.",
            where=listing.root,
            details=[item.path for item in pointers],
            fix="Run in the clone: git lfs install && git lfs pull",
        )
    return DataError(
        "HS-DATA-003",
        f"None of {counted(len(left_out), 'file', 'files')} is a picture that can be read.",
        where=listing.root,
        details=[str(item) for item in pictures_lost or left_out],
        fix=_fix_for(pictures_lost),
    )


def _fix_for(lost: Sequence[LeftOut]) -> str:
    kinds = {item.kind for item in lost}
    if kinds == {"lfs-pointer"}:
        return "Run in the clone: git lfs install && git lfs pull"
    if kinds == {"forbidden"}:
        return "Change the permissions of the files."
    hints = {item.reason for item in lost if "pip install" in item.reason}
    return hints.pop() if len(hints) == 1 else ""


def notes_on_left_out(listing: Listing, left_out: Sequence[LeftOut]) -> list[str]:
    """Files that give no picture, counted and named; classes that lose many pointed out."""
    notes = []
    strays = [item.path for item in left_out if not item.was_meant_as_picture]
    if strays:
        text = counted(len(strays), "file that is not an image", "files that are not images")
        notes.append(f"left out: {text} ({listed(strays)})")
    lost = [item for item in left_out if item.was_meant_as_picture]
    if lost:
        text = counted(len(lost), "picture that cannot be read", "pictures that cannot be read")
        more = f"; and {len(lost) - 5} more" if len(lost) > 5 else ""
        notes.append(f"left out: {text} ({'; '.join(str(item) for item in lost[:5])}{more})")
    totals = Counter(entry.class_name for entry in listing.entries)
    totals.subtract(item.class_name for item in left_out if not item.was_meant_as_picture)
    for name, bad in sorted(Counter(item.class_name for item in lost).items()):
        if bad > BAD_SHARE * totals[name]:
            notes.append(
                f"ATTENTION: {bad} of {totals[name]} pictures of class '{name}' cannot be read "
                f"({bad / totals[name]:.0%}); look at them before trusting the result"
            )
    if listing.empty_classes:
        notes.append(f"ignored: empty class folders ({listed(listing.empty_classes)})")
    return notes


def notes_on_classes(labels: NDArray[np.int64], assignment: Assignment, classes: Sequence[str]) -> list[str]:
    """Classes that a part lacks."""
    notes = []
    for split in ("selection", "val", "test"):
        present = set(labels[assignment.splits == split].tolist())
        absent = [name for c, name in enumerate(classes) if c not in present]
        if present and absent:
            few = counted(len(absent), "class has", "classes have")
            notes.append(f"{few} no pictures in {split}, their figures there are n/a ({listed(absent)})")
    return notes


def notes_on_duplicates(
    labels: NDArray[np.int64], hashes: Sequence[str], assignment: Assignment
) -> list[str]:
    """Byte-identical pictures: how many, on both sides of a given split, under two labels."""
    members: dict[str, list[int]] = defaultdict(list)
    for i, file_hash in enumerate(hashes):
        members[file_hash].append(i)
    groups = [group for group in members.values() if len(group) > 1]
    if not groups:
        return []
    copies = sum(len(group) - 1 for group in groups)
    notes = [f"{counted(copies, 'exact duplicate', 'exact duplicates')} of other pictures"]
    leaked = sum(
        int(np.sum(sides == assignment.reported))
        for sides in (assignment.splits[group] for group in groups)
        if np.any(sides != assignment.reported)
    )
    if leaked:
        total = int(np.sum(assignment.splits == assignment.reported))
        notes.append(
            f"ATTENTION: {leaked} of {total} {assignment.reported} pictures are exact copies of pictures "
            "used for training or choices; the reported figures flatter"
        )
    else:
        notes[0] += ", kept on one side of the split"
    torn = sum(len(set(labels[group].tolist())) > 1 for group in groups)
    if torn:
        text = counted(torn, "picture lies", "pictures lie")
        notes.append(f"ATTENTION: {text} under more than one class, byte for byte the same")
    return notes


def notes_on_decoding(read: Sequence[Decoded]) -> list[str]:
    """What was done to pictures beyond plain decoding."""
    notes = []
    for count, one, many, rest in (
        (sum(r.turned for r in read), "picture", "pictures", "turned upright as its EXIF data say"),
        (sum(r.animated for r in read), "file", "files", "with several frames: the first is used"),
        (
            sum(r.deep_colour for r in read),
            "picture",
            "pictures",
            "in 16-bit colour: the upper 8 bits of each channel are used",
        ),
        (sum(r.profiled for r in read), "picture", "pictures", "with a colour profile, converted to sRGB"),
        (
            sum(r.damaged_profile for r in read),
            "picture",
            "pictures",
            "with a damaged colour profile, which is not applied",
        ),
        (
            sum(r.reduced for r in read),
            "giant JPEG",
            "giant JPEGs",
            f"(more than {GIANT_PIXELS // 1_000_000} million pixels) decoded at a reduced scale",
        ),
    ):
        if count:
            notes.append(f"{counted(count, one, many)} {rest}")
    return notes


def notes_on_room(total: int, at_hand: int) -> list[str]:
    """Pictures that did not fit."""
    if at_hand == total:
        return []
    return [
        f"{at_hand:,} of {total:,} pictures fit into cache and memory; the others are decoded at each use, "
        "which is slower and changes no result"
    ]
