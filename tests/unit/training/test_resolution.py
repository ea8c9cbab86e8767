"""The input size that the probe's losses choose."""

from __future__ import annotations

import math

import pytest

from headstart.training.resolution import Sized, best_size, sizes_to_try


def measured(losses: dict[int, float]) -> tuple[int | None, list[Sized]]:
    return best_size(tuple(losses), lambda size: Sized(size, losses[size], 0.9, 1.0))


@pytest.mark.parametrize(
    ("own", "sizes"),
    [
        (224, (224, 256, 288, 320)),
        (64, (64, 96)),
        (32, (32,)),
        (384, (384, 448, 480, 544)),
        (299, (299, 352, 384, 416)),
    ],
)
def test_the_own_size_and_larger_ones(own: int, sizes: tuple[int, ...]) -> None:
    assert sizes_to_try(own) == sizes


def test_the_lowest_loss_wins_and_of_equal_ones_the_smallest() -> None:
    best, found = measured({224: 0.3, 256: 0.1, 288: 0.1, 320: 0.2})
    assert best == 256
    assert [sized.img_size for sized in found] == [224, 256, 288, 320]


def test_a_size_that_the_network_cannot_take_is_left_out() -> None:
    best, found = best_size((224, 256), lambda size: None if size > 224 else Sized(size, 0.3, 0.9, 1.0))
    assert best == 224
    assert [sized.img_size for sized in found] == [224]


def test_without_cross_validation_there_is_no_choice_and_no_further_work() -> None:
    best, found = measured({224: math.nan, 256: 0.1})
    assert best is None
    assert len(found) == 1
