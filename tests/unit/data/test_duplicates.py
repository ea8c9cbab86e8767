"""The search for copies finds exactly the pairs that comparing each with each finds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.data import duplicates
from headstart.data.duplicates import (
    LOOK_DISTANCE,
    LOW_DISTANCE,
    Forest,
    Groups,
    alike,
    distinct,
    equal,
    same_pixels,
    same_rows,
)


def flipped(look: np.ndarray, positions: Sequence[int]) -> np.ndarray:
    change = np.zeros(256, np.uint8)
    change[list(positions)] = 1
    return look ^ np.packbits(change)


def each_with_each(looks: np.ndarray) -> Groups:
    """The slow truth."""
    forest = Forest(len(looks))
    for i in range(len(looks)):
        for j in range(i):
            differing = np.bitwise_count(looks[i] ^ looks[j])
            if differing.sum() <= LOOK_DISTANCE and differing[0:16:2].sum() <= LOW_DISTANCE:
                forest.join(np.array([[i, j]]))
    return equal(forest.labels().tolist())


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.integers(0, 255), max_size=25, unique=True)),
        min_size=1,
        max_size=25,
    ),
    st.booleans(),
)
@settings(deadline=None, max_examples=60)
def test_the_bands_lose_nothing(drawn: list[tuple[int, list[int]]], in_bands: bool) -> None:
    bases = np.random.default_rng(7).integers(0, 256, (4, 32), dtype=np.uint8)
    looks = np.stack([flipped(bases[base], positions) for base, positions in drawn])
    with pytest.MonkeyPatch.context() as patch:
        if in_bands:
            patch.setattr(duplicates, "FEW", 0)
            patch.setattr(duplicates, "BLOCK", 8)
        assert sorted(map(sorted, alike(looks))) == sorted(map(sorted, each_with_each(looks)))


def test_far_ones_stay_alone_and_chains_hang_together() -> None:
    rng = np.random.default_rng(0)
    looks = rng.integers(0, 256, (3000, 32), dtype=np.uint8)
    assert alike(looks) == []
    step = [i for i in range(256) if i // 8 % 2][:30]  # none of the lowest frequencies
    looks[10] = flipped(looks[5], step)
    looks[20] = flipped(looks[10], [i for i in range(255, 0, -1) if i // 8 % 2][:30])
    assert alike(looks) == [[5, 10, 20]]
    assert alike(looks[:0]) == [] and alike(looks[:1]) == []


def test_very_many_that_are_alike_are_one_group() -> None:
    looks = np.repeat(np.arange(32, dtype=np.uint8)[None], 9000, axis=0)
    looks[::2, 31] ^= 1
    assert [len(group) for group in alike(looks)] == [9000]


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
@settings(deadline=None, max_examples=60)
def test_a_forest_joins_what_hangs_together(pairs: list[tuple[int, int]]) -> None:
    forest = Forest(20)
    forest.join(np.array(pairs, np.int64).reshape(-1, 2))
    sets = [{i} for i in range(20)]
    for a, b in pairs:
        if sets[a] is not sets[b]:
            sets[a] |= sets[b]
            for i in sets[b]:
                sets[i] = sets[a]
    assert forest.labels().tolist() == [min(members) for members in sets]


def test_equal_pixels_are_compared_within_equal_looks_and_sizes() -> None:
    asked = []

    def digest(i: int) -> str:
        asked.append(i)
        return {0: "x", 1: "x", 2: "y", 3: "", 4: ""}.get(i, "z")

    sizes = [(5, 5)] * 5 + [(6, 5), (7, 5)]
    assert same_pixels([[0, 1, 2, 3, 4], [5, 6]], sizes.__getitem__, digest) == [[0, 1]]
    assert not {5, 6} & set(asked)


@given(st.lists(st.tuples(st.sampled_from(b"\0ab"), st.integers(0, 31)), max_size=30))
def test_equal_rows_are_found_as_equal_keys_are(drawn: list[tuple[int, int]]) -> None:
    rows = np.zeros((len(drawn), 32), np.uint8)
    for row, (value, place) in zip(rows, drawn, strict=True):
        row[place] = value
    keys = [row.tobytes() for row in rows]
    assert same_rows(rows) == equal(keys)
    first, which = distinct(rows)
    assert [keys[i] for i in first[which]] == keys and len(first) == len(set(keys))
    assert all(keys.index(keys[i]) == i for i in first)
