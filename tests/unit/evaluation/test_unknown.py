"""Distance from what is familiar: as scikit-learn and SciPy have it; thresholds that keep their promise."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import ledoit_wolf, ledoit_wolf_shrinkage

from headstart.errors import ModelError
from headstart.evaluation.evaluate import report_lines, summary
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.unknown import (
    FILE,
    Detector,
    Familiar,
    compared,
    fitted,
    load_detector,
    needed,
    of_length_one,
    out_of_fold,
    save_detector,
    shrinkage,
    threshold_of,
)
from headstart.model.card import CARD, read_card


def drawn(n: int, d: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features around a centre for each class, wider along some directions."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(0, 3, (classes, d))
    labels = random.permutation(np.arange(n) % classes)
    widths = np.linspace(2, 0.2, d)
    return (centres[labels] + random.normal(0, 1, (n, d)) * widths).astype(np.float32), labels


@pytest.mark.parametrize("n, d", [(40, 12), (12, 40), (200, 5)])
def test_distances_are_those_of_scipy_with_the_covariance_of_scikit_learn(n: int, d: int) -> None:
    features, labels = drawn(n, d)
    new, _ = drawn(20, d, seed=1)
    rows = of_length_one(features)
    means = np.array([rows[labels == c].mean(axis=0) for c in range(3)])
    covariance, share = ledoit_wolf(rows - means[labels], assume_centered=True)
    precision = np.linalg.inv(covariance)
    expected = [min(mahalanobis(row, mean, precision) for mean in means) for row in of_length_one(new)]
    assert shrinkage(rows - means[labels]) == pytest.approx(share, abs=1e-12)
    found = Familiar.of(features, labels).distances(new)
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # directions are kept in float32


@given(n=st.integers(2, 30), d=st.integers(1, 30), seed=st.integers(0, 1000))
@settings(max_examples=50, deadline=None)
def test_shrinkage_is_that_of_scikit_learn(n: int, d: int, seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    expected = ledoit_wolf_shrinkage(rows, assume_centered=True)
    assert shrinkage(rows) == pytest.approx(expected, abs=1e-9)


def test_a_few_directions_keep_the_whole_variance() -> None:
    features, labels = drawn(300, 40)
    whole, few = Familiar.of(features, labels), Familiar.of(features, labels, directions=10)
    assert few.directions.shape == (10, 40)
    total = [f.variances.sum() + f.rest * (40 - len(f.variances)) for f in (whole, few)]
    assert total[1] == pytest.approx(total[0], rel=1e-9)
    new, _ = drawn(100, 40, seed=2)
    assert np.corrcoef(few.distances(new), whole.distances(new))[0, 1] > 0.7


@given(
    n=st.integers(2, 12),
    d=st.integers(1, 8),
    classes=st.integers(1, 4),
    alike=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_whatever_the_features_scores_are_finite(
    n: int, d: int, classes: int, alike: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    features = np.zeros((n, d)) if alike else random.normal(size=(n, d))
    labels = random.integers(0, classes, n)
    detector = fitted((features, labels), (features[:0], labels[:0]), 0.05)
    assert np.isfinite(detector.scores(random.normal(size=(5, d)))).all()


@given(n=st.integers(1, 70), seed=st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_no_bit_of_a_distance_depends_on_the_other_pictures(n: int, seed: int) -> None:
    features, labels = drawn(60, 300)
    familiar, (new, _) = Familiar.of(features, labels), drawn(70, 300, seed=seed)
    np.testing.assert_array_equal(familiar.distances(new[:n]), familiar.distances(new)[:n])
    assert familiar.distances(new[:0]).shape == (0,)


def test_the_length_of_features_does_not_matter() -> None:
    features, labels = drawn(60, 10)
    familiar = Familiar.of(features, labels)
    np.testing.assert_allclose(familiar.distances(features * 7), familiar.distances(features), rtol=1e-3)


def test_the_threshold_keeps_the_rate_of_false_rejects() -> None:
    """On average over draws, new pictures of the classes are flagged no more often than asked for."""
    for rate, n in ((0.05, 19), (0.05, 60), (0.2, 24)):
        rates = []
        for seed in range(400):
            draws = np.random.default_rng(seed).exponential(size=n + 200)
            rates.append((draws[n:] > threshold_of(draws[:n], rate)).mean())
        assert rate - 1 / n - 0.01 < np.mean(rates) < rate + 0.01


def test_too_few_pictures_for_a_rate_give_the_largest_distance() -> None:
    assert needed(0.05) == 19 and needed(0.1) == 9
    assert threshold_of(np.array([3.0, 1.0, 2.0]), 0.05) == 3.0


def test_selection_pictures_set_the_threshold_if_they_are_enough() -> None:
    (train, labels), (held, others) = drawn(90, 10), drawn(40, 10, seed=1)
    detector = fitted((train, labels), (held, others), 0.05)
    assert detector.facts["fitted_on"] == "selection" and detector.facts["pictures"] == 40
    assert detector.threshold == threshold_of(Familiar.of(train, labels).distances(held), 0.05)
    few = fitted((train, labels), (held[:18], others[:18]), 0.05)
    assert few.facts["fitted_on"] == "out of fold" and few.facts["pictures"] == 108


def test_out_of_fold_distances_are_of_statistics_that_did_not_see_the_picture() -> None:
    features, labels = drawn(40, 30)  # fewer pictures than would fill the space: those seen lie nearer
    assert np.median(out_of_fold(features, labels)) > 1.2 * np.median(
        Familiar.of(features, labels).distances(features)
    )


def test_another_class_is_flagged_and_the_known_ones_are_not() -> None:
    features, labels = drawn(400, 16, classes=4)
    known = labels < 3
    detector = fitted((features[known], labels[known]), (features[:0], labels[:0]), 0.05)
    new, of = drawn(400, 16, classes=4, seed=3)
    told = compared(detector.scores(new[of < 3]), detector.scores(new[of == 3]))
    assert told["auroc"] > 0.99 and told["flagged"] > 95
    assert detector.flags(detector.scores(new[of < 3])).mean() < 0.1


@pytest.fixture
def bundle(tmp_path):
    (tmp_path / CARD).write_text(json.dumps({"format_version": 1, "temperature": 1.0}), encoding="utf-8")
    features, labels = drawn(60, 12)
    detector = fitted((features, labels), (features[:0], labels[:0]), 0.1)
    return tmp_path, detector, features


def test_a_bundle_gives_the_same_scores_bit_for_bit(bundle) -> None:
    folder, detector, features = bundle
    save_detector(folder, detector)
    card = read_card(folder)
    assert card["temperature"] == 1.0 and card["unknown"]["false_rejects"] == 0.1
    loaded = load_detector(folder, card)
    np.testing.assert_array_equal(loaded.scores(features), detector.scores(features))
    assert loaded.facts == detector.facts


def test_a_bundle_without_statistics_has_no_detector(bundle) -> None:
    assert load_detector(bundle[0], read_card(bundle[0])) is None


@pytest.mark.parametrize("fault", ["missing", "damaged"])
def test_statistics_that_are_not_those_that_were_saved(bundle, fault: str) -> None:
    folder, detector, _ = bundle
    save_detector(folder, detector)
    if fault == "missing":
        (folder / FILE).unlink()
        reason = "No such file or directory"
    else:
        (folder / FILE).write_bytes((folder / FILE).read_bytes()[:-1] + b"x")
        reason = "it is not the one that was saved"
    with pytest.raises(ModelError) as caught:
        load_detector(folder, read_card(folder))
    assert str(caught.value) == (
        f"HS-PREDICT-030: The statistics that tell unknown pictures cannot be used: {reason}.\n"
        f"  where: {folder / FILE}\n"
        "  to do: Copy the whole model/ folder again."
    )


def test_false_rejects_have_their_interval_and_a_line() -> None:
    flags = np.arange(40) < 3
    table = Predictions(
        ("a", "b"), [str(i) for i in range(40)], ["test"] * 40, np.arange(40) % 2,
        np.tile([0.6, 0.4], (40, 1)), flags, np.where(flags, 2.0, 0.5),
    )  # fmt: skip
    result = summary(table, "test")
    assert result["false_rejects"]["value"] == 0.075 and result["false_rejects"]["n"] == 40
    low, high = result["false_rejects"]["interval_95"]
    assert low < 0.075 < high
    result["unknown"] = {"false_rejects": 0.05, "other": {"n": 10, "flagged": 9}}
    lines = report_lines(result)
    assert (
        f"flagged as unknown, though of a known class: 0.075 ({low:.3f} to {high:.3f}, n = 40), "
        "meant to be at most 0.05"
    ) in lines
    assert "flagged as unknown of --other: 0.900 (0.596 to 0.982, n = 10)" in lines
    silent = summary(dataclasses.replace(table, unknown=None, unknown_score=None), "test")
    assert "false_rejects" not in silent and not any("unknown" in line for line in report_lines(silent))


def test_flags_are_the_scores_above_one() -> None:
    assert Detector.flags(np.array([0.5, 1.0, 1.0000001])).tolist() == [False, False, True]
