"""`headstart demo`: broken solar cells, beside the published results.

2,624 electroluminescence pictures of solar cells (Deitsch et al., "Automatic classification of defective
photovoltaic module cells in electroluminescence images", Solar Energy 185, 2019), which the package
`elpv-dataset` ships. As there: 75 % train and 25 % test, stratified by cell type and label; a cell counts as
defective from a probability of one half. Training learns the probabilities themselves.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import itertools
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from headstart import console
from headstart.config import Strategy, TrainConfig
from headstart.errors import MissingExtraError
from headstart.metrics import wilson_interval
from headstart.run import train
from headstart.storage import write_atomic

LICENCE = (
    "ELPV pictures: CC BY-NC-SA 4.0, Zentrum für Angewandte Energieforschung Bayern; not for commercial use"
)
TEST_FRACTION = 0.25
PUBLISHED = (("published: SVM on hand-made features", 0.8244), ("published: VGG-19, fine-tuned", 0.8842))
PUBLISHED_TESTS = 656
PROBE = TrainConfig(strategy="probe", fit="pad", img_size=288)
"""Cells are square; cracks are fine, so nothing is cropped away and little is lost of the 300 pixels."""
FINETUNE = dataclasses.replace(PROBE, strategy="finetune", augment="dihedral", freeze="stage4", selection=0.0)
"""Cells may lie any way round. All settings were chosen on other splits (100 and 101), so nothing is left to
choose here, and all training cells train (decisions 9, 11 and 15)."""

MODULE = 60
"""Cells of a photovoltaic module. The pictures stand in the order of their modules, which are not named."""

Cell = tuple[str, str, str]  # path, label, split
SplitBy = Literal["cells", "modules"]


def cells(seed: int = 0, *, split: SplitBy = "cells", per_class: int | None = None) -> list[Cell]:
    """Path, label and split of each picture; the split depends on the seed and the file names alone.

    Args:
        seed: Another seed makes another split.
        split: ``cells``, as published: cells of one module train and test. ``modules``: whole runs of
            `MODULE` cells of one type, which is about a module, do one or the other.
        per_class: So many pictures of each class at most, a quarter of them for the test; None: all.

    Raises:
        MissingExtraError: HS-INSTALL-001, the package is not installed.
    """
    folder, listed = published()
    tests = tests_by_cell(listed, seed) if split == "cells" else tests_by_module(listed, seed)
    rows = [
        (
            str(folder / name),
            "defective" if float(probability) >= 0.5 else "functional",
            "test" if name in tests else "train",
        )
        for name, probability, _ in listed
    ]
    return sorted(rows) if per_class is None else sample(rows, per_class, seed)


def write_table(path: Path, pictures: Iterable[Cell]) -> None:
    """Writes a table to train on: of each cell the path, the probability of each class, and the split.

    Raises:
        MissingExtraError: HS-INSTALL-001, the package is not installed.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    folder, listed = published()
    probability = {str(folder / name): float(value) for name, value, _ in listed}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "defective", "functional", "split"))
    for cell, _, split in pictures:
        writer.writerow((cell, probability[cell], 1 - probability[cell], split))
    write_atomic(path, text.getvalue())


def published() -> tuple[Path, list[tuple[str, ...]]]:
    """The folder of the pictures, and name, probability of a defect and cell type of each.

    Raises:
        MissingExtraError: HS-INSTALL-001, the package is not installed.
    """
    found = find_spec("elpv_dataset")
    if found is None or found.origin is None:
        raise MissingExtraError("demo", "The demo")
    folder = Path(found.origin).parent / "data"
    with open(folder / "labels.csv", encoding="utf-8") as file:
        return folder, [tuple(row) for row in csv.reader(file, delimiter=" ", skipinitialspace=True)]


def tests_by_cell(listed: Sequence[tuple[str, ...]], seed: int) -> set[str]:
    """Names of a quarter of the cells of each type and label."""
    strata: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, probability, kind in listed:
        strata[kind, probability].append(name)
    tests: set[str] = set()
    for names in strata.values():
        names.sort(key=lambda name: rank(name, seed))
        tests.update(names[: round(TEST_FRACTION * len(names))])
    return tests


