"""Pictures of a comparison: the curves of its variants side by side, and the learning curve."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.evaluation.drawing import (
    FAINT,
    INK,
    REPORTED,
    TRAIN,
    fonts_for,
    new_figure,
    number_in,
    plain_text,
    quiet_axes,
    save_png,
    shortened,
    write_text,
)

if TYPE_CHECKING:
    from headstart.evaluation.learning_curve import LearningCurve

LOSS = "#c2571a"
PANEL = 3.0  # inches
LINES = (
    ("train_loss", "train loss", LOSS, "-"),
    ("train_accuracy", "train accuracy", TRAIN, "--"),
    ("val_accuracy", "accuracy on pictures that do not train", REPORTED, "-"),
)
Rows = Sequence[Mapping[str, Any]]


def draw_side_by_side(curves: Mapping[str, Sequence[Rows]], path: Path) -> None:
    """Writes a panel per variant as PNG: train loss, train accuracy, and the accuracy of the selection part
    (or the reported one, where nothing is selected), by epoch. The lesson draws its two trainings so.

    Thin lines are single seeds, thick ones their mean. All panels have the same scale.

    Args:
        curves: Variant -> the rows of ``results.csv`` of each of its runs.
        path: The PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    families = fonts_for(list(curves))
    from matplotlib.ticker import MaxNLocator

    columns = min(len(curves), 3)
    down = math.ceil(len(curves) / columns)
    width, height = PANEL * columns + 0.4, 2.6 * down + 0.35
    figure = new_figure(width, height)
    every = [row for runs in curves.values() for rows in runs for row in rows]
    losses = [value for row in every if not math.isnan(value := number_in(row.get("train_loss")))]
    last = max((value for row in every if not math.isnan(value := number_in(row.get("epoch")))), default=1.0)
    top = min(3.0, max([1.0, *losses])) * 1.03
    for number, (name, runs) in enumerate(curves.items()):
        x, y = number % columns, number // columns
        left, bottom = 0.45 + PANEL * x, height - 0.35 - 2.6 * (y + 1) + 0.5
        axes = figure.add_axes((left / width, bottom / height, (PANEL - 0.45) / width, 1.75 / height))
        quiet_axes(axes, families)
        axes.set_ylim(0, top)
        axes.set_xlim(-0.03 * max(last, 1), 1.03 * max(last, 1))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        for key, _, colour, style in LINES:
            points = [_points(rows, key) for rows in runs]
            for one in points if len(points) > 1 else ():
                axes.plot(list(one), list(one.values()), color=colour, linewidth=0.6, alpha=0.5)
            mean = _mean(points)
            if mean:
                marker = "o" if len(mean) <= 2 else ""
                axes.plot(
                    list(mean), list(mean.values()), color=colour, linestyle=style, linewidth=1.9,
                    marker=marker, markersize=4,
                )  # fmt: skip
        plain_text(axes.set_xlabel("epoch", color=FAINT), families, 8.5)
        title = shortened(name, 34)
        write_text(figure, (left / width, (bottom + 1.83) / height), title, families, 10, INK)
    _legend(figure, families, width, height)
    save_png(figure, path)


def _legend(figure: Any, families: list[str], width: float, height: float) -> None:
    x = 0.45
    for _, name, colour, _ in LINES:
        label = figure.text(x / width, 1 - 0.27 / height, name, color=colour)
        plain_text(label, families, 9)
        x += label.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi + 0.25


def _points(rows: Rows, key: str) -> dict[float, float]:
    """Value by epoch, where there is one."""
    found = {number_in(row.get("epoch")): number_in(row.get(key)) for row in rows}
    return {epoch: value for epoch, value in found.items() if not (math.isnan(epoch) or math.isnan(value))}


def _mean(runs: Sequence[Mapping[float, float]]) -> dict[float, float]:
    """Over the runs that have an epoch."""
    epochs = sorted({epoch for run in runs for epoch in run})
    values = {epoch: [run[epoch] for run in runs if epoch in run] for epoch in epochs}
    return {epoch: sum(found) / len(found) for epoch, found in values.items()}


def draw_learning_curve(curve: LearningCurve, path: Path) -> None:
    """Writes accuracy by number of training pictures as PNG: single draws, their means, and the power law
    with its 95 % band up to twice the pictures.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    families = fonts_for([])
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    figure = new_figure(5.2, 3.5)
    axes = figure.add_axes((0.11, 0.16, 0.85, 0.68))
    quiet_axes(axes, families)
    axes.set_xscale("log")
    sizes, most = list(curve.sizes), curve.sizes[-1]
    axes.xaxis.set_major_locator(FixedLocator([*sizes, 2 * most]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    for one in curve.accuracies:
        axes.plot(sizes, one, linestyle="", marker="o", markersize=2.5, color=TRAIN, alpha=0.6)
    axes.plot(sizes, curve.means, linestyle="", marker="o", markersize=5, color=REPORTED, zorder=4)
    grid, low, middle, high = curve.band()
    axes.fill_between(grid, low, high, color=REPORTED, alpha=0.15, linewidth=0)
    axes.plot(grid, middle, color=REPORTED, linewidth=1.6, zorder=3)
    axes.axvline(most, color=FAINT, linewidth=0.9, linestyle="--")
    axes.set_ylim(max(0.0, min(float(low.min()), float(curve.accuracies.min())) - 0.03), 1.0)
    plain_text(axes.set_xlabel("training pictures", color=FAINT), families, 9)
    write_text(figure, (0.11, 0.9), "accuracy of the probe, and its 95 % band", families, 11, INK)
    save_png(figure, path)
