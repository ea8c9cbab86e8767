"""`headstart export`: the model of a run as one file, admitted by the run's own pictures."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import console
from headstart.console import counted
from headstart.data.images import UnreadableImage, read_file
from headstart.data.lock import OK, LockRow, read_lock
from headstart.errors import DataError, RunError
from headstart.model.card import EXPORT, MODEL_FOLDER, Card, exchanged_export, read_card
from headstart.run_evaluation import figures_of
from headstart.run_folder import Run, opened
from headstart.run_lock import discard_lock, held
from headstart.run_report import root_of, settings_of

if TYPE_CHECKING:
    from headstart.deployment.export import Precision

PICTURES = 64
"""Of the run, that an exported model is compared on."""

HELD_OUT = ("test", "val")


@dataclass
class Found:
    """Pictures of a run that are still where they were, and how many are not.

    Attributes:
        rows: Of ``dataset.csv``.
        files: Their bytes.
        missing: Files that are not there, or cannot be read.
        changed: Files whose content is another one.
    """

    rows: list[LockRow] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)
    missing: int = 0
    changed: int = 0

    def add(self, other: Found) -> None:
        """Further pictures, behind these."""
        self.rows += other.rows
        self.files += other.files
        self.missing += other.missing
        self.changed += other.changed


def pictures_of(folder: Path, root: Path | None, count: int, keep: Callable[[LockRow], bool]) -> Found:
    """Some pictures of a run, in an order that depends on the run's table alone.

    Args:
        folder: Of the run.
        root: Where relative paths begin; None: they lead nowhere.
        count: How many are wanted.
        keep: Which rows come into question.
    """
    rows = [row for row in read_lock(folder) if row.status == OK and keep(row)]
    found = Found()
    for i in np.random.default_rng(0).permutation(len(rows)).tolist():
        if len(found.files) >= count:
            break
        path = Path(rows[i].path)
        if root is None and not path.is_absolute():
            found.missing += 1
            continue
        try:
            data = read_file(path if root is None else root / path)
        except (UnreadableImage, OSError, ValueError):  # ValueError: a name that no system has
            found.missing += 1
            continue
        if hashlib.sha256(data).hexdigest() != rows[i].file_hash:
            found.changed += 1
            continue
        found.rows.append(rows[i])
        found.files.append(data)
    return found


def export(
    run: Run | str | PathLike[str],
    *,
    precision: Precision = "fp32",
    images: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """Writes ``model/model.onnx`` of a run, if it answers as the saved weights do on the run's own pictures.

    The file holds all that the model's card says, so that it predicts alone
    (`headstart.deployment.onnx_file`). One that is there is replaced. After an error nothing has changed.

    Args:
        run: A run or its folder.
        precision: What the file computes in.
        images: Where the pictures are now, if they have moved.

    Returns:
        ``file``, and the entry ``onnx`` of the card: ``sha256``, ``bytes``, ``opset``, ``precision``,
        ``weights`` (SHA-256 of those that were exported), ``parity``.

    Raises:
        RunError: HS-RUN-020, no such run; HS-RUN-027, another process works on it; HS-RUN-001 to -003.
        DataError: HS-DATA-001, ``images`` is no folder; HS-EXPORT-004, none of the run's pictures is there.
        ModelError: HS-MODEL-011 to -014, HS-PREDICT-030, the saved model is damaged; HS-EXPORT-001 and -002,
            it cannot be exported; HS-EXPORT-003, the exported one answers otherwise.
        MissingExtraError: HS-INSTALL-001.
    """
    folder = opened(run)
    root = root_of_run(folder, images)
    with held(folder):
        try:
            entry = exported(folder, folder / MODEL_FOLDER, root, precision)
        finally:
            discard_lock(folder)
    return {
        "file": str(folder / MODEL_FOLDER / entry["file"]),
        **{k: v for k, v in entry.items() if k != "file"},
    }


def exported(folder: Path, bundle: Path, root: Path | None, precision: Precision) -> Card:
    """The entry of the card of an exported model that has taken its place in the bundle."""
    from headstart.deployment.export import graph_of, opset_of, with_card
    from headstart.deployment.onnx_file import opened_session, portable_card
    from headstart.deployment.parity import TOLERANCES, compare, failed, odd_pictures
    from headstart.evaluation.unknown import load_detector
    from headstart.model.bundle import load_bundle

    model, card = load_bundle(bundle)
    load_detector(bundle, card)  # a damaged one is refused here
    with exchanged_export(bundle) as (temporary, entry):
        found = own_pictures(folder, root)
        graph = graph_of(model, int(card["preprocess"]["img_size"]))
        entry |= {"opset": opset_of(graph), "precision": precision, "weights": card["weights"]["sha256"]}
        session = opened_session(with_card(graph, portable_card(bundle, card, entry)))
        with console.progress(len(found.files), "comparing") as advance:
            parity = compare(
                model, card, session, found.files, list(odd_pictures().values()), advance=advance
            )
        if faults := parity.faults(TOLERANCES[precision]):
            raise failed(faults)
        entry["parity"] = parity.to_dict()
        temporary.write_bytes(with_card(graph, portable_card(bundle, card, entry)))
        opened_session(temporary)
    return read_card(bundle)[EXPORT]


def root_of_run(folder: Path, images: str | PathLike[str] | None) -> Path | None:
    """Where the paths of a run's pictures begin; None if that is not known.

    Raises:
        DataError: HS-DATA-001, ``images`` is no folder.
    """
    if images is not None:
        if not Path(images).is_dir():
            raise DataError(
                "HS-DATA-001",
                "There is no such folder.",
                where=images,
                fix="Give the folder that the paths of dataset.csv begin in.",
            )
        return Path(images)
    with contextlib.suppress(RunError):
        if noted := figures_of(folder).get("root"):
            return Path(noted)
    return root_of(settings_of(folder))


def own_pictures(folder: Path, root: Path | None) -> Found:
    """Pictures to compare on: held-out ones first, then those of training.

    Raises:
        DataError: HS-EXPORT-004, there are none.
    """
    found = pictures_of(folder, root, PICTURES, lambda row: row.split in HELD_OUT)
    if len(found.files) < PICTURES:
        found.add(
            pictures_of(folder, root, PICTURES - len(found.files), lambda row: row.split not in HELD_OUT)
        )
    gone = found.missing + found.changed
    if not found.files:
        raise DataError(
            "HS-EXPORT-004",
            "None of the run's pictures is where it was, and without one nothing shows that the exported "
            "model answers as the saved one does.",
            where=root or folder / "dataset.csv",
            details=gone_words(found),
            fix="Name the folder that the paths of dataset.csv begin in: --images DIR",
        )
    if gone:
        others = counted(len(found.files), "other", "others")
        console.warn(f"{' and '.join(gone_words(found))}: compared on the {others}")
    return found


def gone_words(found: Found) -> list[str]:
    """How many pictures are not what they were, in words."""
    parts = ((found.missing, "not there any more"), (found.changed, "of another content now"))
    return [f"{counted(n, 'picture is', 'pictures are')} {what}" for n, what in parts if n]