def tests_by_module(listed: Sequence[tuple[str, ...]], seed: int) -> set[str]:
    """Names of about a quarter of the cells of each type, in whole runs of the list; see `MODULE`."""
    modules: dict[str, list[list[str]]] = defaultdict(list)
    for kind, group in itertools.groupby(listed, key=lambda row: row[2]):
        names = [row[0] for row in group]
        starts = range(0, max(1, len(names) - MODULE // 2), MODULE)  # what is left joins the last one
        stops = [*starts[1:], len(names)]
        modules[kind] += [names[start:stop] for start, stop in zip(starts, stops, strict=True)]
    tests: set[str] = set()
    for parts in modules.values():
        parts.sort(key=lambda names: rank(names[0], seed, "module"))
        parts = parts[: round(TEST_FRACTION * len(parts))]
        tests.update(itertools.chain.from_iterable(parts))
    return tests


def sample(rows: Sequence[Cell], per_class: int, seed: int) -> list[Cell]:
    """Some pictures of each class and split, in the proportion of the split; chosen by seed and name."""
    wanted = {"test": round(TEST_FRACTION * per_class)}
    wanted["train"] = per_class - wanted["test"]
    parts: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in rows:
        parts[cell[1:]].append(cell)
    chosen: list[Cell] = []
    for (_, split), part in parts.items():
        part.sort(key=lambda cell: rank(Path(cell[0]).name, seed, "sample"))
        chosen += part[: wanted[split]]
    return sorted(chosen)


def rank(name: str, seed: int, purpose: str = "") -> str:
    """A random order of file names that the seed fixes, on every machine alike."""
    return hashlib.sha256(" ".join(filter(None, (str(seed), purpose, name))).encode()).hexdigest()


def demo(
    output: Path,
    *,
    seed: int = 0,
    strategies: Sequence[Strategy] = ("probe", "finetune"),
    split: SplitBy = "cells",
) -> tuple[dict[str, Any], list[str]]:
    """Trains on the cells and sets the results beside the published ones.

    Args:
        output: Folder for the runs.
        seed: Of the split and of training.
        strategies: ``probe``, ``finetune``.
        split: As for `cells`.

    Returns:
        The table for JSON, and its lines.
    """
    data = cells(seed, split=split)
    console.say(LICENCE)
    tests = [label for _, label, part in data if part == "test"]
    n = len(tests)
    majority = max(tests.count(label) for label in set(tests))
    output.mkdir(parents=True, exist_ok=True)
    table = output / f"solar-cells-{split}-{seed}.csv"
    write_table(table, data)
    rows = [
        row("always saying 'functional'", majority / n, n),
        *(row(name, value, PUBLISHED_TESTS) for name, value in PUBLISHED),
    ]
    for strategy in strategies:
        started = time.perf_counter()
        config = dataclasses.replace(
            PROBE if strategy == "probe" else FINETUNE,
            seed=seed,
            output=output,
            name=f"solar-cells-{strategy}",
        )
        run = train(table, config)
        if run.interrupted:
            raise KeyboardInterrupt
        name = {"probe": "headstart: linear probe", "finetune": "headstart: fine-tuned"}[strategy]
        rows.append(row(name, run.accuracy, n, seconds=time.perf_counter() - started, run=str(run.path)))
    return {"licence": LICENCE, "test_pictures": n, "rows": rows}, lines_of(rows)


def row(
    name: str, accuracy: float, n: int, *, seconds: float | None = None, run: str | None = None
) -> dict[str, Any]:
    """One line of the table; the interval of a published figure is that of as many test pictures."""
    low, high = wilson_interval(round(accuracy * n), n)
    return {
        "name": name,
        "accuracy": accuracy,
        "interval_95": [low, high],
        "n": n,
        "seconds": seconds,
        "run": run,
    }


def lines_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells_of = [
        (
            r["name"],
            f"{r['accuracy']:.3f}",
            f"{r['interval_95'][0]:.3f} to {r['interval_95'][1]:.3f}",
            r["n"],
            "-" if r["seconds"] is None else f"{r['seconds']:.0f}",
            r["run"] or "",
        )
        for r in rows
    ]
    header = ("broken solar cells", "accuracy", "95 % interval", "test cells", "seconds", "run")
    return [console.table(header, cells_of, indent="")]
