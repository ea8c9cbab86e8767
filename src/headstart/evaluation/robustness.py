"""How a model fares on corrupted pictures: accuracy under each corruption, and what it loses."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart import console, metrics
from headstart.data.corruptions import ALL, SEVERITIES, View, corrupted
from headstart.data.preprocess import Pixels, Preprocess
from headstart.errors import RunError
from headstart.evaluation.evaluate import with_interval
from headstart.evaluation.predictions import NO_TRUTH, Predictions
from headstart.storage import csv_writer, write_atomic

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier

ROBUSTNESS = "robustness.csv"
PLOT = "robustness.png"
AHEAD = 4  # pictures that wait with all their views

Interval = tuple[float, float]


@dataclass(frozen=True)
class Robustness:
    """Accuracy under one corruption, fractions 0-1.

    ``drop`` is the accuracy on the same pictures as they are, minus this one, with its paired interval.
    """

    corruption: str
    strength: int
    severity: int
    """The same in ImageNet-C, 1-5."""
    correct: int
    n: int
    accuracy: float
    low_95: float
    high_95: float
    drop: float
    drop_low_95: float
    drop_high_95: float

    @property
    def interval(self) -> Interval:
        """Of the accuracy, 95 %."""
        return self.low_95, self.high_95

    @property
    def told_apart(self) -> bool:
        """Whether these pictures tell the drop from none."""
        return self.drop_low_95 > 0


COLUMNS = tuple(field.name for field in fields(Robustness))


class Source(NamedTuple):
    """The pictures to corrupt.

    Attributes:
        pixels: By index, at the size of evaluation.
        ids: Which of them, n.
        identities: Of the file of each of these, n.
    """

    pixels: Callable[[int], Pixels]
    ids: NDArray[np.int64]
    identities: Sequence[str]


def answers_to_corrupted(
    model: Classifier, source: Source, preprocess: Preprocess, *, workers: int
) -> NDArray[np.int64]:
    """The model's answer to each view of each picture: class index int64 [n, len(ALL)].

    Each picture is read once. Several processes share the work, as in `headstart.evaluation.measure.answers`.

    Raises:
        ModelError: as `headstart.model.forward.answers_of`.
    """
    from headstart.data.prefetch import prefetched
    from headstart.model import ranks
    from headstart.model.forward import BATCH_SIZE, batched_answers

    dealt = ranks.dealt(len(source.ids), BATCH_SIZE)

    def views(place: int) -> list[NDArray[np.float32]]:
        view = View(source.pixels(int(source.ids[place])), source.identities[place], preprocess.img_size)
        return [preprocess.normalize(preprocess.evaluation_crop(pixels)) for pixels in corrupted(view)]

    def arrays() -> Iterator[NDArray[np.float32]]:
        for of_picture in prefetched(views, map(int, dealt), workers=workers, ahead=max(AHEAD, workers)):
            yield from of_picture

    found: list[NDArray[np.int64]] = []
    with console.progress(len(dealt) * len(ALL), "corrupted pictures") as advance:
        for answers in batched_answers(model, arrays(), always_full=len(dealt) < len(source.ids)):
            found.append(answers.logits.argmax(axis=1).astype(np.int64))
            advance(len(answers.logits))
    told = np.concatenate(found) if found else np.zeros(0, np.int64)
    return ranks.gathered(told.reshape(len(dealt), len(ALL)), len(source.ids), BATCH_SIZE)


def robustness_of(clean: Predictions, told: NDArray[np.int64]) -> tuple[Robustness, ...]:
    """Accuracy and drop under each corruption, in the order of `ALL`.

    Args:
        clean: The answers to the n pictures as they are; those without a truth are left aside.
        told: The answers to each view of them, int64 [n, len(ALL)].
    """
    known = clean.truth != NO_TRUTH
    truth, before = clean.truth[known], clean.correct[known]
    n, found = len(truth), []
    for (name, strength), answers in zip(ALL, told[known].T, strict=True):
        right = answers == truth
        hits = int(right.sum())
        drop, limits = metrics.paired_difference(before, right)
        accuracy, interval = hits / n, metrics.wilson_interval(hits, n)
        severity = SEVERITIES[strength - 1]
        found.append(Robustness(name, strength, severity, hits, n, accuracy, *interval, drop, *limits))
    return tuple(found)


def worst_of(rows: Sequence[Robustness]) -> Robustness:
    """The lowest accuracy; of equals, at the lowest strength."""
    return min(rows, key=lambda row: (row.correct, row.strength))


def sentence(rows: Sequence[Robustness]) -> str:
    """What a person needs of it."""
    worst = worst_of(rows)
    figure = with_interval({"value": worst.accuracy, "interval_95": worst.interval, "n": worst.n})
    points, low, high = (100 * value for value in (worst.drop, worst.drop_low_95, worst.drop_high_95))
    place = f"worst: {worst.corruption} at strength {worst.strength}, {figure}"
    if not worst.told_apart:
        return f"{place}: these {worst.n} pictures cannot tell that from the clean ones"
    return f"{place}, {points:.1f} points ({low:.1f} to {high:.1f}) below the clean pictures"


def robustness_lines(rows: Sequence[Robustness]) -> list[str]:
    """The table and the sentence, for the terminal."""
    cells = [
        (
            row.corruption,
            row.strength,
            f"{row.accuracy:.3f} ({row.low_95:.3f} to {row.high_95:.3f})",
            f"{100 * row.drop:+.1f} ({100 * row.drop_low_95:+.1f} to {100 * row.drop_high_95:+.1f})",
        )
        for row in rows
    ]
    header = ("corruption", "strength", "accuracy (95 % interval)", "points lost (95 % interval)")
    title = f"accuracy on the same {rows[0].n} pictures, corrupted"
    return [title, *console.table(header, cells).split("\n"), sentence(rows)]


def robustness_record(rows: Sequence[Robustness]) -> dict[str, Any]:
    """For JSON."""
    return {"rows": [asdict(row) for row in rows], "sentence": sentence(rows)}


def write_robustness(folder: Path, rows: Sequence[Robustness]) -> None:
    """``robustness.csv`` and ``robustness.png``.

    Raises:
        RunError: HS-RUN-001 to -003, a file cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    from headstart.evaluation.robustness_plot import draw_robustness

    text = io.StringIO()
    writer = csv_writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow(repr(value) if isinstance(value, float) else value for value in asdict(row).values())
    write_atomic(folder / ROBUSTNESS, text.getvalue())
    draw_robustness(rows, folder / PLOT)


def read_robustness(folder: Path) -> tuple[Robustness, ...]:
    """What `write_robustness` wrote; empty where there is none.

    Raises:
        RunError: HS-EVAL-061, the table cannot be used.
    """
    path = folder / ROBUSTNESS
    if not path.is_file():
        return ()
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError(f"its columns are not {','.join(COLUMNS)}")
            return tuple(_row(cells) for cells in reader)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise RunError(
            "HS-EVAL-061",
            f"The table of corruptions cannot be used: {error}.",
            where=path,
            fix="It was changed by hand or by another program. Make it again: "
            "headstart evaluate RUN --corruptions",
        ) from error


def _row(cells: dict[str, str]) -> Robustness:
    kinds = {"corruption": str, "strength": int, "severity": int, "correct": int, "n": int}
    return Robustness(**{name: kinds.get(name, float)(cells[name]) for name in COLUMNS})  # type: ignore[arg-type]
