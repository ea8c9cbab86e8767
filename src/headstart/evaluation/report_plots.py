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
    top = 1.0 if fractions else nice(max(known)) or 1.0
    bottom = max(0.0, math.floor(min(known) * 10 - 0.5) / 10) if fractions else 0.0
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
    steps = [bottom + (top - bottom) * i / TICKS for i in range(TICKS + 1)]
    epochs = [str(row.get("epoch", "")) for row in rows]
    shown = sorted(
        {round(i * (len(rows) - 1) / min(TICKS, len(rows) - 1)) for i in range(min(TICKS, len(rows) - 1) + 1)}
    )
    return {
        "lines": drawn,
        "y_ticks": [
            {
                "y": round(y_of(i / TICKS), 1),
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


def nice(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten."""
    if value <= 0:
        return 0.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-9))


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
