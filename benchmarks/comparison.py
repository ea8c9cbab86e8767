"""What the cells of headstart and its peers say when they are compared: how much sooner, how much better."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEADSTART = "headstart"
REGRESSION = "features_regression"
SOONER = 20.0  # times, against the best fine-tuning peer
PROBE_LIMIT = 1.1  # times the seconds of the plain features + regression script
FLOOR = -1.0  # points: the lower bound of the difference at equal wall-clock
DRAWS = 10_000
Cells = list[dict[str, Any]]


@dataclass(frozen=True)
class Difference:
    """headstart minus a peer at equal wall-clock.

    Attributes:
        points: Of accuracy, mean over all pairs of seeds.
        draws: Of the bootstrap, points; None where headstart had no model yet.
        reason: Why there is no difference.
    """

    points: float = float("nan")
    draws: NDArray[np.float64] | None = None
    reason: str = ""

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by percentiles."""
        assert self.draws is not None
        low, high = np.percentile(self.draws, [2.5, 97.5])
        return float(low), float(high)


def names(rows: Cells, key: str) -> list[str]:
    """Data sets or peers that were tried, in their order."""
    return list(dict.fromkeys(row[key] for row in rows if key in row and "not_run" not in row))


def finished(rows: Cells, data: str, peer: str) -> Cells:
    return [
        row for row in rows if row.get("data") == data and row.get("peer") == peer and "checkpoints" in row
    ]


def mean_accuracy(cells: Cells) -> float:
    return float(statistics.mean(row["accuracy"] for row in cells))


def best_fine_tuning(rows: Cells, data: str) -> str | None:
    """The fine-tuning peer with the highest final accuracy, the quicker one of equals."""
    found = {
        peer: cells
        for peer in names(rows, "peer")
        if peer not in (HEADSTART, REGRESSION) and (cells := finished(rows, data, peer))
    }
    return max(found, key=lambda peer: (mean_accuracy(found[peer]), -seconds(found[peer])), default=None)


def seconds(cells: Cells) -> float:
    return float(statistics.median(row["seconds"] for row in cells))


def seconds_to_reach(rows: Cells, data: str, accuracy: float) -> list[float | None]:
    """Of each seed of headstart: when its model on disk first was as accurate as this; None: never."""
    return [
        next((one["seconds"] for one in row["checkpoints"] if one["accuracy"] >= accuracy - 1e-9), None)
        for row in finished(rows, data, HEADSTART)
    ]


def times_sooner(rows: Cells, data: str, peer: str) -> float | None:
    """Median seconds of the peer over headstart's to the peer's mean final accuracy; None: most never do."""
    cells = finished(rows, data, peer)
    times = [
        float("inf") if value is None else value
        for value in seconds_to_reach(rows, data, mean_accuracy(cells))
    ]
    if not times or statistics.median(times) == float("inf"):
        return None
    return seconds(cells) / statistics.median(times)


def probe_ratio(rows: Cells, data: str) -> float | None:
    """Median seconds of headstart's probe over those of the plain script."""
    probes = [row["checkpoints"][0]["seconds"] for row in finished(rows, data, HEADSTART)]
    plain = finished(rows, data, REGRESSION)
    return statistics.median(probes) / seconds(plain) if probes and plain else None


def correctness(checkpoint: dict[str, Any]) -> NDArray[np.int64]:
    return np.array([int(sign) for sign in checkpoint["correct"]], np.int64)


def difference(rows: Cells, data: str, peer: str) -> Difference | None:
    """At the peer's end: every seed of headstart, with its last model complete by then, against every seed of
    the peer, picture by picture. Seeds of both sides and pictures are drawn again for the interval."""
    ours, theirs = finished(rows, data, HEADSTART), finished(rows, data, peer)
    if not ours or not theirs:
        return None
    signed = np.zeros((len(ours), len(theirs), theirs[0]["n"]))
    for i, mine in enumerate(ours):
        for j, other in enumerate(theirs):
            complete = [one for one in mine["checkpoints"] if one["seconds"] <= other["seconds"]]
            if not complete:
                first = mine["checkpoints"][0]["seconds"]
                return Difference(
                    reason=f"no model yet after {other['seconds']:.1f} s (first after {first:.1f} s)"
                )
            signed[i, j] = correctness(complete[-1]) - correctness(other["checkpoints"][-1])
    draw = np.random.default_rng(0)
    shares = [draw.multinomial(n, np.full(n, 1 / n), DRAWS) / n for n in signed.shape]
    by_seeds = signed.reshape(-1, signed.shape[2]) @ shares[2].T  # [pairs of seeds, draws]
    draws = np.einsum("bi,bj,ijb->b", shares[0], shares[1], by_seeds.reshape(*signed.shape[:2], DRAWS))
    return Difference(100 * float(signed.mean()), 100 * draws)


def pooled(found: Sequence[Difference]) -> Difference:
    """The mean over data sets, each with equal weight."""
    # Other pictures in each: their draws are independent, so their order is shuffled apart.
    draw = np.random.default_rng(1)
    draws = [draw.permutation(one.draws) for one in found if one.draws is not None]
    return Difference(statistics.mean(one.points for one in found), np.mean(draws, axis=0))
