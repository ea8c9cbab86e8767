"""What all pictures of figures have in common: colours, fonts, axes, and how they are saved.

Matplotlib's global state is never touched: threads may draw, and a notebook's own figures stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import MissingExtraError
from headstart.evaluation.evaluate import shortened as cut
from headstart.fonts import legible, matplotlib_families
from headstart.storage import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

INK, FAINT, GRID = "#1f2933", "#6b7785", "#e3e7eb"
TRAIN, REPORTED = "#8a94a0", "#1668b3"
DPI = 150
NAME_WIDTH = 22  # letters of a class name on an axis (wide ones count two)


def shortened(name: str, width: int = NAME_WIDTH) -> str:
    """A name as our fonts can draw it, of at most ``width`` places."""
    return cut(legible(name), width)


def number_in(value: object) -> float:
    """A finite number; else nan."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan
    return found if math.isfinite(found) else math.nan


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches, that no global registry knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def fonts_for(texts: Sequence[str]) -> list[str]:
    """Fonts for the texts; the first step of every picture, and so where matplotlib is missed."""
    try:
        return matplotlib_families([*texts, "…"])
    except ImportError as error:
        raise MissingExtraError("train", "Drawing curves and matrices") from error


def plain_text(text: Text, families: list[str], size: float) -> None:
    """Letters as they are: a name such as ``cost_$5_$10`` is no mathematics."""
    text.set_parse_math(False)
    text.set_fontfamily(families)
    text.set_fontsize(size)


def write_text(
    figure: Figure, where: tuple[float, float], words: str, families: list[str], size: float, colour: str
) -> None:
    """A line of text on a figure, in its coordinates."""
    plain_text(figure.text(*where, words, color=colour), families, size)


def width_of(figure: Figure, words: str, families: list[str], size: float) -> float:
    """Width of a line of text on paper."""
    label = figure.text(0, 0, words)
    plain_text(label, families, size)
    width = label.get_window_extent(figure.canvas.get_renderer()).width / figure.dpi  # type: ignore[attr-defined]
    label.remove()
    return float(width)


def quiet_axes(axes: Axes, families: list[str]) -> None:
    """Nothing but a line below and faint ones across."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#c3cad1")
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=FAINT, labelsize=8.5, labelfontfamily=families[0])


def save_png(figure: Figure, path: Path) -> None:
    """Writes a PNG.

    Raises:
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    with atomic_path(Path(path)) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    figure.clear()
