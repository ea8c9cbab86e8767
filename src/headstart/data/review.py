"""Whether the pictures that could be read suffice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from headstart.console import counted
from headstart.data.formats import PICTURE_SUFFIXES
from headstart.data.listing import Entry, Listing, raise_all
from headstart.errors import DataError

MINIMUM_TRAIN = 2  # readable training pictures that each class needs
MINIMUM_FREE = 3  # the same where the split is made here: one more, to evaluate on


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
                    + same_but_for_case(name, trained)
                    for name in few
                ],
                fix=f'Add pictures, or leave the folder out: --exclude "{few[0]}"',
            )
        )
    raise_all(faults, listing.root)


def same_but_for_case(name: str, classes: Iterable[str]) -> str:
    """Asks for a class that is spelt the same but for capitals and spaces."""
    folded = "".join(name.casefold().split())
    alike = [c for c in classes if c != name and "".join(c.casefold().split()) == folded]
    return f"; did you mean '{alike[0]}'?" if alike else ""


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
            details=[str(item) for item in pointers],
            fix="Run in the clone: git lfs install && git lfs pull",
        )
    return DataError(
        "HS-DATA-003",
        f"None of {counted(len(left_out), 'file', 'files')} is a picture that can be read.",
        where=listing.root,
        details=[str(item) for item in pictures_lost or left_out],
        fix=_fix_for(pictures_lost) or "Replace them; what is the matter with each is said above.",
    )


def _fix_for(lost: Sequence[LeftOut]) -> str:
    kinds = {item.kind for item in lost}
    if kinds == {"lfs-pointer"}:
        return "Run in the clone: git lfs install && git lfs pull"
    if kinds == {"forbidden"}:
        return "Change the permissions of the files."
    if kinds == {"too-small"}:
        return "Choose a --crop that all pictures have."
    hints = {item.reason for item in lost if "pip install" in item.reason}
    return hints.pop() if len(hints) == 1 else ""


def notes_on_room(total: int, at_hand: int) -> list[str]:
    """Pictures that did not fit."""
    if at_hand == total:
        return []
    return [
        f"{at_hand:,} of {total:,} pictures fit into cache and memory; the others are decoded at each use, "
        "which is slower and changes no result"
    ]
