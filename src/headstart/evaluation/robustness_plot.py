"""The picture of `headstart evaluate --corruptions`: accuracy by strength, a panel for each corruption."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.evaluation.drawing import (
    FAINT,
    INK,
    REPORTED,
    TRAIN,
    fonts_for,
    new_figure,
    plain_text,
    quiet_axes,
    save_png,
    write_text,
)

if TYPE_CHECKING:
    from headstart.evaluation.robustness import Robustness

COLUMNS = 3
PANEL = 2.3, 1.85  # inches


def draw_robustness(rows: Sequence[Robustness], path: Path) -> None:
    """Writes a panel per corruption as PNG: accuracy with its 95 % interval by strength; strength 0, and the
    dashed line, are the clean pictures.

    Raises:
        MissingExtraError: matplotlib is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    families = fonts_for([])
    names = list(dict.fromkeys(row.corruption for row in rows))
    down = -(-len(names) // COLUMNS)
    width, height = PANEL[0] * COLUMNS + 0.35, PANEL[1] * down + 0.55
    figure = new_figure(width, height)
    clean = rows[0].accuracy + rows[0].drop
    lowest = min(row.low_95 for row in rows)
    for number, name in enumerate(names):
        x, y = number % COLUMNS, number // COLUMNS
        left, bottom = 0.45 + PANEL[0] * x, height - 0.45 - PANEL[1] * (y + 1) + 0.4
        axes = figure.add_axes(
            (left / width, bottom / height, (PANEL[0] - 0.4) / width, (PANEL[1] - 0.65) / height)
        )
        quiet_axes(axes, families)
        axes.set_ylim(max(0.0, lowest - 0.03), 1.0)
        axes.set_xlim(-0.2, 3.2)
        axes.set_xticks([0, 1, 2, 3])
        own = [row for row in rows if row.corruption == name]
        axes.axhline(clean, color=TRAIN, linewidth=1, linestyle="--")
        strengths, values = [row.strength for row in own], [row.accuracy for row in own]
        axes.plot([0, *strengths], [clean, *values], color=REPORTED, linewidth=1.6, marker="o", markersize=4)
        for row in own:
            axes.plot([row.strength] * 2, list(row.interval), color=REPORTED, linewidth=1)
        if y == down - 1:
            plain_text(axes.set_xlabel("strength", color=FAINT), families, 8.5)
        write_text(figure, (left / width, (bottom + PANEL[1] - 0.58) / height), name, families, 10, INK)
    title = f"accuracy on the same {rows[0].n} pictures, corrupted; dashed: as they are"
    write_text(figure, (0.45 / width, 1 - 0.27 / height), title, families, 11, INK)
    save_png(figure, path)
