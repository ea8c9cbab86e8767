"""Pictures of a run: the confusion matrix, reliability, and the curves of training."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.console import text_width
from headstart.evaluation.drawing import (
    FAINT,
    INK,
    NAME_WIDTH,
    REPORTED,
    TRAIN,
    fonts_for,
    new_figure,
    number_in,
    plain_text,
    quiet_axes,
    save_png,
    shortened,
    width_of,
    write_text,
)
from headstart.evaluation.evaluate import printable
from headstart.metrics import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UPRIGHT_SHARE = 0.03  # of the width of the axes, for an upright name
COUNTED = 14  # up to so many classes, each cell shows its number
NAMED = 60  # up to so many classes, the axes show names


def draw_confusion(result: Mapping[str, Any], path: Path) -> None:
    """Writes the confusion matrix of a summary as PNG.

    Blue on the diagonal is the share of the class that was found, orange beside it the share taken
    for another class (darker than in proportion, so that single mistakes stay visible).

    Args:
        result: From `headstart.evaluation.evaluate.summary`.
        path: The PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    figure, axes, families = _confusion_axes(result)
    counts: list[list[int]] = result["confusion_matrix"]
    colours = _confusion_colours(counts)
    axes.imshow(colours, interpolation="nearest", aspect="equal")
    if len(counts) <= COUNTED:
        for i, row in enumerate(counts):
            for j, count in enumerate(row):
                dark = sum(w * c for w, c in zip((0.3, 0.59, 0.11), colours[i][j], strict=True)) < 0.6
                colour = "white" if dark else INK if count else "#aab3bc"
                size = 11 if len(str(count)) <= 4 else 8
                label = axes.text(j, i, str(count), ha="center", va="center", color=colour)
                plain_text(label, families, size)
    save_png(figure, path)


def _confusion_axes(result: Mapping[str, Any]) -> tuple[Figure, Axes, list[str]]:
    """An empty matrix with titles and class names, laid out to the measured width of the names."""
    names = [shortened(printable(name)) for name in result["classes"]]
    n, named, counted = len(names), len(names) <= NAMED, len(names) <= COUNTED
    families = fonts_for(names)
    cell = 0.72 if n <= 4 else 0.5 if counted else 0.21 if named else 6.5 / n  # inches
    size = 10 if counted else 7
    side = max(cell * n, 0.72)
    figure = new_figure(1, 1)
    widest = max((width_of(figure, name, families, size) for name in names), default=0) if named else 0
    upright = widest > cell * 0.9  # names that would touch stand upright
    left = 0.55 + widest
    bottom = 0.45 + (widest if upright else 0.2 if named else 0)
    title, legend = _title(result), "blue: found; orange: taken for another class; each row is 100 %"
    title_width = max(width_of(figure, title, families, 10.5), width_of(figure, legend, families, 8))
    width, height = max(left + side, 0.2 + title_width) + 0.25, bottom + side + 0.66
    figure.set_size_inches(width, height)
    axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
    ticks = range(n) if named else []
    axes.set_xticks(ticks, names if named else [], rotation=90 if upright else 0, ha="center")
    axes.set_yticks(ticks, names if named else [])
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        plain_text(label, families, size)
    axes.tick_params(length=0, colors=INK)
    if named and n > 1:
        axes.set_xticks([k + 0.5 for k in range(n - 1)], minor=True)
        axes.set_yticks([k + 0.5 for k in range(n - 1)], minor=True)
        axes.grid(which="minor", color="white", linewidth=1.6 if counted else 0.7)
        axes.tick_params(which="minor", length=0)
    for edge in axes.spines.values():
        edge.set_visible(False)
    plain_text(axes.set_xlabel("prediction", color=FAINT), families, 9)
    plain_text(axes.set_ylabel("truth", color=FAINT), families, 9)
    write_text(figure, (0.2 / width, 1 - 0.27 / height), title, families, 10.5, INK)
    write_text(figure, (0.2 / width, 1 - 0.48 / height), legend, families, 8, FAINT)
    return figure, axes, families


def _confusion_colours(counts: Sequence[Sequence[int]]) -> list[list[tuple[float, ...]]]:
    """RGB 0..1 of each cell; rows without pictures are grey."""
    from matplotlib import colormaps

    found, mistaken = colormaps["Blues"], colormaps["Oranges"]
    rows = []
    for i, row in enumerate(counts):
        total = sum(row)
        colours: list[tuple[float, ...]] = []
        for j, count in enumerate(row):
            if not total:
                colours.append((0.94, 0.94, 0.94))
            elif not count:
                colours.append((0.965, 0.972, 0.98))
            elif i == j:
                colours.append(tuple(found(0.15 + 0.75 * count / total)[:3]))
            else:
                colours.append(tuple(mistaken(0.07 + 0.73 * math.sqrt(count / total))[:3]))
        rows.append(colours)
    return rows


