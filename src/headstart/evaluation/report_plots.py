"""Plots of a report as coordinates: the template draws them in the colours of the page, light or dark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from headstart import metrics

WIDTH, HEIGHT = 360, 190  # of a plot, in its own units
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 10, 26  # margins
TICKS = 4
POINTS = 400  # of a line: more would only make the page larger

Rows = Sequence[Mapping[str, Any]]


def number(value: object) -> float:
    """A finite number, or nan."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def curves(rows: Rows, lines: Sequence[tuple[str, str, str]], *, fractions: bool) -> dict[str, Any] | None:
    """Some columns of ``results.csv`` by epoch; None where no line has two points.

    Args:
        rows: Of ``results.csv``.
        lines: Column, name and style (``train`` or ``watched``) of each line.
        fractions: Whether the values are 0-1; otherwise the axis begins at 0.
    """
    values = {key: [number(row.get(key)) for row in rows] for key, _, _ in lines}
    known = [value for column in values.values() for value in column if not math.isnan(value)]
    if len(rows) < 2 or not known:
        return None
    low = min(known) if fractions else 0.0
    bottom, step, count = axis(low, 1.0 if fractions else max(known))
    top = bottom + count * step
    drawn = []
    for key, name, style in lines:
        points = [(float(i), v) for i, v in enumerate(values[key]) if not math.isnan(v)]
        if len(points) < 2:
            continue
        kept = points[:: math.ceil(len(points) / POINTS)]
        if kept[-1] != points[-1]:
            kept.append(points[-1])
        span = len(rows) - 1
        path = " ".join(f"{x_of(i / span):.1f},{y_of((v - bottom) / (top - bottom)):.1f}" for i, v in kept)
        drawn.append(
            {"name": name, "style": style, "points": path, "first": points[0][1], "last": points[-1][1]}
        )
    if not drawn:
        return None
    steps = [bottom + i * step for i in range(count + 1)]
    epochs = [str(row.get("epoch", "")) for row in rows]
    shown = sorted(
        {round(i * (len(rows) - 1) / min(TICKS, len(rows) - 1)) for i in range(min(TICKS, len(rows) - 1) + 1)}
    )
    return {
        "lines": drawn,
        "y_ticks": [
            {
                "y": round(y_of(i / count), 1),
                "text": f"{v:.0%}".replace("%", " %") if fractions else f"{v:.3g}",
            }
            for i, v in enumerate(steps)
        ],
        "x_ticks": [{"x": round(x_of(i / (len(rows) - 1)), 1), "text": epochs[i]} for i in shown],
    }


def x_of(share: float) -> float:
    """Place of a share 0-1 of the horizontal axis."""
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def y_of(share: float) -> float:
    """Place of a share 0-1 of the vertical axis, which points down."""
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def axis(low: float, high: float) -> tuple[float, float, int]:
    """Where an axis begins, its step, and how many there are, at most five, in round numbers: 0.7, 0.1, 3."""
    if high <= low:
        low, high = 0.0, high if high > 0 else 1.0
    power = 10.0 ** math.floor(math.log10((high - low) / 5))
    for step in (power * factor for factor in (1, 2, 2.5, 5, 10, 20)):
        first = math.floor(low / step + 1e-9)
        count = math.ceil(high / step - 1e-9) - first
        if count <= 5:
            break
    return first * step, step, max(1, count)


def reliability(bins: Rows) -> list[dict[str, Any]]:
    """Points of a reliability plot: place, size by number of pictures, and the 95 % interval of each bin.

    Args:
        bins: With ``confidence``, ``accuracy`` (0-1) and ``n``; others are left out.
    """
    total = sum(int(number(one.get("n")) or 0) for one in bins if not math.isnan(number(one.get("n"))))
    points = []
    for one in bins:
        confidence, accuracy, n = (number(one.get(key)) for key in ("confidence", "accuracy", "n"))
        if math.isnan(confidence + accuracy + n) or n < 1 or not 0 <= accuracy <= 1:
            continue
        low, high = metrics.wilson_interval(min(round(accuracy * n), int(n)), int(n))
        points.append(
            {
                "x": round(x_of(confidence), 1),
                "y": round(y_of(accuracy), 1),
                "low": round(y_of(low), 1),
                "high": round(y_of(high), 1),
                "r": round(2.5 + 5 * math.sqrt(n / total), 1),
                "confidence": confidence,
                "accuracy": accuracy,
                "n": int(n),
            }
        )
    return points
