"""Temperature, calibration error and coverage against what is known of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.calibration import (
    BINS,
    MINIMUM,
    MISTAKES,
    beta_quantile,
    calibration_error,
    decided,
    fit_temperature,
    least_pictures,
    logarithms,
    tempered,
    threshold_for,
)
from headstart.metrics import nll


def drawn(n: int, seed: int, classes: int = 4, scale: float = 3, too_sure: float = 1):
    """Truth, and probabilities that are right at temperature ``too_sure``."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n, classes)) * scale
    shares = tempered(logits, 1.0).cumsum(1)
    truth = (shares > random.random((n, 1))).argmax(1)
    return truth, tempered(logits * too_sure, 1.0)


@pytest.mark.parametrize("too_sure", [0.5, 1, 2])
def test_the_temperature_that_made_the_confidence_is_found(too_sure: float) -> None:
    found = fit_temperature(*drawn(20_000, 1, too_sure=too_sure))
    assert found.value == pytest.approx(too_sure, rel=0.05) and not found.reason
    assert found.interval_95[0] < found.value < found.interval_95[1]


def test_no_other_temperature_has_a_lower_log_loss() -> None:
    truth, probabilities = drawn(300, 2, too_sure=1.7)
    value = fit_temperature(truth, probabilities).value
    logs = logarithms(probabilities)
    best = nll(truth, tempered(logs, value))
    assert all(best < nll(truth, tempered(logs, value * f)) for f in (0.8, 0.99, 1.01, 1.3))


def test_scikit_learn_finds_the_same_temperature() -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    truth, probabilities = drawn(400, 3, classes=2, too_sure=1.5)
    logit = np.diff(logarithms(probabilities))
    model = linear.LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-12).fit(logit, truth)
    assert fit_temperature(truth, probabilities).value == pytest.approx(1 / model.coef_[0, 0], rel=1e-4)


def test_the_interval_holds_the_temperature_19_times_of_20() -> None:
    held = [
        low <= 1.5 <= high
        for low, high in (fit_temperature(*drawn(200, seed, too_sure=1.5)).interval_95 for seed in range(300))
    ]
    assert 0.90 <= np.mean(held) <= 0.99


@given(st.integers(0, 10_000), st.floats(1 / 20, 20))
@settings(max_examples=60, deadline=None)
def test_a_temperature_never_changes_the_most_probable_class(seed: int, temperature: float) -> None:
    random = np.random.default_rng(seed)
    logits = (random.normal(size=(50, 5)) * random.choice([0.01, 1, 30])).astype(np.float32).astype(float)
    before = tempered(logits, 1.0)
    for of in (logits, logarithms(before)):
        np.testing.assert_array_equal(tempered(of, temperature).argmax(1), before.argmax(1))


@pytest.mark.parametrize(
    ("n", "wrong", "reason"),
    [
        (0, 0, f"0 calibration pictures are fewer than {MINIMUM}"),
        (MINIMUM - 1, 30, f"{MINIMUM - 1} calibration pictures are fewer than {MINIMUM}"),
        (
            150,
            MISTAKES - 1,
            f"{MISTAKES - 1} wrong answers to 150 calibration pictures are too few to judge by",
        ),
    ],
)
def test_of_too_few_pictures_or_mistakes_no_temperature_is_made(n: int, wrong: int, reason: str) -> None:
    truth = np.zeros(n, int)
    probabilities = np.tile([0.9, 0.1], (n, 1))
    probabilities[:wrong] = [0.2, 0.8]
    found = fit_temperature(truth, probabilities)
    assert (found.value, found.reason) == (1, reason) and math.isnan(found.interval_95[0])


@pytest.mark.parametrize("sure", [0.5, 0.9])
def test_where_confidence_says_nothing_of_the_truth_the_temperature_stays(sure: float) -> None:
    truth = np.arange(200) % 2
    found = fit_temperature(truth, np.tile([sure, 1 - sure], (200, 1)))  # one answer to all
    assert found.value == 1 and "tells nothing of the truth" in found.reason


def test_one_answer_to_all_can_still_be_too_sure() -> None:
    truth = np.arange(200) % 4 // 3  # three quarters are of the class that is always answered
    found = fit_temperature(truth, np.tile([0.99, 0.01], (200, 1)))
    assert tempered(logarithms([[0.99, 0.01]]), found.value)[0, 0] == pytest.approx(0.75, abs=1e-9)


