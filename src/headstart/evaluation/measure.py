"""Measuring a model on pictures: predictions first, every figure from their table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import console
from headstart.data.dataset import Dataset, load_dataset
from headstart.data.leaked import LEAKS, Leak, write_leaks
from headstart.data.lock import LockRow, read_lock
from headstart.data.preprocess import Preprocess
from headstart.data.sources import SourceOptions, command_line
from headstart.data.splits import SPLITS
from headstart.errors import DataError
from headstart.evaluation.calibrate import at_temperature, figures, from_card
from headstart.evaluation.evaluate import Summary, summary, without_leaked
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.robustness import Robustness, Source, answers_to_corrupted, robustness_of
from headstart.evaluation.unknown import Detector, load_detector
from headstart.storage import write_atomic

if TYPE_CHECKING:
    from headstart.model.answers import Answers
    from headstart.model.classifier import Classifier
    from headstart.model.forward import PixelSource


def answers(
    model: Classifier,
    pictures: PixelSource,
    preprocess: Preprocess,
    ids: NDArray[np.int64],
    *,
    workers: int,
    what: str = "evaluation",
) -> Answers:
    """Logits and features of some pictures, in that order, by the fp32 forward.

    Several processes share the work, batch by batch, and each has all of them.
    """
    from headstart.model import ranks
    from headstart.model.answers import Answers
    from headstart.model.forward import BATCH_SIZE, predict_answers

    own = ids[ranks.dealt(len(ids), BATCH_SIZE)]
    with console.progress(len(own), what) as advance:
        found = predict_answers(
            model,
            pictures,
            own,
            preprocess,
            workers=workers,
            always_full=len(own) < len(ids) and len(ids) >= BATCH_SIZE,
            advance=advance,
        )
    return Answers(*(ranks.gathered(part, len(ids), BATCH_SIZE) for part in found))


def table_of(
    model: Classifier,
    dataset: Dataset,
    ids: NDArray[np.int64],
    found: Answers,
    *,
    detector: Detector | None,
    temperature: float = 1.0,
) -> Predictions:
    """The table of predictions of some pictures, in that order.

    Classes of the data are matched to the model's by name.

    Args:
        model: Whose classes they are.
        dataset: The pictures.
        ids: Which of them.
        found: What `answers` gave for these.
        detector: Tells those of none of the classes; None: nothing is said of that.
        temperature: Divides the logits.
    """
    from headstart.model.answers import softmax

    column = np.array([model.classes.index(name) for name in dataset.classes], dtype=np.int64)
    scores = None if detector is None else detector.scores(found.features)
    return Predictions(
        classes=model.classes,
        paths=[str(dataset.paths[i]) for i in ids],
        splits=[str(dataset.splits[i]) for i in ids],
        truth=column[dataset.labels[ids]],
        probabilities=softmax(found.logits, temperature),
        unknown=None if scores is None else Detector.flags(scores),
        unknown_score=scores,
    )


def write_evaluation(
    folder: Path, table: Predictions, result: dict[str, Any], leaks: Sequence[Leak] = ()
) -> None:
    """``predictions.csv``, ``metrics.json``, two pictures, and ``leaks.csv`` if there are any."""
    from headstart.evaluation.plots import draw_confusion, draw_reliability

    table.write_csv(folder / "predictions.csv")
    if leaks:
        write_leaks(folder / LEAKS, leaks)
    write_metrics(folder, result)
    draw_confusion(result, folder / "confusion.png")
    draw_reliability(result["calibration"], folder / "reliability.png")


def write_metrics(folder: Path, result: dict[str, Any]) -> None:
    """``metrics.json``."""
    write_atomic(folder / "metrics.json", json.dumps(result, ensure_ascii=False, indent=2) + "\n")


def measure(
    run: Path,
    data: str | PathLike[str] | Sequence[Sequence[Any]],
    *,
    exclude: Sequence[str] = (),
    options: SourceOptions | None = None,
    workers: int | None = None,
    device: str | None = None,
    corruptions: bool = False,
) -> tuple[Predictions, Summary, str, tuple[Leak, ...], tuple[Robustness, ...]]:
    """A run's model on other pictures: the reported part of ``data``, or all of it where it has no split.

    Pictures with which the model was trained or chosen are left out, and counted.

    Args:
        run: Folder of the run.
        data: As for training; its classes must be among the model's.
        exclude: Patterns to leave out.
        options: What is said of the source.
        workers: Threads that read pictures.
        device: Where to compute; None: the first accelerator, else the CPU.
        corruptions: Whether to measure on corrupted pictures, too.

    Returns:
        The table, its summary, what to call the pictures, those of them that resemble what trained or chose
        the model, and the figures on corrupted ones, empty if not asked for.

    Raises:
        DataError: HS-DATA-030 classes that the model does not know, HS-DATA-031 nothing left to measure on.
        ModelError: as `load_bundle` and `load_detector`.
    """
    from headstart.model.bundle import load_bundle
    from headstart.model.memory import keep_freed_memory
    from headstart.model.precision import choose_device

    keep_freed_memory()
    model, card = load_bundle(run / "model")
    model = model.to(choose_device(device))
    preprocess = Preprocess.from_dict(card["preprocess"])
    dataset, pictures = load_dataset(
        data,
        preprocess=preprocess,
        options=options,
        exclude=exclude,
        selection=0,
        workers=workers,
        require_split=False,
    )
    dataset.announce(command_line("check", data, options or SourceOptions(), exclude))
    check_classes(dataset, model.classes, run)
    ids = dataset.indices(dataset.reported_split)
    seen = seen_in_training(run, everything=card.get("refit") == "all")
    known = {row.file_hash for row in seen}
    fresh = np.array([dataset.file_hashes[i] not in known for i in ids], dtype=bool)
    if not fresh.all():
        console.warn(
            f"{(~fresh).sum()} of {len(ids)} pictures trained or chose this model: they are left out"
        )
    if not fresh.any():
        raise DataError(
            "HS-DATA-031",
            "The model was trained on all of these pictures: nothing is left to measure it on.",
            where=dataset.root,
            fix="Give pictures that it has not seen.",
        )
    detector = load_detector(run / "model", card)
    found = answers(model, pictures, preprocess, ids[fresh], workers=workers or 2)
    plain = table_of(model, dataset, ids[fresh], found, detector=detector)
    table = at_temperature(plain, float(card["temperature"]))
    split = dataset.reported_split
    place = f"{split}/" if dataset.layout == "split-folders" else str(dataset.root)
    result = summary(table, split)
    result["calibration"] = from_card(card) | figures(table, plain, split)
    if detector is not None:
        result["unknown"] = dict(detector.facts)
    leaks = leaks_from(seen, dataset, ids[fresh])
    if leaks:
        result["without_leaked"] = without_leaked(table, split, leaks)
    robustness: tuple[Robustness, ...] = ()
    if corruptions:
        source = Source(pictures.__getitem__, ids[fresh], [str(dataset.file_hashes[i]) for i in ids[fresh]])
        told = answers_to_corrupted(model, source, preprocess, workers=workers or 2)
        robustness = robustness_of(table, told)
    return table, result, place, leaks, robustness


def leaks_from(seen: Sequence[LockRow], dataset: Dataset, ids: NDArray[np.int64]) -> tuple[Leak, ...]:
    """Pictures that are near copies of some that made the model, or of a group with them.

    Near copies are found among pictures that lie in the same data.

    Args:
        seen: What made the model.
        dataset: What it is measured on.
        ids: Which of its pictures.
    """
    known = {row.file_hash for row in seen}
    content = dict(zip(dataset.paths.tolist(), dataset.file_hashes.tolist(), strict=True))
    near = {leak.path: leak for leak in dataset.leaks if content[leak.like] in known}
    member = {row.group_name: row.path for row in seen if row.group_name}
    found = []
    for i in ids.tolist():
        path, group = str(dataset.paths[i]), str(dataset.groups[i])
        if path in near:
            found.append(near[path])
        elif group in member:
            found.append(Leak(path, "group", member[group]))
    return tuple(found)


def check_classes(dataset: Dataset, known: tuple[str, ...], run: Path) -> None:
    """Says all classes of the data that the model does not know.

    Raises:
        DataError: HS-DATA-030.
    """
    unknown = [name for name in dataset.classes if name not in known]
    if unknown:
        raise DataError(
            "HS-DATA-030",
            "These pictures have classes that the model does not know.",
            where=run,
            details=[f"unknown class: {name}" for name in unknown],
            fix=f"The model knows: {', '.join(known)}. Rename the folders, or leave them out with --exclude.",
        )


def seen_in_training(run: Path, *, everything: bool = False) -> list[LockRow]:
    """The pictures that trained the model or chose its epoch, from a run's ``dataset.csv``.

    Args:
        run: Its folder.
        everything: Whether the reported part trained it too, in the end.
    """
    if not (run / "dataset.csv").exists():
        return []
    seen = SPLITS if everything else ("train", "selection", "calibration")
    return [row for row in read_lock(run) if row.split in seen]
