"""Which picture trains, which one chooses, which one is reported.

Decided by the content of the files (their SHA-256), or by the names of groups: renaming files, another order
or another seed change nothing, and exact duplicates and groups stay on one side. What stays together is a
*bundle*; bundles are taken in the order of their keys until a part is full, class by class, so that a picture
more moves few others.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.console import counted
from headstart.data.hash_texts import TEXTS
from headstart.data.review import MINIMUM_TRAIN
from headstart.errors import DataError

SPLITS = ("train", "selection", "calibration", "val", "test")
TEST_MINIMUM = 20  # pictures in every class, for a test part of its own
CARVE_MINIMUM = 5  # training pictures in every class, for a selection part of its own
TEST_FRACTION = SELECTION_FRACTION = 0.15
USUAL_SELECTION = 0.2  # of the training pictures of a given split; of all pictures it is SELECTION_FRACTION
SMALL_VAL_FRACTION = 0.3
CALIBRATION_MINIMUM = 100  # pictures for choices, and as many for calibration; see `headstart.calibration`
NEARLY = 0.8  # of it, where groups do not divide evenly
AT_ONCE = 10_000  # bundles that are objects at the same time

Hashes = NDArray[np.uint8]


@dataclass(frozen=True)
class Assignment:
    """The split of each picture.

    Attributes:
        splits: Texts, each one of `SPLITS`, [n].
        reported: Name of the part that results are reported on: ``test`` or ``val``.
        notes: What was decided, for a person.
    """

    splits: NDArray[np.str_]
    reported: str
    notes: tuple[str, ...]


def assign_splits(
    given: Sequence[str],
    labels: NDArray[np.int64],
    hashes: Sequence[str] | Hashes,
    classes: Sequence[str],
    *,
    groups: Sequence[str] = (),
    selection: float = 0.2,
    split_needed: bool = True,
    fold: tuple[int, int] | None = None,
    calibrate: bool = True,
) -> Assignment:
    """Completes a given split, or makes one.

    * No split given, or only ``train``: per class 70 % train, 15 % selection, 15 % test; 70 % train and 30 %
      val if a class has fewer than `TEST_MINIMUM` pictures.
    * ``test`` is reported if there is one, else ``val``. Beside a test part, ``val`` serves as selection.
    * With ``fold``, that fold of the training pictures is reported, as ``val``, and the others train; a given
      test part (or val part without one) is left alone, as ``test``; val beside test serves as selection.
    * Where no selection part exists yet, the fraction ``selection`` of each class of train becomes one.
    * Of a selection part of 2 x `CALIBRATION_MINIMUM` pictures, half becomes ``calibration``, which chooses
      nothing; of one that chooses nothing itself (``selection`` 0), all.

    Args:
        given: Split of each picture, or empty strings.
        labels: Class index of each picture, [n].
        hashes: SHA-256 of each file, hexadecimal or as bytes [n, 32]: what is equal stays together.
        classes: Names, for the notes.
        groups: Name of what each picture must stay together with, or empty strings.
        selection: Part of train to choose on, 0-1; 0 trains on everything.
        split_needed: False (evaluation of a finished model): without a given split all is ``test``, nothing
            is carved.
        fold: Number, from 1, and count of the folds.
        calibrate: Whether a part for calibration is set aside.

    Raises:
        DataError: HS-DATA-062, the groups are so large that no picture is left to report on; HS-DATA-063,
            there are too few pictures or groups for so many folds.
    """
    splits = np.array(given, dtype=TEXTS) if len(given) else np.empty(0, TEXTS)
    notes: list[str] = []
    if any(groups):
        texts = [row.tobytes().hex() for row in hashes] if isinstance(hashes, np.ndarray) else hashes
        hashes = keys_of_groups(texts, groups)
        notes.append(note_on_groups(groups))
    keys = ranks(hashes)
    if fold is not None:
        _hold_out(splits, labels, keys, classes, fold, notes)
    elif not split_needed:
        splits[splits == ""] = "test"
    elif not np.any((splits == "val") | (splits == "test")):
        if any(given):
            notes.append("there is only a training part: a part to report on is split off")
        _split_freely(splits, labels, keys, classes, selection, notes)
        if not np.any((splits == "val") | (splits == "test")):
            raise _nothing_to_report(labels, keys, classes)
    if "test" in splits and "val" in splits and fold is None:
        splits[splits == "val"] = "selection"
        notes.append(
            "val/ serves for choices (as selection), test/ is reported"
            if selection > 0
            else "val/ is set aside, as nothing is chosen here; test/ is reported"
        )
    reported = "test" if "test" in splits and fold is None else "val"
    if split_needed and selection > 0 and "selection" not in splits:
        _carve_selection(splits, labels, keys, classes, selection, notes)
    if split_needed and calibrate and "calibration" not in splits:
        _set_calibration_aside(splits, labels, keys, classes, selection > 0, notes)
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


def ranks(keys: Sequence[str] | Hashes) -> NDArray[np.int64]:
    """The place of each key among the different ones, in their order, [n]: what is compared in its stead."""
    if isinstance(keys, np.ndarray):
        words = np.ascontiguousarray(keys).view(">u8")
        order = np.lexsort(words.T[::-1])
        new = np.any(words[order[1:]] != words[order[:-1]], axis=1)
    else:
        order = np.array(sorted(range(len(keys)), key=keys.__getitem__), np.int64)
        new = np.array([keys[i] != keys[k] for i, k in pairwise(order.tolist())], bool)
    found = np.zeros(len(order), np.int64)
    found[order[1:]] = np.cumsum(new)
    return found


def _hold_out(
    splits: NDArray[np.str_],
    labels: NDArray[np.int64],
    keys: NDArray[np.int64],
    classes: Sequence[str],
    fold: tuple[int, int],
    notes: list[str],
) -> None:
    """Makes one of several folds of the training pictures the reported part."""
    number, count = fold
    if "val" in splits:
        splits[splits == "val"] = "selection" if "test" in splits else "test"
    rows = np.flatnonzero((splits == "") | (splits == "train"))
    splits[rows] = "train"
    folds = _folds(labels[rows], keys[rows], classes, count)
    splits[rows[folds == number - 1]] = "val"
    held_out = int(np.sum(folds == number - 1))
    notes.append(f"fold {number} of {count}: {held_out:,} of {len(rows):,} pictures are reported, as val")
    if alone := int(np.sum(splits == "test")):
        notes.append(f"the given test part is left alone: {counted(alone, 'picture', 'pictures')}")


def folds_of(
    labels: NDArray[np.int64], hashes: Sequence[str], classes: Sequence[str], count: int
) -> NDArray[np.int64]:
    """The fold of each picture, from 0, [n]: about as many of each class in each; bundles stay whole.

    The bundles of each class lie in the order of their keys and are cut into ``count`` stretches, so that a
    picture more moves those beside the cuts only.

    Raises:
        DataError: HS-DATA-063, a fold stays empty, or a class has fewer than 2 pictures outside of one.
    """
    return _folds(labels, ranks(hashes), classes, count)


def _folds(
    labels: NDArray[np.int64], keys: NDArray[np.int64], classes: Sequence[str], count: int
) -> NDArray[np.int64]:
    """`folds_of` by `ranks`."""
    folds = np.zeros(len(labels), np.int64)
    bundles = list(_bundles(np.arange(len(labels)), labels, keys))
    total = Counter[int]()
    for bundle in bundles:
        total[bundle.main] += len(bundle.members)
    before = Counter[int]()
    for members, _, main in bundles:
        folds[members] = int(count * (before[main] + len(members) / 2) / total[main])
        before[main] += len(members)
    table = np.zeros((len(classes), count), np.int64)
    np.add.at(table, (labels, folds), 1)
    few = np.flatnonzero((table.sum(axis=1, keepdims=True) - table).min(axis=1) < MINIMUM_TRAIN).tolist()
    empty = int(np.sum(table.sum(axis=0) == 0))
    if few or empty:
        details = [f"{counted(empty, 'fold stays', 'folds stay')} without a picture"] if empty else []
        for c in few:
            groups = counted(sum(c in bundle.need for bundle in bundles), "group", "groups")
            pictures = counted(int(table[c].sum()), "picture", "pictures")
            details.append(f"'{classes[c]}': {pictures} in {groups}, counting each alone as one")
        raise DataError(
            "HS-DATA-063",
            f"There are too few pictures or groups for {count} folds: outside of each fold a class needs "
            f"{MINIMUM_TRAIN} pictures.",
            details=details,
            fix="Give fewer --folds, or name smaller groups.",
        )
    return folds


def note_on_groups(groups: Sequence[str]) -> str:
    """How many groups there are, of which size, and what belongs to none."""
    sizes = Counter(filter(None, groups))
    alone = len(groups) - sizes.total()
    least, most = min(sizes.values()), max(sizes.values())
    each = f"{least:,} to {most:,} pictures each" if least < most else f"of {most:,} pictures"
    note = f"{counted(len(sizes), 'group stays', 'groups stay')} together ({each})"
    if most == 1:
        note = f"{counted(len(sizes), 'group', 'groups')} of one picture each: nothing to keep together"
    if alone:
        text = counted(alone, "picture belongs to none and stands", "pictures belong to none and stand")
        note += f"; {text} alone"
    return note


def _nothing_to_report(
    labels: NDArray[np.int64], keys: NDArray[np.int64], classes: Sequence[str]
) -> DataError:
    details = []
    for c, name in enumerate(classes):
        bundles = Counter(keys[labels == c].tolist())
        alone = counted(bundles.total(), "picture", "pictures")
        details.append(f"'{name}': {alone} in {counted(len(bundles), 'group', 'groups')}")
    return DataError(
        "HS-DATA-062",
        "The groups are so large that no picture is left to report on: each class needs two groups at least.",
        details=details,
        fix="Name smaller groups, such as days or specimens, or give a split of your own.",
    )


def _split_freely(
    splits: NDArray[np.str_],
    labels: NDArray[np.int64],
    keys: NDArray[np.int64],
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
        _take(splits, labels, keys, np.rint(counts * fraction).astype(int), part)


def _carve_selection(
    splits: NDArray[np.str_],
    labels: NDArray[np.int64],
    keys: NDArray[np.int64],
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
    _take(splits, labels, keys, wanted, "selection")
    taken = int((splits == "selection").sum())
    if not taken:
        notes.append("no selection part: the groups are too large to set one aside")
        return
    notes.append(f"{taken} of {counts.sum()} training pictures are set aside for choices (selection)")


def _set_calibration_aside(
    splits: NDArray[np.str_],
    labels: NDArray[np.int64],
    keys: NDArray[np.int64],
    classes: Sequence[str],
    selects: bool,
    notes: list[str],
) -> None:
    """Makes a part for calibration of pictures that are not needed for choices; else changes nothing."""
    rows = splits == "selection"
    counts = np.bincount(labels[rows], minlength=len(classes))
    if not selects:
        if counts.sum() >= CALIBRATION_MINIMUM and counts.min() > 0:
            splits[rows] = "calibration"
            notes.append(f"the {counts.sum()} pictures that choose nothing calibrate the probabilities")
        return
    if counts.sum() < 2 * CALIBRATION_MINIMUM or counts.min() < 2:
        return
    parted = splits.copy()
    _take(parted, labels, keys, counts // 2, "calibration", source="selection")
    for part in ("selection", "calibration"):
        each = np.bincount(labels[parted == part], minlength=len(classes))
        if each.sum() < NEARLY * CALIBRATION_MINIMUM or each.min() == 0:
            return
    splits[:] = parted
    taken = int((splits == "calibration").sum())
    notes.append(
        f"{taken} of the {counts.sum()} selection pictures choose nothing: they calibrate (calibration)"
    )


class _Bundle(NamedTuple):
    """Pictures that stay together.

    Attributes:
        members: Their indices.
        need: How many of each of its classes.
        main: The class that most of them belong to, by which they are stratified.
    """

    members: list[int]
    need: dict[int, int]
    main: int


def _bundles(
    rows: NDArray[np.int64], labels: NDArray[np.int64], keys: NDArray[np.int64]
) -> Iterator[_Bundle]:
    """The bundles of some pictures, in the order of their keys."""
    order = rows[np.argsort(keys[rows], kind="stable")]
    ends = np.append(np.flatnonzero(np.diff(keys[order])) + 1, len(order))
    start = 0
    for first in range(0, len(ends) if len(order) else 0, AT_ONCE):
        block = ends[first : first + AT_ONCE] - start
        members, main = (
            order[start : start + block[-1]].tolist(),
            labels[order[start : start + block[-1]]].tolist(),
        )
        before = 0
        for end in block.tolist():
            if end - before == 1:
                yield _Bundle(members[before:end], {main[before]: 1}, main[before])
            else:
                need = Counter(main[before:end])
                yield _Bundle(members[before:end], need, min(need, key=lambda c: (-need[c], c)))
            before = end
        start += before


def _take(
    splits: NDArray[np.str_],
    labels: NDArray[np.int64],
    keys: NDArray[np.int64],
    wanted: NDArray[np.int64],
    part: str,
    source: str = "train",
) -> None:
    """Moves about ``wanted`` pictures of each class from ``source`` to ``part``, whole bundles at a time.

    A bundle counts for the class that most of its pictures have, its main one. It is taken if the bundles of
    that class then are nearer to their share than without it. A class that got nothing gets its first bundle
    that leaves half of it.
    """
    rows = np.flatnonzero(splits == source)
    left = np.bincount(labels[rows], minlength=len(wanted))
    by_main = np.zeros(len(wanted), np.int64)
    for bundle in _bundles(rows, labels, keys):
        by_main[bundle.main] += bundle.need[bundle.main]
    share = np.rint(wanted * by_main / np.maximum(left, 1)).astype(np.int64)
    missing = share.copy()
    taken = np.zeros(len(wanted), np.int64)

    def take(bundle: _Bundle) -> None:
        splits[bundle.members] = part
        missing[bundle.main] -= bundle.need[bundle.main]
        for c, n in bundle.need.items():
            left[c] -= n
            taken[c] += n

    def leaves(bundle: _Bundle, least: float = 0.0) -> bool:
        """Whether something of each class is left to learn from, and at least this share of it."""
        return all(left[c] - n > 0 and left[c] - n >= least * left[c] for c, n in bundle.need.items())

    for bundle in _bundles(rows, labels, keys):
        size = bundle.need[bundle.main]
        if size < 2 * missing[bundle.main] and size <= share[bundle.main] and leaves(bundle):
            take(bundle)
    if not np.any((taken == 0) & (wanted > 0)):
        return
    for bundle in _bundles(np.flatnonzero(splits == source), labels, keys):
        lacking = any(taken[c] == 0 and wanted[c] > 0 for c in bundle.need)
        if lacking and leaves(bundle, 0.5):
            take(bundle)
