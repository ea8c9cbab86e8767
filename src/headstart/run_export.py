"""`headstart export`: the model of a run as one file, admitted by the run's own pictures."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from headstart import console
from headstart.console import counted
from headstart.data.lock import LockRow
from headstart.data.own_pictures import OwnPictures
from headstart.data.preprocess import Preprocess
from headstart.deployment.onnx_file import Precision
from headstart.errors import ConfigError, DataError, RunError
from headstart.model.card import EXPORT, EXPORTED, MODEL_FOLDER, Card, exchanged_export, read_card
from headstart.run_evaluation import figures_of
from headstart.run_folder import Run, opened
from headstart.run_lock import discard_lock, held
from headstart.run_report import check_images, root_of, settings_of
from headstart.storage import current_umask, storage_errors

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

    from headstart.model.classifier import Classifier

PRECISIONS: tuple[str, ...] = get_args(Precision)
PICTURES = 64
"""Of the run, that an exported model is compared on."""
MEASURED = 2000
"""Held-out pictures that the loss of accuracy is measured on, at most."""
HELD_OUT = ("test", "val")


def export(
    run: Run | str | PathLike[str],
    *,
    precision: Precision = "fp32",
    max_drop: float = 0.01,
    images: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """Writes ``model/model.onnx`` of a run, if it answers as the saved weights do on the run's own pictures.

    The file holds all that the model's card says, so that it predicts alone
    (`headstart.deployment.onnx_file`). One that is there is replaced. After an error nothing has changed.

    Args:
        run: A run or its folder.
        precision: What the file computes in. ``fp32`` answers as the saved weights to 1e-4 of a probability;
            ``fp16``, for GPUs, to 2e-2; ``int8``, calibrated on training pictures, is measured on the
            held-out ones.
        max_drop: Of ``int8``: how much accuracy it may lose, 0-1; a class that loses more counts if its
            pictures tell the loss from chance (95 %).
        images: Where the pictures are now, if they have moved.

    Returns:
        ``file``, and the entry ``onnx`` of the card: ``sha256``, ``bytes``, ``opset``, ``precision``,
        ``weights`` (SHA-256 of those that were exported), ``parity``; of ``int8`` also ``calibrated_on``,
        ``max_drop``, ``drop`` and ``unknown``.

    Raises:
        ConfigError: HS-EXPORT-006, no such precision or drop.
        RunError: HS-RUN-020, no such run; HS-RUN-027, another process works on it; HS-RUN-001 to -003.
        DataError: HS-DATA-001, ``images`` is no folder; HS-EXPORT-004, none of the pictures that are needed
            is there.
        ModelError: HS-MODEL-011 to -014, HS-PREDICT-030, the saved model is damaged; HS-EXPORT-001 and -002,
            it cannot be exported; HS-EXPORT-003, the exported one answers otherwise; HS-EXPORT-005, it loses
            too much accuracy.
        MissingExtraError: HS-INSTALL-001.
    """
    check_options(precision, max_drop)
    folder = opened(run)
    root = root_of_run(folder, images)
    with held(folder):
        try:
            entry = exported(folder, folder / MODEL_FOLDER, root, precision, max_drop)
        finally:
            discard_lock(folder)
    return {
        "file": str(folder / MODEL_FOLDER / EXPORTED),
        **{name: value for name, value in entry.items() if name != "file"},
    }


def check_options(precision: str, max_drop: float) -> None:
    """Refuses what cannot be exported to.

    Raises:
        ConfigError: HS-EXPORT-006.
    """
    faults = []
    if precision not in PRECISIONS:
        faults.append(f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    if not 0 <= max_drop < 1:
        faults.append(f"max_drop {max_drop:g} is no fraction below 1: a point is 0.01")
    if faults:
        raise ConfigError(
            "HS-EXPORT-006",
            "The model cannot be exported so.",
            details=faults,
            fix="Give a precision of the list, and a fraction such as --max-drop 0.01",
        )


def exported(folder: Path, bundle: Path, root: Path | None, precision: Precision, max_drop: float) -> Card:
    """The entry of the card of an exported model that has taken its place in the bundle."""
    from headstart.deployment.export import graph_of, opset_of, with_card
    from headstart.deployment.onnx_file import opened_session, portable_card
    from headstart.deployment.parity import TOLERANCES, compare, failed, odd_pictures, running
    from headstart.evaluation.unknown import load_detector
    from headstart.model.bundle import load_bundle

    model, card = load_bundle(bundle)
    load_detector(bundle, card)  # a damaged one is refused here
    preprocess = Preprocess.from_dict(card["preprocess"])
    with exchanged_export(bundle) as (temporary, entry), running():
        files = [data for _, data in to_compare(OwnPictures(folder, root))]
        graph = graph_of(model, preprocess.img_size, half=precision == "fp16")
        entry |= {"opset": opset_of(graph), "precision": precision, "weights": card["weights"]["sha256"]}
        if precision == "int8":
            graph, entry["calibrated_on"] = calibrated(graph, OwnPictures(folder, root), preprocess)
        session = opened_session(with_card(graph, portable_card(bundle, card, entry)))
        with console.progress(len(files), "comparing") as advance:
            drawn = list(odd_pictures().values())
            parity = compare(model, card, session, files, drawn, advance=advance)
        if (tolerance := TOLERANCES.get(precision)) and (faults := parity.faults(tolerance)):
            raise failed(faults)
        entry["parity"] = parity.to_dict()
        console.say(admission(entry))
        if precision == "int8":
            entry |= measured(OwnPictures(folder, root), bundle, model, card, session, max_drop)
        temporary.write_bytes(with_card(graph, portable_card(bundle, card, entry)))
        opened_session(temporary)  # as it lies on the disk
    stored: Card = read_card(bundle)[EXPORT]
    return stored


def admission(entry: Card) -> str:
    """How an exported model compares with the saved weights, in words."""
    parity = entry["parity"]
    other = counted(parity["top1_disagreements"], "has", "have")
    return (
        f"{entry['precision']}, opset {entry['opset']}, compared with the saved weights on "
        f"{counted(parity['pictures'], 'picture', 'pictures')} of the run and {parity['drawn']} drawn ones, "
        f"{', '.join(map(str, parity['batches']))} at a time: a probability differs by "
        f"{parity['max_probability_difference']:.1g} at most, {other} another most probable class"
    )


def calibrated(graph: ModelProto, own: OwnPictures, preprocess: Preprocess) -> tuple[ModelProto, int]:
    """The graph in 8-bit integers, and how many training pictures set its ranges.

    Raises:
        DataError: HS-EXPORT-004, there are none.
    """
    from headstart.deployment.parity import inputs
    from headstart.deployment.quantise import CALIBRATION, quantised

    files = [data for _, data in islice(own.files(trained), CALIBRATION)]
    if not files:
        raise gone(own, "no training picture sets the ranges of 8-bit integers")
    return quantised(graph, inputs(files, preprocess)), len(files)


def measured(
    own: OwnPictures, bundle: Path, model: Classifier, card: Card, session: InferenceSession, max_drop: float
) -> dict[str, Any]:
    """What an exported model loses on the held-out pictures, for the card.

    Raises:
        DataError: HS-EXPORT-004, there are none.
        ModelError: HS-EXPORT-005, it loses too much.
    """
    from headstart.deployment.measured import side_by_side
    from headstart.deployment.quantise import check, drops

    total = min(own.count(held_out), MEASURED)
    with console.progress(total, "measuring") as advance:
        pictures = islice(own.files(held_out), MEASURED)
        truth, sides = side_by_side(pictures, bundle, model, card, session, advance)
    if not truth:
        raise gone(own, "no held-out picture shows what 8-bit integers cost")
    before, after = sides
    found = drops(truth, before.answers, after.answers)
    header = ("held-out pictures", "saved weights", "int8", "drop (95 % interval)")
    for line in console.table(header, [drop.row() for drop in found]).split("\n"):
        console.say(line)
    entry: dict[str, Any] = {
        "max_drop": max_drop,
        "drop": {**found[0].to_dict(), "classes": {drop.name: drop.to_dict() for drop in found[1:]}},
    }
    if before.unknown is not None and after.unknown is not None:
        entry["unknown"] = {"n": len(truth), "before": before.unknown, "after": after.unknown}
        console.say(f"flagged as unknown: {before.unknown} of {len(truth)} before, {after.unknown} after")
    if own.count(held_out) > MEASURED:
        console.say(f"measured on {MEASURED:,} of {own.count(held_out):,} held-out pictures")
    check(found, max_drop)
    return entry


def held_out(row: LockRow) -> bool:
    """Whether a picture did not train the model."""
    return row.split in HELD_OUT


def trained(row: LockRow) -> bool:
    """Whether it did."""
    return row.split == "train"


def root_of_run(folder: Path, images: str | PathLike[str] | None) -> Path | None:
    """Where the paths of a run's pictures begin; None if that is not known.

    Raises:
        DataError: HS-DATA-001, ``images`` is no folder.
    """
    check_images(images)
    if images is not None:
        return Path(images)
    with contextlib.suppress(RunError):
        if noted := figures_of(folder).get("root"):
            return Path(noted)
    return root_of(settings_of(folder))


def to_compare(own: OwnPictures) -> list[tuple[LockRow, bytes]]:
    """Pictures to compare on: held-out ones first, then the others.

    Raises:
        DataError: HS-EXPORT-004, there are none.
    """
    found = list(islice(own.files(held_out), PICTURES))
    found += islice(own.files(lambda row: not held_out(row)), PICTURES - len(found))
    if not found:
        raise gone(own, "nothing shows that the exported model answers as the saved one does")
    if own.gone():
        others = counted(len(found), "other", "others")
        console.warn(f"{' and '.join(own.gone())}: compared on the {others}")
    return found


def gone(own: OwnPictures, consequence: str) -> DataError:
    """The error of pictures that are needed and not there."""
    return DataError(
        "HS-EXPORT-004",
        f"None of the run's pictures is where it was: {consequence}.",
        where=own.root or "",
        details=own.gone(),
        fix="Name the folder that the paths of dataset.csv begin in: --images DIR",
    )


def export_to_timm(
    run: Run | str | PathLike[str],
    output: str | PathLike[str],
    *,
    images: str | PathLike[str] | None = None,
) -> dict[str, Any]:
    """Writes the model of a run as a folder that timm and transformers load, after comparing what they load.

    Args:
        run: A run or its folder.
        output: The folder; must not be there, or be empty.
        images: Where the pictures are now, if they have moved.

    Returns:
        ``folder``, ``architecture``, ``pictures``, ``max_probability_difference``, ``limits``.

    Raises:
        RunError: HS-RUN-020, no such run; HS-EXPORT-008, the folder is not empty; HS-RUN-001 to -003.
        DataError: HS-DATA-001, HS-EXPORT-004, as `export`.
        ModelError: HS-MODEL-011 to -014, the saved model is damaged; HS-EXPORT-007, timm has no such network;
            HS-EXPORT-003, what timm loads answers otherwise.
    """
    import timm

    from headstart.deployment import timm_folder
    from headstart.deployment.parity import failed, inputs, odd_pictures
    from headstart.model.bundle import load_bundle

    folder, target = opened(run), Path(output)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(
            "HS-EXPORT-008",
            "The folder for the exported model is not empty.",
            where=target,
            fix="Choose another one with --output.",
        )
    root = root_of_run(folder, images)
    model, card = load_bundle(folder / MODEL_FOLDER)
    own = to_compare(OwnPictures(folder, root))
    files = [*(data for _, data in own), *odd_pictures().values()]
    preprocess = Preprocess.from_dict(card["preprocess"])
    report = folder / "report.md"
    text = report.read_text(encoding="utf-8") if report.is_file() else ""
    with new_folder_at(target) as temporary:
        name = timm_folder.write_folder(temporary, model, card, text)
        loaded = timm.create_model(f"local-dir:{temporary}", pretrained=True).eval()
        worst = timm_folder.compared(
            model, loaded, inputs(files, preprocess), float(card.get("temperature", 1.0))
        )
        if not worst <= timm_folder.CLOSE:
            raise failed([f"a probability differs by {worst:.2g}, more than {timm_folder.CLOSE:g}"])
    limits = timm_folder.limits_of(card)
    for line in limits:
        console.warn(f"the folder cannot say that {line}; its README.md does")
    return {
        "folder": str(target),
        "architecture": name,
        "pictures": len(own),
        "max_probability_difference": worst,
        "limits": limits,
    }


@contextlib.contextmanager
def new_folder_at(target: Path) -> Iterator[Path]:
    """A folder beside ``target`` that takes its place when the block ends without an error."""
    with storage_errors(target):
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    try:
        yield temporary
        with storage_errors(target):
            temporary.chmod(0o777 & ~current_umask())
            temporary.replace(target)  # an empty folder that is there gives way
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