def _title(result: Mapping[str, Any]) -> str:
    accuracy = result["accuracy"]
    if accuracy["value"] is None:
        return f"{result['split']}: no pictures"
    low, high = accuracy["interval_95"]
    return (
        f"{result['split']}: accuracy {accuracy['value']:.3f} ({low:.3f} to {high:.3f}), n = {accuracy['n']}"
    )


def draw_reliability(calibration: Mapping[str, Any], path: Path) -> None:
    """Writes accuracy against confidence as PNG, a point for each bin of equally many pictures.

    Grey before, blue after the temperature, with 95 % intervals; points below the diagonal are too sure.

    Args:
        calibration: From `headstart.evaluation.calibrate.figures`, with ``reason``.
        path: The PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    families = fonts_for([])
    figure = new_figure(4.6, 4.7)
    axes = figure.add_axes((0.13, 0.12, 0.82, 0.74))
    quiet_axes(axes, families)
    axes.plot((0, 1), (0, 1), color="#c3cad1", linewidth=1, zorder=1)
    drawn = [("after", REPORTED)] if calibration["reason"] else [("before", TRAIN), ("after", REPORTED)]
    lowest = 1.0
    for name, colour in drawn:
        for one in calibration[name]["ece"]["bins"]:
            low, high = wilson_interval(round(one["accuracy"] * one["n"]), one["n"])
            x, y = one["confidence"], one["accuracy"]
            lowest = min(lowest, x, low)
            axes.plot((x, x), (low, high), color=colour, linewidth=1, alpha=0.5)
            axes.plot((x,), (y,), marker="o", linestyle="", markersize=4.5, color=colour)
    least = max(0.0, math.floor(lowest * 10) / 10)
    axes.set_xlim(least, 1.01)
    axes.set_ylim(least, 1.01)
    plain_text(axes.set_xlabel("confidence", color=FAINT), families, 9)
    plain_text(axes.set_ylabel("accuracy", color=FAINT), families, 9)
    n = calibration["after"]["nll"]["n"]
    how = "not calibrated" if calibration["reason"] else "grey: before, blue: after calibration"
    write_text(figure, (0.13, 0.945), f"confidence and accuracy of {n:,} pictures", families, 10.5, INK)
    write_text(figure, (0.13, 0.9), f"{how}; below the line: too sure", families, 8, FAINT)
    save_png(figure, path)


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, *, reported: str = "val") -> None:
    """Writes the curves of training as PNG: train loss, train accuracy and reported accuracy by epoch.

    Epochs of several stages follow each other; a line marks where a stage begins.

    Args:
        rows: Rows of ``results.csv``: ``epoch,stage,train_loss,train_accuracy,val_loss,val_accuracy,...``;
            values may be numbers, text, empty or None.
        path: The PNG file.
        reported: What ``val_*`` was measured on, as it should be called (``val``, ``test``).

    Raises:
        MissingExtraError: matplotlib is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    families = fonts_for([str(row.get("stage") or "") for row in rows] + [reported])
    from matplotlib.ticker import MaxNLocator

    stages = [str(row.get("stage") or "") for row in rows]
    steps = _steps(rows)
    figure = new_figure(7.0, 3.5)
    loss_axes = figure.add_axes((0.085, 0.16, 0.385, 0.62))
    accuracy_axes = figure.add_axes((0.565, 0.16, 0.385, 0.62))
    panels: tuple[tuple[Axes, str, tuple[tuple[str, str, str, str], ...]], ...] = (
        (
            loss_axes,
            "loss",
            (("train_loss", "train", TRAIN, "--"), ("val_loss", reported, REPORTED, "-")),
        ),
        (
            accuracy_axes,
            "accuracy",
            (("train_accuracy", "train", TRAIN, "--"), ("val_accuracy", reported, REPORTED, "-")),
        ),
    )
    for axes, title, lines in panels:
        quiet_axes(axes, families)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        margin = 0.5 if len(steps) < 2 else 0.02 * (steps[-1] - steps[0])
        axes.set_xlim(steps[0] - margin, steps[-1] + margin)
        drawn = 0
        for key, name, colour, style in lines:
            values = [number_in(row.get(key)) for row in rows]
            if all(math.isnan(value) for value in values):
                continue
            points = [(x, y) for x, y in zip(steps, values, strict=False) if not math.isnan(y)]
            axes.plot(
                *zip(*points, strict=True),
                color=colour,
                linestyle=style,
                linewidth=1.9,
                marker="o" if len(points) <= 30 else "",
                markersize=3.5,
                label=f"{name}  {points[-1][1]:.3f}",
                clip_on=False,
                zorder=3 + drawn,
            )
            drawn += 1
        if title == "loss":
            top = axes.get_ylim()[1]
            axes.set_ylim(0, top if drawn else 1)
        else:
            _accuracy_range(axes, rows)
        _mark_stages(axes, steps, stages, families)
        plain_text(axes.set_xlabel("epoch", color=FAINT), families, 9)
        box = axes.get_position()
        write_text(figure, (box.x0, 0.925), title, families, 11, INK)
        if drawn:
            legend = axes.legend(
                loc="lower left", bbox_to_anchor=(-0.02, 1.06), frameon=False, ncols=2, handlelength=1.8,
                columnspacing=1.4, borderpad=0, labelcolor=INK,
            )  # fmt: skip
            for label_text in legend.get_texts():
                plain_text(label_text, families, 9)
    save_png(figure, path)