def test_calibration_error_is_that_of_equally_filled_bins() -> None:
    confidence = np.array([0.6] * 10 + [0.9] * 10)
    truth = np.array([0] * 5 + [1] * 5 + [0] * 9 + [1])
    found = calibration_error(truth, np.stack([confidence, 1 - confidence], 1))
    assert found.pictures.sum() == 20 and len(found.pictures) == BINS
    by_hand = sum(
        abs(c - a) * n for c, a, n in zip(found.confidence, found.accuracy, found.pictures, strict=True)
    )
    assert found.value == pytest.approx(by_hand / 20)


@given(st.integers(0, 1000), st.integers(1, 100))
@settings(max_examples=30, deadline=None)
def test_calibration_error_does_not_depend_on_the_order(seed: int, n: int) -> None:
    truth, probabilities = drawn(n, seed)
    probabilities = probabilities.round(1)
    order = np.random.default_rng(seed).permutation(n)
    one, two = calibration_error(truth, probabilities), calibration_error(truth[order], probabilities[order])
    assert one.value == pytest.approx(two.value, abs=1e-12) and 0 <= one.value <= 1


def test_chance_alone_is_told_from_overconfidence() -> None:
    calibrated = [calibration_error(*drawn(200, seed)) for seed in range(100)]
    assert 0.88 <= np.mean([one.value <= one.if_calibrated_95 for one in calibrated]) <= 1
    sure = [calibration_error(*drawn(200, seed, too_sure=3)) for seed in range(50)]
    assert np.mean([one.value > one.if_calibrated_95 for one in sure]) > 0.9


def test_no_pictures_have_no_calibration_error() -> None:
    assert math.isnan(calibration_error([], np.zeros((0, 2))).value)


@pytest.mark.parametrize("coverage", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("n", [100, 237])
def test_sets_hold_the_truth_as_often_as_stated(coverage: float, n: int) -> None:
    """Also with a temperature of the same pictures, by a model that is too sure."""
    held, inside = [], []
    for seed in range(150):
        truth, plain = drawn(n + 1000, seed, scale=1.5, too_sure=2)
        value = fit_temperature(truth[:n], plain[:n]).value
        of_truth = tempered(logarithms(plain), value)[np.arange(len(truth)), truth]
        found = threshold_for(of_truth[:n], coverage)
        assert found is not None
        observed = (of_truth[n:] >= found.value).mean()
        held.append(observed)
        slack = 2 * math.sqrt(coverage * (1 - coverage) / 1000)  # of the pictures that it is observed on
        inside.append(found.interval_95[0] - slack <= observed <= found.interval_95[1] + slack)
    spread = math.sqrt(coverage * (1 - coverage) / n / 150)
    assert coverage - 4 * spread - 0.001 <= np.mean(held) <= coverage + 4 * spread + 1 / n
    assert np.mean(inside) > 0.93


@pytest.mark.parametrize(("coverage", "least"), [(0.5, 1), (0.9, 9), (0.95, 19), (0.98, 49), (0.99, 99)])
def test_so_many_pictures_a_coverage_needs(coverage: float, least: int) -> None:
    assert least_pictures(coverage) == least
    assert threshold_for(np.linspace(0.1, 0.9, least - 1), coverage) is None
    found = threshold_for(np.linspace(0.1, 0.9, least), coverage)
    assert (found is not None and found.value == 0.1) or least == 1


def test_beta_quantiles_are_those_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    for share, a, b in ((0.025, 1, 1), (0.025, 95, 6), (0.975, 95, 6), (0.5, 1901, 100)):
        assert beta_quantile(share, a, b) == pytest.approx(stats.beta.ppf(share, a, b), abs=1e-10)


def test_a_favoured_class_is_answered_from_its_threshold_on_and_not_below() -> None:
    probabilities = np.array([[0.2, 0.5, 0.3], [0.1, 0.5, 0.4], [0.7, 0.2, 0.1], [0.19, 0.4, 0.41]])
    assert decided(probabilities, 0, 0.2).tolist() == [0, 1, 0, 2]
    assert decided(probabilities, 0, 0.8).tolist() == [1, 1, 1, 2]
