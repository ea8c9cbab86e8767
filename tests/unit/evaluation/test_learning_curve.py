"""What more pictures would bring."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("matplotlib")

from PIL import Image

from headstart.errors import DataError
from headstart.evaluation.comparison_plots import draw_learning_curve, draw_side_by_side
from headstart.evaluation.learning_curve import LearningCurve, nested_subsets, power_laws, sizes_of

SIZES = (20, 40, 80, 160, 320)


def curve(random, law=(0.05, 1.2, 0.6), n=200, draws=8, spread=0.3) -> LearningCurve:
    """Draws of a learner that follows the law; hard pictures stay hard, subsets are luckier or not."""
    a, b, c = law
    error = a + b * np.array(SIZES, float) ** -c
    hard = random.random(n)
    luck = random.normal(0, spread, draws)[:, None] * np.array(SIZES) ** -0.5
    luck[:, -1] = luck[0, -1]  # all pictures are one and the same subset
    right = hard[None, None] > (error + luck)[:, :, None]
    return LearningCurve(SIZES, right.astype(float), resamples=200)


def test_a_power_law_is_found_again() -> None:
    sizes = np.array(SIZES, float)
    for law in ((0.05, 1.2, 0.6), (0.0, 0.9, 0.3), (0.2, 0.0, 1.0)):
        a, b, c = law
        found = [float(one[0]) for one in power_laws(SIZES, (a + b * sizes**-c)[None])]
        fitted = found[0] + found[1] * sizes ** -found[2]
        assert np.allclose(fitted, a + b * sizes**-c, atol=2e-3)
        assert found[0] >= 0 and found[1] >= 0


def test_the_interval_of_the_gain_covers_the_truth() -> None:
    random, hits, widths = np.random.default_rng(0), 0, []
    _, b, c = 0.05, 1.2, 0.6
    truth = b * 320**-c - b * 640**-c
    for _ in range(60):
        value, (low, high) = curve(random).gain()
        hits += low <= truth <= high
        widths.append(high - low)
        assert low <= value <= high or abs(value - low) < 0.01
    assert hits / 60 >= 0.9
    assert 0 < np.median(widths) < 0.08  # and it says something


def test_the_answer_is_an_interval() -> None:
    found = curve(np.random.default_rng(1))
    value, (low, high) = found.gain()
    assert low < high
    assert found.sentence() == (
        "twice the pictures (640 instead of 320) would bring the probe "
        f"{100 * value:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})"
    )
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert told["twice"]["interval_95"] == [low, high]
    assert [row["train_pictures"] for row in told["sizes"]] == list(SIZES)
    assert found.lines()[-1] == found.sentence()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(60, 200))
def test_subsets_are_nested_stratified_and_take_groups_whole(seed: int, classes: int, n: int) -> None:
    random = np.random.default_rng(seed)
    labels = np.sort(np.concatenate([np.arange(classes), random.integers(0, classes, n - classes)]))
    of_class = random.integers(0, n // 3, n)
    groups = np.array([f"{label}-{number}" for label, number in zip(labels, of_class, strict=True)])
    sizes = [n // 4, n // 2, n]
    before: set[int] = set()
    for size, ids in zip(sizes, nested_subsets(labels, groups, sizes, seed), strict=True):
        assert before <= set(ids.tolist())
        assert not set(groups[ids]) & set(np.delete(groups, ids))
        largest = max(np.unique(groups, return_counts=True)[1])
        assert abs(len(ids) - size) <= largest
        expected = np.bincount(labels, minlength=classes) * len(ids) / n
        assert np.abs(np.bincount(labels[ids], minlength=classes) - expected).max() <= 2 * largest
        before = set(ids.tolist())
    assert len(before) == n


def test_draws_differ() -> None:
    labels, groups = np.arange(60) % 2, np.arange(60).astype(str)
    one, other = (next(nested_subsets(labels, groups, [20], seed)).tolist() for seed in (0, 1))
    assert one != other
    assert one == next(nested_subsets(labels, groups, [20], 0)).tolist()


def test_sizes_end_with_all_pictures() -> None:
    sizes = sizes_of(np.arange(300) % 3, 60)
    assert sizes[-1] == 300 and len(sizes) == 8
    assert list(sizes) == sorted(sizes)
    assert sizes_of(np.repeat([0, 1], [90, 10]), 60)[0] >= 20  # two of the rarer class


@pytest.mark.parametrize(
    ("labels", "reported", "detail"),
    [
        (np.arange(30) % 2, 50, "30 training pictures, 15 of the rarest class"),
        (np.repeat([0, 1], [97, 3]), 50, "100 training pictures, 3 of the rarest class"),
        (np.arange(100) % 2, 12, "12 reported pictures: 30 are needed"),
    ],
)
def test_too_few_pictures_are_refused(labels, reported: int, detail: str) -> None:
    with pytest.raises(DataError) as raised:
        sizes_of(labels, reported)
    error = raised.value
    assert error.code == "HS-EVAL-021"
    assert error.what == "There are too few pictures for a learning curve: whatever it said would be chance."
    assert error.details == (detail,)


def test_the_pictures_are_drawn(tmp_path) -> None:
    draw_learning_curve(curve(np.random.default_rng(2)), tmp_path / "curve.png")
    rows = [
        {"epoch": str(i), "train_loss": str(1 / (i + 1)), "train_accuracy": "0.7", "val_accuracy": "0.6"}
        for i in range(4)
    ]
    alone = [{"epoch": "0", "train_loss": "0.3", "train_accuracy": "0.9", "val_accuracy": ""}]
    variants = {"finetune": [rows, rows], "probe": [alone], "$5 锈病": [rows], "lr 0.1": [rows]}
    draw_side_by_side(variants, tmp_path / "side.png")
    for name in ("curve.png", "side.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 500 and picture.height > 400
            assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 50
