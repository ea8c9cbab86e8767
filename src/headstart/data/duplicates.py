"""Copies among pictures: the same pixels, and the same look. Scales to hundreds of thousands.

Looks are perceptual hashes of 256 bits (`headstart.data.facts`). Recompressed, resized, brightened and
slightly cropped copies differ in up to about 40 of them, other pictures of the same kind in about 100.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

LOOK_DISTANCE = 40  # bits of 256 in which copies differ at most
LOW_DISTANCE = 7  # of the 64 bits of the lowest frequencies
BANDS = 8  # of these 64 bits: with at most 7 that differ, one band is equal
FEW = 4000  # pictures that are compared each with each: 16 million pairs take some hundredths of a second
BLOCK = 1 << 20  # pairs compared at once: 8 MB

Groups = list[list[int]]
Pairs = NDArray[np.int64]


def equal(keys: Iterable[Hashable]) -> Groups:
    """Indices that have the same key, of keys that occur more than once, in order."""
    first: dict[Hashable, int] = {}
    members: dict[int, list[int]] = {}
    for i, key in enumerate(keys):
        if (earlier := first.setdefault(key, i)) != i:
            members.setdefault(earlier, [earlier]).append(i)
    return [members[i] for i in sorted(members)]


def alike(looks: NDArray[np.uint8]) -> Groups:
    """Groups of pictures that look like copies, each linked to the next by at most `LOOK_DISTANCE` bits.

    Args:
        looks: uint8 [n, 32].
    """
    if len(looks) < 2:
        return []
    first, representative = distinct(looks)
    different = looks[first]
    words = different.view(np.uint64)
    low = np.ascontiguousarray(different[:, 0 : 2 * BANDS : 2])
    roots = Forest(len(different))
    for candidates in _candidates(low):
        pairs = candidates[roots.apart(candidates)]
        differing = np.zeros(len(pairs), np.int64)
        for word in range(words.shape[1]):
            differing += np.bitwise_count(words[pairs[:, 0], word] ^ words[pairs[:, 1], word])
        roots.join(pairs[differing <= LOOK_DISTANCE])
    return _groups(roots.labels()[representative])


def same_rows(rows: NDArray[np.uint8]) -> Groups:
    """`equal` of rows of bytes, uint8 [n, 32], in a tenth of the memory."""
    return _groups(distinct(rows)[1])


def _groups(which: NDArray[np.int64]) -> Groups:
    """`equal` of numbers from 0, [n]."""
    members = np.flatnonzero(np.bincount(which)[which] > 1)
    return equal_within(
        members.tolist(), dict(zip(members.tolist(), which[members].tolist(), strict=True)).get
    )


def distinct(looks: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first picture of each look, and for each picture the index of its look among these, [n].

    Args:
        looks: uint8 [n, 32].
    """
    words = np.ascontiguousarray(looks).view(np.uint64).T
    order = np.lexsort(words)
    new = np.zeros(len(order), bool)
    new[:1] = True
    for word in words:  # one after the other: together they take four times the memory
        new[1:] |= np.diff(word[order]) != 0
    which = np.empty(len(order), np.int64)
    which[order] = np.cumsum(new) - 1
    return order[new], which


def _candidates(low: NDArray[np.uint8]) -> Iterator[Pairs]:
    """Pairs that differ in at most `LOW_DISTANCE` of 64 bits; some come more than once.

    Args:
        low: uint8 [n, `BANDS`].
    """
    codes = low.view(np.uint64)[:, 0]
    sizes = [np.bincount(low[:, band]) for band in range(BANDS)]
    # Very similar pictures share most bands: then each pair is compared once.
    if len(low) <= FEW or sum(int(size @ size) for size in sizes) >= len(low) ** 2:
        yield from _close(np.arange(len(low)), codes)
        return
    for band in range(BANDS):
        for rows in _buckets(low[:, band]):
            yield from _close(rows, codes)


def _buckets(values: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order])) + 1
    return [rows for rows in np.split(order, starts) if len(rows) > 1]


def _close(rows: NDArray[np.int64], codes: NDArray[np.uint64]) -> Iterator[Pairs]:
    own = codes[rows]
    step = max(1, BLOCK // len(rows))
    for start in range(0, len(rows), step):
        distances = np.bitwise_count(own[start : start + step, None] ^ own[None, start:])
        first, second = np.nonzero(distances <= LOW_DISTANCE)
        later = second > first
        yield np.stack([rows[start + first[later]], rows[start + second[later]]], axis=1)


class Forest:
    """Which of n items hang together, by the pairs that are joined."""

    def __init__(self, n: int) -> None:
        self._parent = np.arange(n)

    def join(self, pairs: Pairs) -> None:
        """Joins pairs [m, 2]."""
        while len(pairs):
            parent = self._parent
            ends = parent[pairs]
            small, large = ends.min(axis=1), ends.max(axis=1)
            apart = small != large
            if not apart.any():
                break
            pairs, small, large = pairs[apart], small[apart], large[apart]
            np.minimum.at(parent, large, small)
            while not np.array_equal(shorter := parent[parent], parent):
                parent[:] = shorter

    def apart(self, pairs: Pairs) -> NDArray[np.bool_]:
        """Which of the pairs [m, 2] do not hang together yet."""
        return np.asarray(self._parent[pairs[:, 0]] != self._parent[pairs[:, 1]])

    def labels(self) -> NDArray[np.int64]:
        """The first item of each item's group, int64 [n]."""
        return self._parent


def same_pixels(
    candidates: Groups, size: Callable[[int], tuple[int, int]], digest: Callable[[int], str]
) -> Groups:
    """Groups whose decoded pixels are equal.

    Args:
        candidates: Groups that have equal looks.
        size: Width and height of a picture.
        digest: Of a picture's decoded pixels; empty if it cannot be read any more.
    """
    groups: Groups = []
    for candidate in candidates:
        for same_size in equal_within(candidate, size):
            groups += [group for group in equal_within(same_size, digest) if digest(group[0])]
    return groups


def equal_within(group: Sequence[int], key: Callable[[int], Hashable]) -> Groups:
    """The parts of a group that have the same key, of more than one member."""
    return [[group[i] for i in part] for part in equal(key(i) for i in group)]