def draw_sweep(rows: Sequence[Mapping[str, Any]], path: Path, *, chosen: float) -> None:
    """Writes the loss of a sweep over learning rates as PNG, with a line at the rate that trains.

    Args:
        rows: Rows of ``lr-find.csv``: ``step,lr,lr_head,loss,smoothed``.
        path: The PNG file.
        chosen: The rate.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    families = fonts_for([])
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure = new_figure(5.2, 3.5)
    axes = figure.add_axes((0.11, 0.16, 0.85, 0.68))
    quiet_axes(axes, families)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    smoothed = [(row["lr"], row["smoothed"]) for row in rows if math.isfinite(row["smoothed"])]
    single = [(row["lr"], row["loss"]) for row in rows if math.isfinite(row["loss"])]
    if single:
        axes.plot(*zip(*single, strict=True), linestyle="", marker="o", markersize=2.5, color=TRAIN)
        axes.plot(*zip(*smoothed, strict=True), color=REPORTED, linewidth=1.9, zorder=3)
        before = [value for lr, value in smoothed if lr <= chosen] or [smoothed[0][1]]
        axes.set_ylim(0, 2.5 * max(before))  # where it leaps up at the end says nothing more
    axes.axvline(chosen, color=INK, linewidth=1, linestyle="--", zorder=2)
    plain_text(axes.set_xlabel("learning rate", color=FAINT), families, 9)
    write_text(figure, (0.11, 0.9), f"loss of the sweep; trained with {chosen:g}", families, 11, INK)
    save_png(figure, path)


def _accuracy_range(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    values = [number_in(row.get(key)) for row in rows for key in ("train_accuracy", "val_accuracy")]
    lowest = min((value for value in values if not math.isnan(value)), default=0.0)
    # from the decimal below the lowest value, so that late epochs remain distinguishable
    axes.set_ylim(max(0.0, math.floor(lowest * 10 - 0.5) / 10), 1.0)


def _steps(rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Where the rows lie on the axis: at their epochs if these rise, else one after the other."""
    epochs = [number_in(row.get("epoch")) for row in rows]
    rising = all(a < b for a, b in pairwise(epochs)) and not any(map(math.isnan, epochs))
    return (epochs if rising else [float(i) for i in range(1, len(rows) + 1)]) or [1.0]


def _mark_stages(axes: Axes, steps: Sequence[float], stages: Sequence[str], families: list[str]) -> None:
    """A thin line where a stage begins, and its name if there is room; nothing for a run of one stage."""
    starts = [i for i, stage in enumerate(stages) if i == 0 or stage != stages[i - 1]]
    if len(starts) < 2:
        return
    low, high = axes.get_xlim()
    lines = [low, *((steps[i - 1] + steps[i]) / 2 for i in starts[1:]), high]
    for i, (left, right) in enumerate(pairwise(lines)):
        if i:
            axes.axvline(left, color="#b6bec7", linewidth=0.9, zorder=1)
        share = (right - left) / (high - low)
        if share < UPRIGHT_SHARE:
            continue
        name = stages[starts[i]]
        beside = share * 40 >= min(text_width(name), 6)  # a stage too short for its name has it upright
        name = shortened(name, max(6, int(share * 40)) if beside else NAME_WIDTH)
        where = ((left - low) / (high - low) + 0.012, 0.02)
        label = axes.text(*where, name, transform=axes.transAxes, va="bottom", color=FAINT, zorder=2)
        label.set_rotation(0 if beside else 90)
        plain_text(label, families, 7.5)


def show_live(figure_or_path: Figure | Path | str) -> bool:
    """Shows the curves in a notebook, or replaces those shown before; elsewhere does nothing.

    Returns:
        Whether a notebook is there.
    """
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if shell is None or not hasattr(shell, "kernel"):
        return False
    from IPython.display import Image, display  # type: ignore[import-not-found,unused-ignore]

    if isinstance(figure_or_path, str | Path):
        path = Path(figure_or_path)
        picture, identity = Image(data=path.read_bytes(), format="png", width=700), str(path.absolute())
    else:
        picture, identity = figure_or_path, f"headstart-{id(figure_or_path)}"
    # one output per run of a cell: the count of executions tells cells apart
    key = (identity, getattr(shell, "execution_count", 0))
    display(picture, display_id=f"{identity}-{key[1]}", update=key in _shown)
    _shown.add(key)
    return True


_shown: set[tuple[str, int]] = set()
