"""`headstart evaluate --corruptions` on a run's own reported pictures: found again, and corrupted."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.data.formats import UnreadableImage, read_file
from headstart.data.lock import read_lock
from headstart.data.pictures import Files, Pictures
from headstart.data.preprocess import Preprocess
from headstart.errors import DataError, RunError
from headstart.evaluation.predictions import NO_TRUTH, Predictions
from headstart.evaluation.robustness import Robustness, Source, answers_to_corrupted, robustness_of
from headstart.model.card import MODEL_FOLDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def robustness_of_run(
    folder: Path,
    table: Predictions,
    figures: Mapping[str, Any],
    *,
    images: Path | None,
    workers: int,
    device: str | None,
) -> tuple[Robustness, ...]:
    """Accuracy of a run's model on its own reported pictures, corrupted.

    Args:
        folder: Of the run.
        table: Its predictions of these pictures as they are.
        figures: Its ``metrics.json``.
        images: Where the pictures are now; None: where they were.
        workers: Threads that read and corrupt.
        device: Where to compute; None: the first accelerator, else the CPU.

    Raises:
        RunError: HS-EVAL-062, the model was trained on these pictures in the end.
        DataError: HS-EVAL-060, pictures are missing or changed.
        ModelError: as `headstart.model.bundle.load_bundle`.
    """
    from headstart.model.bundle import load_bundle
    from headstart.model.memory import keep_freed_memory
    from headstart.model.precision import choose_device

    keep_freed_memory()
    model, card = load_bundle(folder / MODEL_FOLDER)
    if card.get("refit") == "all":
        raise RunError(
            "HS-EVAL-062",
            "The model was trained on its reported pictures in the end (--refit all): corrupted ones would "
            "not be new to it.",
            where=folder,
            fix="Give pictures that it has not seen: headstart evaluate RUN DATA --corruptions",
        )
    known = table.rows(table.truth != NO_TRUTH)
    files, hashes = unchanged(folder, known.paths, images or figures.get("root"))
    preprocess = Preprocess.from_dict(card["preprocess"])
    pictures = Pictures(files, preprocess)
    source = Source(pictures.__getitem__, np.arange(len(files), dtype=np.int64), hashes)
    model = model.to(choose_device(device))
    return robustness_of(known, answers_to_corrupted(model, source, preprocess, workers=workers))


def unchanged(folder: Path, paths: Sequence[str], root: str | Path | None) -> tuple[Files, list[str]]:
    """The files of some pictures of a run and their hashes, which must be those of before.

    Raises:
        DataError: HS-EVAL-060, with all that are missing or changed.
    """
    hashes = {row.path: row.file_hash for row in read_lock(folder)}
    files = Files(Path(root or ""), paths)
    faults = []
    for path, file in zip(paths, files, strict=True):
        try:
            if hashlib.sha256(read_file(file)).hexdigest() != hashes.get(path):
                faults.append(f"changed: {path}")
        except UnreadableImage as error:
            faults.append(f"{error}: {path}")
    if faults:
        raise DataError(
            "HS-EVAL-060",
            f"{len(faults)} of {len(paths)} reported pictures are not there as they were.",
            where=root or folder,
            details=faults,
            fix="If they lie elsewhere now: headstart evaluate RUN --corruptions --images FOLDER",
        )
    return files, [hashes[path] for path in paths]
