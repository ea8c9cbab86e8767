"""What is told of calibration, also where there is next to nothing to tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from headstart import metrics
from headstart.calibration import fit_temperature
from headstart.evaluation.calibrate import (
    STORED,
    at_temperature,
    calibration_line,
    card_entry,
    figures,
    fitted,
    told,
)
from headstart.evaluation.predictions import NO_TRUTH, Predictions


def table(n: int, split: str = "calibration", seed: int = 0) -> Predictions:
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet((0.3, 0.3, 0.3), n)
    truth = np.where(random.random(n) < 0.7, probabilities.argmax(1), random.integers(0, 3, n))
    return Predictions(("a", "b", "c"), tuple(map(str, range(n))), (split,) * n, truth, probabilities)


def test_figures_are_those_of_the_metrics_and_ready_for_json() -> None:
    before = table(200, "test")
    after = at_temperature(before, 2.0)
    found = figures(after, before, "test")
    for name, rows in (("before", before), ("after", after)):
        assert found[name]["nll"]["value"] == metrics.nll(rows.truth, rows.probabilities)
        assert found[name]["brier"]["value"] == metrics.brier(rows.truth, rows.probabilities)
        assert sum(one["n"] for one in found[name]["ece"]["bins"]) == found[name]["ece"]["n"] == 200
    low, high = found["won"]["nll"]["interval_95"]
    assert low < found["before"]["nll"]["value"] - found["after"]["nll"]["value"] < high
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_temperature_can_be_taken_back() -> None:
    rows = table(50)
    there_and_back = at_temperature(at_temperature(rows, 1.7), 1 / 1.7)
    np.testing.assert_allclose(there_and_back.probabilities, rows.probabilities, atol=1e-12)
    assert at_temperature(rows, 1.0) is rows


@pytest.mark.parametrize("n", [0, 1, 2])
def test_of_one_picture_or_none_what_is_not_defined_is_null(n: int, tmp_path: Path) -> None:
    from headstart.evaluation.plots import draw_reliability

    rows = table(n, "test")
    found = told(fitted(rows, "too few")) | figures(rows, rows, "test")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["after"]["nll"]["value"] is None) == (n == 0)
    assert (found["after"]["nll"]["interval_95"] is None) == (n < 2)
    assert calibration_line(found).startswith("not calibrated: too few; confidences are the network's own")
    draw_reliability(found, tmp_path / "reliability.png")
    assert (tmp_path / "reliability.png").stat().st_size > 1000


def test_pictures_without_a_class_are_not_counted() -> None:
    rows = table(20, "test")
    truth = rows.truth.copy()
    truth[:5] = NO_TRUTH
    partly = Predictions(rows.classes, rows.paths, rows.splits, truth, rows.probabilities)
    assert figures(partly, partly, "test")["after"]["nll"]["n"] == 15


def test_of_many_calibration_pictures_the_bundle_keeps_some() -> None:
    rows = table(3 * STORED)
    entry = card_entry(rows, fit_temperature(rows.truth, rows.probabilities))
    own = rows.probabilities[np.arange(len(rows)), rows.truth]
    kept = entry["truth_probabilities"]
    assert entry["n"] == 3 * STORED and len(kept) == STORED and kept == sorted(kept)
    assert np.quantile(kept, 0.5) == pytest.approx(np.quantile(own, 0.5), abs=0.05)
    assert card_entry(table(10, "test"), fit_temperature([], np.zeros((0, 3)))) == {}


def test_the_line_says_what_was_won_with_n() -> None:
    before = table(300, "test", seed=1)
    temperature = fit_temperature(before.truth, before.probabilities)
    after = at_temperature(before, temperature.value)
    line = calibration_line(told(temperature) | figures(after, before, "test"))
    low, high = temperature.interval_95
    assert line.startswith(
        f"calibrated: temperature {temperature.value:.2f} ({low:.2f} to {high:.2f}) from 300"
    )
    assert "pictures that chose nothing; log loss " in line and line.endswith(", n = 300)")
