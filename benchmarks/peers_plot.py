"""The plot of the peers: accuracy against wall-clock."""

from __future__ import annotations

import statistics
from pathlib import Path

import matplotlib
from comparison import HEADSTART, REGRESSION, Cells, finished, names

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter


def draw(rows: Cells, path: Path) -> None:
    """One panel for each data set, one line for each tool: mean over seeds, and their range.

    Args:
        rows: Cells.
        path: PNG.
    """
    sets = [data for data in names(rows, "data") if any(finished(rows, data, p) for p in names(rows, "peer"))]
    figure, panels = plt.subplots(
        1, len(sets), figsize=(1 + 4.2 * len(sets), 4.4), squeeze=False, layout="constrained"
    )
    peers = names(rows, "peer")
    for panel, data in zip(panels[0], sets, strict=True):
        for number, peer in enumerate(peers):
            cells = finished(rows, data, peer)
            if cells:
                line(panel, cells, peer, f"C{number}")
        n = next(row["n"] for row in rows if row.get("data") == data and "n" in row)
        panel.set(title=f"{data} (n = {n})", xlabel="seconds from process start", xscale="log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("accuracy on test pictures")
    known = {
        label: handle
        for panel in panels[0]
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    shown = [peer for peer in peers if peer in known]
    figure.legend(
        [known[peer] for peer in shown],
        shown,
        loc="outside lower center",
        ncols=min(4, 1 + len(sets)),
        frameon=False,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def line(panel: Axes, cells: Cells, peer: str, color: str) -> None:
    """Checkpoint by checkpoint: median of the seconds, mean and range of the accuracy."""
    steps = list(zip(*(row["checkpoints"] for row in cells), strict=False))
    times = [statistics.median(one["seconds"] for one in step) for step in steps]
    values = [[one["accuracy"] for one in step] for step in steps]
    means = [statistics.mean(step) for step in values]
    marker = "D" if peer == REGRESSION else "o"
    width = 2.4 if peer == HEADSTART else 1.2
    panel.plot(times, means, color=color, label=peer, marker=marker, markersize=3.5, linewidth=width)
    low, high = [min(step) for step in values], [max(step) for step in values]
    if len(times) > 1:
        panel.fill_between(times, low, high, color=color, alpha=0.15, linewidth=0)
    else:
        panel.vlines(times, low, high, color=color, linewidth=width)
