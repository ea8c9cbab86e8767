"""What a run learns of pictures of none of its classes: statistics, threshold, and what ``--other`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart import console
from headstart.config import TrainConfig
from headstart.data.dataset import Dataset
from headstart.data.pictures import Pictures
from headstart.data.sources import Data
from headstart.deployment.predict import Model
from headstart.deployment.sources import Listing, listed
from headstart.errors import ConfigError, DataError, HeadstartError
from headstart.evaluation.measure import answers
from headstart.evaluation.predictions import Predictions
from headstart.evaluation.unknown import Detector, compared, fitted, save_detector
from headstart.model.card import MODEL_FOLDER, sha256
from headstart.run_folder import inside
from headstart.run_processes import is_first

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier
    from headstart.training.plan import Plan

Rows = NDArray[np.int64]


def other_in_data(config: TrainConfig, data: Data) -> tuple[str, ...]:
    """The pattern that leaves the folder of other pictures out of the data, where it lies inside.

    Raises:
        ConfigError: HS-CONFIG-050, it is no folder of pictures; HS-CONFIG-051, it is that of the data.
    """
    if config.other is None:
        return ()
    if is_first():  # other machines need not have it
        list_other(config.other)
    pattern = inside(config.other, data)
    if pattern == "":
        raise ConfigError(
            "HS-CONFIG-051",
            "The folder of other pictures is the data folder.",
            where=config.other,
            fix="Name a folder with pictures of none of the classes.",
        )
    return () if pattern is None else (pattern,)


def list_other(folder: Path) -> Listing:
    """The pictures of none of the classes.

    Raises:
        ConfigError: HS-CONFIG-050.
    """
    try:
        if not folder.is_dir():
            raise DataError("HS-PREDICT-004", "There is no such folder.")
        return listed(folder)
    except DataError as error:
        raise ConfigError(
            "HS-CONFIG-050",
            f"The other pictures cannot be read: {error.what}",
            where=folder,
            fix="Name a folder with pictures of none of the classes.",
        ) from error


def fit_detector(
    folder: Path,
    model: Classifier,
    dataset: Dataset,
    pictures: Pictures,
    plan: Plan,
    trained: Rows,
    held: tuple[Rows, NDArray[np.float32]],
) -> Detector:
    """Learns what is familiar to the saved weights, and writes it into the bundle.

    Args:
        folder: Of the run.
        model: Its weights as saved, on the plan's device.
        dataset: The pictures.
        pictures: Their pixels.
        plan: With the false-reject rate.
        trained: Those that trained the model; of many, a part is looked at.
        held: Those that did not and are not reported, and their features [n, D].
    """
    from headstart.training.budget import familiar_pictures

    ids = sampled(dataset.labels, trained, familiar_pictures(len(trained), len(dataset.classes)))
    found = answers(model, pictures, pictures.preprocess, ids, workers=plan.workers, what="familiar pictures")
    others, features = held
    detector = fitted(
        (found.features, dataset.labels[ids]), (features, dataset.labels[others]), plan.config.false_rejects
    )
    if is_first():
        save_detector(folder / MODEL_FOLDER, detector)
    return detector


def sampled(labels: Rows, ids: Rows, count: int) -> Rows:
    """So many of the pictures, as evenly over the classes as can be; always the same ones, in their order."""
    if count >= len(ids):
        return ids
    mixed = np.random.default_rng(0).permutation(ids)
    mixed = mixed[np.argsort(labels[mixed], kind="stable")]
    _, first, member = np.unique(labels[mixed], return_index=True, return_inverse=True)
    turn = np.arange(len(mixed)) - first[member]  # 0 for the first of each class, then 1, ...
    return np.sort(mixed[np.argsort(turn, kind="stable")[:count]])


def facts_of(
    folder: Path, detector: Detector, dataset: Dataset, plan: Plan, table: Predictions
) -> dict[str, Any]:
    """What ``metrics.json`` says of unknown pictures; says on the terminal what ``--other`` shows."""
    facts = dict(detector.facts)
    if plan.config.other is None or not is_first():
        return facts
    scores = table.of_split(dataset.reported_split).unknown_score
    assert scores is not None
    try:
        other, unread, known = other_scores(folder, dataset, plan, list_other(plan.config.other))
    except HeadstartError as error:
        console.warn(f"{error} The run goes on without it.")
        return facts
    if known:
        pictures = console.counted(known, "picture is one", "pictures are some")
        console.warn(f"{plan.config.other}: {pictures} of the data, too, and not looked at")
    if len(other):
        facts["other"] = {**compared(scores, other), "unread": unread, "in_the_data": known}
    else:
        console.warn(f"{plan.config.other}: no picture of it could be looked at")
    return facts


def other_scores(
    folder: Path, dataset: Dataset, plan: Plan, listing: Listing
) -> tuple[NDArray[np.float64], int, int]:
    """Scores of the pictures that are not in the data; how many could not be read, and how many are in it."""
    own = set(dataset.file_hashes.tolist())
    new = tuple(source for source in listing.sources if hash_of(source.content) not in own)
    model = Model(folder / MODEL_FOLDER, device=plan.fmt.device, backend="torch")
    with console.progress(len(new), "other pictures") as advance:
        rows = []
        for row in model.stream(Listing(new), workers=plan.workers):
            rows.append(row)
            advance(1)
    scores = np.array([row.unknown_score for row in rows if row.ok], dtype=np.float64)
    return scores, len(rows) - len(scores), len(listing.sources) - len(new)


def hash_of(path: object) -> str | None:
    """SHA-256 of a file; None where it cannot be read, which is found again when it is decoded."""
    try:
        return sha256(Path(str(path)))
    except OSError:
        return None
