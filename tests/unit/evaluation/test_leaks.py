"""Look-alikes by features: exactly the pairs above the cosine, in few and in many dimensions."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.data.duplicates import Forest, equal
from headstart.evaluation import leaks
from headstart.evaluation.leaks import look_alikes


def features(n: int, copies: int, dimensions: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((n, dimensions)).astype(np.float32) + 3
    drawn[n - copies :] = drawn[:copies] + 0.2 * rng.standard_normal((copies, dimensions))
    return drawn


@pytest.mark.parametrize("tile", [7, 4096])
@pytest.mark.parametrize("many", [0, 10**9])
def test_tiles_and_fewer_dimensions_lose_nothing(
    monkeypatch: pytest.MonkeyPatch, tile: int, many: int
) -> None:
    monkeypatch.setattr(leaks, "TILE", tile)
    monkeypatch.setattr(leaks, "MANY", many)
    drawn = features(60, 5, 600)
    unit = drawn - drawn.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    forest = Forest(60)
    forest.join(np.argwhere(unit @ unit.T >= 0.9))
    expected = equal(forest.labels().tolist())
    assert expected == [[i, 55 + i] for i in range(5)]
    assert look_alikes(drawn, 0.9) == expected


def test_equal_features_do_not_divide_by_zero() -> None:
    assert look_alikes(np.ones((4, 8), np.float32), 0.9) == []
