"""How sure a model is, and how often it is right: fitted on pictures that chose nothing, told of others."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from headstart import metrics
from headstart.calibration import Temperature, calibration_error, fit_temperature, logarithms, tempered
from headstart.console import counted
from headstart.evaluation.predictions import NO_TRUTH, Predictions

PART = "calibration"
STORED = 2_000
"""Calibration pictures whose probabilities the bundle keeps: they give a coverage to half a point."""

Calibration = dict[str, Any]


def fitted(table: Predictions, why_none: str) -> Temperature:
    """The temperature of a table's calibration part, whose probabilities are of temperature 1.

    Args:
        table: Predictions.
        why_none: Said where there is no such part.
    """
    rows = table.of_split(PART)
    found = fit_temperature(rows.truth, rows.probabilities)
    return found if len(rows) else dataclasses.replace(found, reason=why_none)


def at_temperature(table: Predictions, temperature: float) -> Predictions:
    """The same predictions, their probabilities divided by a (further) temperature in the exponent."""
    if temperature == 1:
        return table
    return dataclasses.replace(table, probabilities=tempered(logarithms(table.probabilities), temperature))


def card_entry(table: Predictions, temperature: Temperature) -> dict[str, Any]:
    """What the bundle keeps of the calibration pictures, {} if there were none.

    Args:
        table: Predictions at that temperature.
        temperature: As fitted.
    """
    rows = table.of_split(PART)
    if not len(rows):
        return {}
    own = rows.probabilities[np.arange(len(rows)), rows.truth]
    # of many, some evenly spaced ones: their place in the table says nothing of their probability
    kept = own[np.linspace(0, len(own) - 1, min(len(own), STORED)).astype(np.int64)]
    return {
        "n": len(rows),
        "wrong": temperature.wrong,
        "temperature_interval_95": _pair(temperature.interval_95),
        "truth_probabilities": np.sort(kept).tolist(),
    }


def figures(after: Predictions, before: Predictions, split: str) -> Calibration:
    """Calibration of one split, before and after; ready for JSON.

    Args:
        after: Predictions at the temperatures of their models.
        before: The same rows at temperature 1.
        split: The reported one.

    Returns:
        ``before`` and ``after`` with ``nll``, ``brier`` (value, n, interval), ``ece`` (with its bins, and
        what chance alone gives); ``won``: how much lower ``nll`` and ``brier`` are after, with paired
        intervals.
    """
    tables = [_known(table.of_split(split)) for table in (before, after)]
    result: Calibration = {"before": _figures(tables[0]), "after": _figures(tables[1])}
    won = {}
    for name, of in (("nll", metrics.log_losses), ("brier", metrics.brier_scores)):
        first, last = (of(table.truth, table.probabilities) for table in tables)
        won[name] = _mean(first - last)
    return {**result, "won": won}


def told(temperature: Temperature) -> Calibration:
    """A fitted temperature for JSON."""
    return {
        "temperature": temperature.value,
        "temperature_interval_95": _pair(temperature.interval_95),
        "n": temperature.n,
        "reason": temperature.reason,
    }


def from_card(card: Mapping[str, Any]) -> Calibration:
    """The same, of a saved model."""
    kept = card.get("calibration", {})
    temperature = float(card.get("temperature", 1.0))
    return {
        "temperature": temperature,
        "temperature_interval_95": kept.get("temperature_interval_95"),
        "n": kept.get("n", 0),
        "reason": "" if temperature != 1 else "the model has no temperature",
    }


def calibration_line(found: Calibration) -> str:
    """All of it in one line for a person."""
    if found["reason"]:
        return f"not calibrated: {found['reason']}; confidences are the network's own{_error(found['after'])}"
    values = np.atleast_1d(found["temperature"])
    of = f"temperature {values.min():.2f}"
    if len(values) > 1:
        of = f"temperatures {values.min():.2f} to {values.max():.2f}"
    elif found["temperature_interval_95"]:
        of += " ({:.2f} to {:.2f})".format(*found["temperature_interval_95"])
    pictures = counted(found["n"], "picture", "pictures")
    before, after = found["before"], found["after"]
    if not after["nll"]["n"]:
        return f"calibrated: {of} from {pictures} that chose nothing"
    changes = ", ".join(
        f"{name} {before[key]['value']:.3f} -> {after[key]['value']:.3f}"
        for key, name in (("nll", "log loss"), ("brier", "Brier"), ("ece", "ECE"))
    )
    chance = f"chance alone: up to {after['ece']['if_calibrated_95']:.3f}, n = {after['nll']['n']}"
    return f"calibrated: {of} from {pictures} that chose nothing; {changes} ({chance})"


def _error(after: dict[str, Any]) -> str:
    ece = after["ece"]
    if ece["value"] is None:
        return ""
    return f" (ECE {ece['value']:.3f}; chance alone: up to {ece['if_calibrated_95']:.3f}, n = {ece['n']})"


def _known(table: Predictions) -> Predictions:
    return table.rows(table.truth != NO_TRUTH)


def _figures(table: Predictions) -> dict[str, Any]:
    truth, probabilities = table.truth, table.probabilities
    error = calibration_error(truth, probabilities)
    bins = zip(error.confidence.tolist(), error.accuracy.tolist(), error.pictures.tolist(), strict=True)
    return {
        "nll": _mean(metrics.log_losses(truth, probabilities), least=0.0),
        "brier": _mean(metrics.brier_scores(truth, probabilities), least=0.0),
        "ece": {
            "value": _defined(error.value),
            "n": len(table),
            "if_calibrated_95": _defined(error.if_calibrated_95),
            "bins": [{"confidence": c, "accuracy": a, "n": n} for c, a, n in bins],
        },
    }


def _mean(values: metrics.Floats, least: float = -math.inf) -> dict[str, Any]:
    """Mean with its normal interval."""
    n = len(values)
    if not n:
        return {"value": None, "n": 0, "interval_95": None}
    mean = float(values.mean())
    half = metrics.z_value() * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return {
        "value": mean,
        "n": n,
        "interval_95": _pair((max(least, mean - half), mean + half)) if n > 1 else None,
    }


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _pair(interval: metrics.Interval) -> list[float] | None:
    return None if any(math.isnan(limit) for limit in interval) else [float(x) for x in interval]
