"""Hashes as texts that are kept as bytes."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from headstart.data.hash_texts import HashTexts

TEXTS = [hashlib.sha256(bytes([i])).hexdigest() for i in range(5)]


@pytest.fixture
def column() -> HashTexts:
    return HashTexts(np.frombuffer(bytes.fromhex("".join(TEXTS)), np.uint8).reshape(-1, 32))


def test_a_row_is_a_text_and_several_an_array(column: HashTexts) -> None:
    assert len(column) == 5
    assert [column[i] for i in range(5)] == list(column) == column.tolist() == TEXTS
    assert column[np.int64(3)] == TEXTS[3]
    assert column[-1] == TEXTS[-1]
    assert isinstance(column[0], str)
    with pytest.raises(IndexError):
        column[5]


@pytest.mark.parametrize(
    ("index", "rows"),
    [
        (np.array([3, 0, 3]), [3, 0, 3]),
        (np.array([True, False, True, False, False]), [0, 2]),
        (slice(1, None, 2), [1, 3]),
        (np.array([], np.int64), []),
        ([4, 2], [4, 2]),
    ],
)
def test_it_is_indexed_like_an_array(column: HashTexts, index: object, rows: list[int]) -> None:
    chosen = column[index]  # type: ignore[call-overload]
    assert chosen.dtype == np.dtypes.StringDType()
    assert chosen.tolist() == [TEXTS[i] for i in rows]
    assert np.asarray(column)[index].tolist() == chosen.tolist()  # type: ignore[index]


def test_numpy_takes_it_for_an_array_of_texts(column: HashTexts) -> None:
    assert np.array_equal(column, np.array(TEXTS))  # type: ignore[arg-type]
    assert np.asarray(column, "<U64").tolist() == TEXTS
    assert np.argsort(column[np.arange(5)]).tolist() == sorted(range(5), key=TEXTS.__getitem__)
    assert (column == TEXTS[2]).tolist() == [False, False, True, False, False]
    assert (column != np.array(TEXTS)).tolist() == [False] * 5
