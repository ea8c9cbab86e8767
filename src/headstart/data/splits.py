"""Which picture trains, which one chooses, which one is reported.

Decided by the content of the files (their SHA-256): renaming files, another order or another seed change
nothing, and exact duplicates stay on one side.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "selection", "val", "test")
TEST_MINIMUM = 20  # pictures in every class, for a test part of its own
CARVE_MINIMUM = 5  # training pictures in every class, for a selection part of its own
TEST_FRACTION = SELECTION_FRACTION = 0.15
USUAL_SELECTION = 0.2  # of the training pictures of a given split; of all pictures it is SELECTION_FRACTION
SMALL_VAL_FRACTION = 0.3


@dataclass(frozen=True)
class Assignment:
    """The split of each picture.

    Attributes:
        splits: ``<U9``, one of `SPLITS`, shape [n].
        reported: Name of the part that results are reported on: ``test`` or ``val``.
        notes: What was decided, for a person.
    """

    splits: NDArray[np.str_]
    reported: str
    notes: tuple[str, ...]


def assign_splits(
    given: Sequence[str],
    labels: NDArray[np.int64],
    hashes: Sequence[str],
    classes: Sequence[str],
    *,
    groups: Sequence[str] = (),
    selection: float = 0.2,
    split_needed: bool = True,
) -> Assignment:
    """Completes a given split, or makes one.

    * No split given, or only ``train``: per class 70 % train, 15 % selection, 15 % test; 70 % train and 30 %
      val if a class has fewer than `TEST_MINIMUM` pictures.
    * ``test`` is reported if there is one, else ``val``. Beside a test part, ``val`` serves as selection.
    * Where no selection part exists yet, the fraction ``selection`` of each class of train becomes one.

    Args:
        given: Split of each picture, or empty strings.
        labels: Class index of each picture, [n].
        hashes: SHA-256 of each file: what is equal stays together.
        classes: Names, for the notes.
        groups: Name of what each picture must stay together with, or empty strings.
        selection: Part of train to choose on, 0-1; 0 trains on everything.
        split_needed: False (evaluation of a finished model): without a given split all is ``test``, nothing
            is carved.
    """
    splits = np.array(given, dtype="<U9") if len(given) else np.empty(0, "<U9")
    notes: list[str] = []
    if any(groups):
        hashes = keys_of_groups(hashes, groups)
    if not split_needed:
        splits[splits == ""] = "test"
    elif not {"val", "test"} & set(splits.tolist()):
        if any(given):
            notes.append("there is only a training part: a part to report on is split off")
        _split_freely(splits, labels, hashes, classes, selection, notes)
    if "test" in splits and "val" in splits:
        splits[splits == "val"] = "selection"
        notes.append(
            "val/ serves for choices (as selection), test/ is reported"
            if selection > 0
            else "val/ is set aside, as nothing is chosen here; test/ is reported"
        )
    reported = "test" if "test" in splits else "val"
    if split_needed and selection > 0 and "selection" not in splits:
        _carve_selection(splits, labels, hashes, classes, selection, notes)
    return Assignment(splits, reported, tuple(notes))


def keys_of_groups(hashes: Sequence[str], groups: Sequence[str]) -> list[str]:
    """One key for all pictures that must stay together: of one group, or of equal content, in any chain.

    Args:
        hashes: SHA-256 of each file.
        groups: Name of each picture's group, or empty.

    Returns:
        For each picture the smallest hash of its chain's group names (or contents, where it has no group), so
        that the order of the keys says nothing of the order of the names.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while (above := parent.setdefault(key, key)) != key:
            parent[key] = parent[above]
            key = above
        return key

    own = [f"group {name}" if name else file_hash for name, file_hash in zip(groups, hashes, strict=True)]
    for key, file_hash in zip(own, hashes, strict=True):
        parent[root(file_hash)] = root(key)
    smallest: dict[str, str] = {}
    for key in set(own):
        digest = hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
        digest = digest if key.startswith("group ") else key
        chain = root(key)
        smallest[chain] = min(smallest.get(chain, digest), digest)
    return [smallest[root(key)] for key in own]


def _split_freely(
    splits: NDArray[np.str_],
    labels: NDArray[np.int64],
    hashes: Sequence[str],
    classes: Sequence[str],
    selection: float,
    notes: list[str],
) -> None:
    splits[:] = "train"
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() < TEST_MINIMUM:
        parts = {"val": SMALL_VAL_FRACTION}
        smallest = int(counts.argmin())
        notes.append(
            f"split made by content: 70 % train, 30 % val. No test part, as class '{classes[smallest]}' has "
            f"{counts[smallest]} pictures, fewer than {TEST_MINIMUM}; val is reported"
        )
    elif selection > 0:
        usual = selection == USUAL_SELECTION
        chosen = SELECTION_FRACTION if usual else selection * (1 - TEST_FRACTION)
        parts = {"test": TEST_FRACTION, "selection": chosen}
        notes.append(
            f"split made by content: {100 * (1 - TEST_FRACTION - chosen):.0f} % train, "
            f"{100 * chosen:.0f} % selection (for choices), {100 * TEST_FRACTION:.0f} % test (reported)"
        )
    else:
        parts = {"test": TEST_FRACTION}
        notes.append("split made by content: 85 % train, 15 % test (reported)")
    for part, fraction in parts.items():
        _take(splits, labels, hashes, np.rint(counts * fraction).astype(int), part)


def _carve_selection(
    splits: NDArray[np.str_],
    labels: NDArray[np.int64],
    hashes: Sequence[str],
    classes: Sequence[str],
    fraction: float,
    notes: list[str],
) -> None:
    counts = np.bincount(labels[splits == "train"], minlength=len(classes))
    smallest = int(counts.argmin())
    if counts[smallest] < CARVE_MINIMUM:
        notes.append(
            f"no selection part: class '{classes[smallest]}' has {counts[smallest]} training pictures, fewer "
            f"than {CARVE_MINIMUM}"
        )
        return
    wanted = np.maximum(1, np.rint(counts * fraction).astype(int))
    _take(splits, labels, hashes, wanted, "selection")
    taken = int((splits == "selection").sum())
    notes.append(f"{taken} of {counts.sum()} training pictures are set aside for choices (selection)")


def _take(
    splits: NDArray[np.str_],
    labels: NDArray[np.int64],
    hashes: Sequence[str],
    wanted: NDArray[np.int64],
    part: str,
) -> None:
    """Moves about ``wanted`` training pictures of each class to ``part``, whole duplicate groups at a time.

    A group that lies in several classes moves as a whole. The order is that of the hashes.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for i in np.flatnonzero(splits == "train").tolist():
        groups[hashes[i]].append(i)
    missing = wanted.copy()
    left = np.bincount(labels[splits == "train"], minlength=len(wanted))
    for key in sorted(groups):
        members = groups[key]
        need = np.bincount(labels[members], minlength=len(wanted))
        concerned = need > 0
        # Never the last picture of a class: something must be left to learn from.
        if np.all(need[concerned] <= missing[concerned]) and np.all(left[concerned] > need[concerned]):
            splits[members] = part
            missing -= need
            left -= need
