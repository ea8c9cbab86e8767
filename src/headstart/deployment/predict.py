"""From a saved model and pictures to predictions: one by one, or a folder into a table.

    model = load("runs/bees")
    for row in model.predict("new-pictures/"):
        print(row.path, row.prediction, row.confidence)

Loading reads the model card only; torch is imported with the first prediction.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.console import counted, progress, say, warn
from headstart.data.images import RANGE_GUESSED, UnreadableImage
from headstart.data.preprocess import Preprocess
from headstart.deployment.decision import SEPARATOR, LeastRecall, Sets, sets_for
from headstart.deployment.sources import CLIPPED, Input, Inputs, Listing, Source, listed, read
from headstart.errors import DataError, RunError, nearest
from headstart.evaluation.predictions import (
    ENCODING_ERRORS,
    boolean_cell,
    number_cell,
    probability_columns,
)
from headstart.evaluation.unknown import load_detector
from headstart.model.card import CARD, MODEL_FOLDER, card_entries, card_path, has_model, read_card
from headstart.storage import atomic_path, csv_writer

if TYPE_CHECKING:
    from headstart.model.classifier import Classifier

__all__ = ["Counts", "Input", "Inputs", "Model", "Prediction", "load", "predict_to_csv"]

OK = "ok"
BATCH_SIZE = 32
COLUMNS = ("path", "status", "prediction", "confidence", "unknown", "unknown_score")


@dataclass(frozen=True)
class Prediction:
    """The answer to one picture.

    Attributes:
        path: The file as given; "" for a picture in memory.
        status: ``ok``, or why there is no answer: ``empty``, ``lfs-pointer``, ``not-an-image``,
            ``truncated``, ``too-large``, ``too-small``, ``unsupported``, ``missing``, ``forbidden``.
        prediction: Name of the most probable class, or of the one that `headstart threshold` favours; None
            without an answer.
        confidence: Its probability 0..1; None without an answer.
        unknown: Whether it is none of the classes; None where the model has no threshold for that.
        unknown_score: How far it lies from the nearest class, the threshold being 1; None as above.
        probabilities: Class name -> probability, most probable first where only the top was asked for.
        reason: ``status`` in words, "" if ok.
        note: What else should be known (clipped intensities), mostly "".
        set: Classes that hold the true one with the coverage asked for, most probable first; else None.
    """

    path: str
    status: str = OK
    prediction: str | None = None
    confidence: float | None = None
    unknown: bool | None = None
    unknown_score: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    note: str = ""
    set: tuple[str, ...] | None = None

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.status == OK

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The k most probable classes with their probabilities, best first; fewer if there are fewer."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])[:k]


@dataclass(frozen=True)
class Counts:
    """What `predict_to_csv` did: ``rows = ok + failed``; the rest counts among them."""

    rows: int
    ok: int
    failed: Mapping[str, int]
    by_class: Mapping[str, int]
    unknown: int
    clipped: int
    depth_guessed: int
    passed_over: int
    sets: Mapping[str, Any] | None = None  # as asked for, and ``by_size``: pictures by classes in their set

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rows": self.rows,
            "ok": self.ok,
            "failed": dict(self.failed),
            "by_class": dict(self.by_class),
            "unknown": self.unknown,
            "clipped": self.clipped,
            "depth_guessed": self.depth_guessed,
            "passed_over": self.passed_over,
            **({} if self.sets is None else {"sets": dict(self.sets)}),
        }


class Model:
    """A trained classifier with its preprocessing; see `load`. Safe to use from several threads.

    Args:
        folder: The bundle (``model/`` of a run).
        device: Where to compute, as torch names it; None: the first accelerator, else the CPU.

    Raises:
        ModelError: HS-MODEL-011, the model card cannot be used; HS-MODEL-013, it was made by a later
            headstart; HS-PREDICT-030, what tells unknown pictures cannot be used.
    """

    def __init__(self, folder: Path, *, device: str | None = None) -> None:
        self.folder = folder
        self.device = device
        self.card = read_card(folder)
        with card_entries(folder):
            self.classes: tuple[str, ...] = tuple(self.card["classes"])
            self.preprocess = Preprocess.from_dict(self.card["preprocess"])
            self.temperature = float(self.card.get("temperature", 1.0))
            self.least_recall = LeastRecall.from_card(self.card)
            self.detector = load_detector(folder, self.card)
        self._network: Classifier | None = None
        self._lock = threading.Lock()

    @property
    def network(self) -> Classifier:
        """The torch module in evaluation mode, fp32; loaded when first needed.

        Raises:
            ModelError: the weights are damaged or missing.
            ConfigError: HS-CONFIG-008, the device does not exist here.
        """
        with self._lock:
            if self._network is None:
                from headstart.model.bundle import load_bundle
                from headstart.model.memory import keep_freed_memory
                from headstart.model.precision import choose_device

                keep_freed_memory()
                network, _ = load_bundle(self.folder)
                self._network = network.to(choose_device(self.device)).eval()
            return self._network

    def probabilities(self, batch: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float64]:
        """Probabilities float64 [n, C] of pictures that have the network's size already.

        Args:
            batch: uint8 [n, S, S, 3] RGB, or float32 [n, 3, S, S] normalised.

        Raises:
            DataError: HS-PREDICT-003, another shape or dtype.
        """
        from headstart.model.forward import logits_of, softmax

        size = self.preprocess.img_size
        if batch.ndim == 4 and batch.dtype == np.uint8 and batch.shape[1:] == (size, size, 3):
            normalised = self.preprocess.normalize(batch.astype(np.uint8, copy=False))
        elif batch.ndim == 4 and batch.dtype.kind == "f" and batch.shape[1:] == (3, size, size):
            normalised = batch.astype(np.float32, copy=False)
        else:
            raise DataError(
                "HS-PREDICT-003",
                f"This is not a batch of pictures: {batch.dtype} {list(batch.shape)}.",
                fix=f"Give uint8 [n, {size}, {size}, 3] or normalised float32 [n, 3, {size}, {size}].",
            )
        if not len(batch):
            return np.zeros((0, len(self.classes)))
        return softmax(logits_of(self.network, normalised), self.temperature)

    def predict(
        self,
        inputs: Inputs,
        *,
        batch_size: int = BATCH_SIZE,
        top: int | None = None,
        workers: int | None = None,
        coverage: float | None = None,
    ) -> list[Prediction]:
        """One `Prediction` for each picture, in order; those that cannot be read say why.

        Args:
            inputs: Paths, folders (walked recursively), encoded bytes, PIL pictures, arrays, or a mix
                (see `headstart.deployment.sources.listed`).
            batch_size: Pictures per forward pass; it moves probabilities by less than 1e-6.
            top: Keep only so many classes in ``probabilities``; all by default.
            workers: Threads that decode; by default one for each core.
            coverage: Share of pictures, such as 0.95, whose ``set`` holds the true class.

        Raises:
            ConfigError, RunError: HS-PREDICT-020 to -022, no such coverage can be given.
            DataError: HS-PREDICT-003 to -005, an input of an unknown kind, a folder without pictures.
            ModelError: the weights are damaged or missing.
        """
        listing = listed(inputs)
        sets = None if coverage is None else self.sets(coverage)
        rows = list(self.stream(listing, batch_size=batch_size, top=top, workers=workers, sets=sets))
        for line in _remarks(Counter(row.note for row in rows)):
            warn(line)
        return rows

    def stream(
        self,
        listing: Listing,
        *,
        batch_size: int = BATCH_SIZE,
        top: int | None = None,
        workers: int | None = None,
        sets: Sets | None = None,
    ) -> Iterator[Prediction]:
        """As `predict`, for listed inputs, as they come; holds a few batches at a time.

        Threads decode ahead while the network computes.
        """
        if not listing.sources:
            return
        from headstart.model.forward import batched_answers, prefetched, softmax

        outcomes = prefetched(
            self._prepared,
            listing.sources,
            workers=min(32, os.cpu_count() or 1) if workers is None else workers,
            ahead=2 * batch_size,
        )
        waiting: deque[tuple[str, str | UnreadableImage]] = deque()  # (path, note or fault)

        def readable() -> Iterator[NDArray[np.float32]]:
            for path, outcome, array in outcomes:
                waiting.append((path, outcome))
                if array is not None:
                    yield array

        for logits, features in batched_answers(self.network, readable(), batch_size=batch_size):
            scores = [None] * len(logits) if self.detector is None else self.detector.scores(features)
            for row, score in zip(softmax(logits, self.temperature), scores, strict=True):
                yield from _faults(waiting)
                path, note = waiting.popleft()
                yield self._answer(path, row, score, str(note), top, sets)
        yield from _faults(waiting)

    def _prepared(self, source: Source) -> tuple[str, str | UnreadableImage, NDArray[np.float32] | None]:
        try:
            image, note = read(source, self.preprocess)
            return source.path, note, self.preprocess(image)
        except UnreadableImage as error:
            return source.path, error, None

    def sets(self, coverage: float) -> Sets:
        """What prediction sets of a coverage rest on.

        Raises:
            ConfigError, RunError: HS-PREDICT-020 to -022, no such coverage can be given.
        """
        with card_entries(self.folder):
            return sets_for(self.card, coverage, self.folder)

    def _answer(
        self,
        path: str,
        row: NDArray[np.float64],
        score: float | None,
        note: str,
        top: int | None,
        sets: Sets | None,
    ) -> Prediction:
        favoured = self.least_recall
        best = int(row.argmax() if favoured is None else favoured.answers(self.classes, row[None])[0])
        kept = range(len(row)) if top is None else np.argsort(-row, kind="stable")[: max(0, top)]
        return Prediction(
            path,
            prediction=self.classes[best],
            confidence=float(row[best]),
            unknown=None if score is None else bool(score > 1),
            unknown_score=None if score is None else float(score),
            probabilities={self.classes[int(i)]: float(row[i]) for i in kept},
            note=note,
            set=None if sets is None else sets.of(self.classes, row),
        )

    def __repr__(self) -> str:
        return f"Model({str(self.folder)!r}, {len(self.classes)} classes)"


def _faults(waiting: deque[tuple[str, str | UnreadableImage]]) -> Iterator[Prediction]:
    """The unreadable pictures before the next readable one."""
    while waiting and isinstance(waiting[0][1], UnreadableImage):
        path, error = waiting.popleft()
        assert isinstance(error, UnreadableImage)
        yield Prediction(path, status=error.kind, reason=str(error))


def load(run: Path | str, *, device: str | None = None) -> Model:
    """Opens the model of a run folder, or a bundle folder (``model/``) itself.

    Args:
        run: The folder.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: the first accelerator, else the CPU.

    Raises:
        RunError: HS-PREDICT-001, no such folder, or no finished model in it.
        ModelError: as `Model`.
    """
    folder = Path(run)
    for candidate in (folder / MODEL_FOLDER, folder):
        if card_path(candidate).is_file():
            return Model(candidate, device=device)
    if folder.is_dir():
        raise RunError(
            "HS-PREDICT-001",
            "There is no finished model in this folder.",
            where=folder,
            fix=f"Name the folder of a run that holds {MODEL_FOLDER}/{CARD}.",
        )
    siblings: list[str] = []
    with contextlib.suppress(OSError):
        siblings = sorted(p.name for p in folder.absolute().parent.iterdir() if p.is_dir())
    what = "The run is a file, not a folder." if folder.is_file() else "There is no such run."
    runs = [name for name in siblings if has_model(folder.absolute().parent / name)]
    raise RunError(
        "HS-PREDICT-001",
        what + nearest(folder.name, siblings),
        where=folder,
        details=[f"found beside it: {name}" for name in runs],
        fix="Give the folder that training printed at its end.",
    )


def predict_to_csv(
    model: Model,
    inputs: Inputs,
    output: Path | str | None = None,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    coverage: float | None = None,
) -> Counts:
    """Predicts all inputs into a table, row by row; the file appears when it is complete.

    Columns: ``path,status,prediction,confidence,unknown,unknown_score`` then ``prob:CLASS`` for each class.
    An unreadable picture has ``kind: reason`` as its status and empty cells. Floats round-trip.

    Args:
        model: From `load`.
        inputs: As for `Model.predict`.
        output: The file; None or "-" for standard output.
        batch_size, workers: As for `Model.predict`.
        coverage: As for `Model.predict`: a column ``set`` before the probabilities, ``|`` between classes.

    Raises:
        ConfigError, DataError, ModelError, RunError: as `Model.predict`.
        RunError: HS-RUN-001 to -003, the file cannot be written.
    """
    listing = listed(inputs)
    failed: Counter[str] = Counter()
    by_class: Counter[str] = Counter()
    unknown = 0
    notes: Counter[str] = Counter()
    sets = None if coverage is None else model.sets(coverage)
    by_size: Counter[int] = Counter()
    rows = model.stream(listing, batch_size=batch_size, workers=workers, sets=sets)
    with _opened(output) as file, progress(len(listing.sources), "predicting") as advance:
        writer = csv_writer(file)
        more = () if sets is None else ("set",)
        writer.writerow((*COLUMNS, *more, *probability_columns(model.classes)))
        for row in rows:
            cells = _cells(row, model.classes)
            own = () if sets is None else (SEPARATOR.join(row.set or ()),)
            writer.writerow((*cells[: len(COLUMNS)], *own, *cells[len(COLUMNS) :]))
            by_size[len(row.set or ())] += 1
            notes[row.note] += 1
            if row.prediction is None:
                failed[row.status] += 1
            else:
                by_class[row.prediction] += 1
                unknown += bool(row.unknown)
            advance(1)
    if model.least_recall is not None:
        say(model.least_recall.line())
    if sets is not None:
        say(sets.line())
        sizes = [
            f"{n} with {counted(size, 'class', 'classes')}" for size, n in sorted(by_size.items()) if size
        ]
        say(f"sets: {', '.join(sizes) or 'none'}")
    for line in _remarks(notes):
        warn(line)
    if failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(failed.items()))
        warn(f"{failed.total()} of {len(listing.sources)} inputs could not be read: {kinds}.")
    if listing.passed_over:
        said = counted(
            listing.passed_over, "file in the folders is no picture", "files in the folders are no pictures"
        )
        say(f"{said}: passed over")
    return Counts(
        rows=len(listing.sources),
        ok=by_class.total(),
        failed=dict(failed),
        by_class={name: by_class[name] for name in model.classes if by_class[name]},
        unknown=unknown,
        clipped=notes[CLIPPED],
        depth_guessed=notes[RANGE_GUESSED],
        passed_over=listing.passed_over,
        sets=None
        if sets is None
        else {**sets.to_dict(), "by_size": {str(size): n for size, n in sorted(by_size.items()) if size}},
    )


def _cells(row: Prediction, classes: tuple[str, ...]) -> tuple[str, ...]:
    if row.confidence is None:
        status = f"{row.status}: {row.reason.removeprefix(row.status.replace('-', ' ') + ': ')}"
        return row.path, status, "", "", "", "", *("" for _ in classes)
    numbers = (repr(row.probabilities[name]) for name in classes)
    told = boolean_cell(row.unknown), number_cell(row.unknown_score)
    return row.path, OK, str(row.prediction), repr(row.confidence), *told, *numbers


@contextlib.contextmanager
def _opened(output: Path | str | None) -> Iterator[IO[str]]:
    if output is None or str(output) == "-":
        buffer = getattr(sys.stdout, "buffer", None)
        if buffer is None:  # a stand-in that takes text only
            yield sys.stdout
            return
        sys.stdout.flush()
        file = io.TextIOWrapper(buffer, encoding="utf-8", errors=ENCODING_ERRORS, newline="")
        try:
            yield file
        finally:
            file.flush()
            file.detach()
    else:
        with (
            atomic_path(Path(output)) as temporary,
            open(temporary, "w", encoding="utf-8", errors=ENCODING_ERRORS, newline="") as file,
        ):
            yield file


def _remarks(notes: Mapping[str, int]) -> list[str]:
    return [f"{notes[note]} pictures: {note}." for note in (CLIPPED, RANGE_GUESSED) if notes[note]]
