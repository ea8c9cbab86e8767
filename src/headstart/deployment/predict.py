"""From a saved model and pictures to predictions: one by one, or a folder into a table.

    model = load("runs/bees")
    for row in model.predict("new-pictures/"):
        print(row.path, row.prediction, row.confidence)

Loading reads the model card only; onnxruntime or torch is imported with the first prediction.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.console import warn
from headstart.data.decoding import available_cpus
from headstart.data.images import RANGE_GUESSED, UnreadableImage
from headstart.data.prefetch import prefetched
from headstart.data.preprocess import Preprocess
from headstart.deployment.backends import (
    Backend,
    BackendName,
    NoExportError,
    OnnxBackend,
    TorchBackend,
    joined,
    lone_file,
    refused_device,
    session_of,
    unusable,
    without_torch,
    without_weights,
)
from headstart.deployment.decision import Decision, Sets, sets_for
from headstart.deployment.prediction import OK, Prediction
from headstart.deployment.sources import CLIPPED, Input, Inputs, Listing, Source, listed, read
from headstart.errors import DataError, RunError, nearest
from headstart.evaluation.unknown import load_detector
from headstart.model.answers import Answers, softmax, together
from headstart.model.card import (
    CARD,
    EXPORT,
    EXPORTED,
    MODEL_FOLDER,
    card_entries,
    card_path,
    class_names,
    has_model,
    read_card,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from headstart.model.classifier import Classifier

__all__ = ["BATCH_SIZE", "OK", "Input", "Inputs", "Model", "Prediction", "load", "remarks"]

BATCH_SIZE = 32
MOST_WAITING = 1024  # rows, readable or not, before the network is asked


class Model:
    """A trained classifier with its preprocessing; see `load`. Safe to use from several threads.

    Args:
        folder: The bundle (``model/`` of a run), or an exported ``model.onnx`` alone.
        device: Where to compute, as torch names it; None: the processor with onnxruntime, else the first
            accelerator, else the processor.
        backend: ``onnx``: onnxruntime on the exported model; ``torch``; ``auto``: onnxruntime if the bundle
            holds the exported model that its card tells of and no other device is named, else torch.

    Raises:
        ModelError: HS-MODEL-011, the model card cannot be used; HS-MODEL-013, it was made by a later
            headstart; HS-PREDICT-030, what tells unknown pictures cannot be used; HS-PREDICT-042, the file
            is no exported model.
        ConfigError: HS-PREDICT-043, onnxruntime on another device.
    """

    def __init__(self, folder: Path, *, device: str | None = None, backend: BackendName = "auto") -> None:
        self.folder = folder
        self.device = device
        self._asked: BackendName = "torch" if backend == "auto" and device not in (None, "cpu") else backend
        if self._asked == "onnx" and device not in (None, "cpu"):
            raise refused_device(str(device))
        self._session: InferenceSession | None = None
        if folder.is_file():
            self._session, self.card = lone_file(folder)
        else:
            self.card = read_card(folder)
        with card_entries(folder):
            self.classes = class_names(self.card)
            self.preprocess = Preprocess.from_dict(self.card["preprocess"])
            self.temperature = float(self.card.get("temperature", 1.0))
            if not 0 < self.temperature < math.inf:
                raise ValueError(f"its temperature is {self.temperature}")
            self.decision = Decision.from_card(self.card)
            self.detector = load_detector(folder, self.card)
            self._precision = str((self.card.get(EXPORT) or {}).get("precision", "fp32"))
        self._network: Classifier | None = None
        self._backend: Backend | None = None
        self._lock = threading.RLock()

    @property
    def backend(self) -> Backend:
        """What computes the answers; made ready when first needed.

        Raises:
            ModelError: HS-PREDICT-040, there is neither an exported model nor torch; HS-PREDICT-041,
                onnxruntime was asked for and cannot be used; and as `network`.
            ConfigError: HS-CONFIG-008, the device does not exist here.
        """
        with self._lock:
            if self._backend is None:
                self._backend = self._ready()
            return self._backend

    def _ready(self) -> Backend:
        reason = "torch was asked for"
        if self._asked != "torch":
            try:
                session = self._session or session_of(self.folder, self.card)
                return OnnxBackend(session, self._precision)
            except NoExportError as error:
                if self._asked == "onnx":
                    raise unusable(str(error), self.folder) from error
                if error.there:
                    warn(f"{self.folder}: {error}; torch computes with the saved weights instead.")
                reason = str(error)
        try:
            return TorchBackend(self.network)
        except ModuleNotFoundError as error:
            raise without_torch(reason, self.folder, error.name or "torch") from error

    @property
    def network(self) -> Classifier:
        """The torch module in evaluation mode, fp32; loaded when first needed.

        Raises:
            ModelError: the weights are damaged or missing; HS-PREDICT-050, an exported model alone.
            ConfigError: HS-CONFIG-008, the device does not exist here.
        """
        if self.folder.is_file():
            raise without_weights(self.folder)
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
        return softmax(self.backend.answers(normalised).logits, self.temperature)

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
            batch_size: Pictures per forward pass of torch; it moves probabilities by less than 1e-6.
                onnxruntime takes one at a time on each thread.
            top: Keep only so many classes in ``probabilities``; all by default.
            workers: Threads that decode, and with onnxruntime compute; by default one for each core, with
                onnxruntime one more.
            coverage: Share of pictures, such as 0.95, whose ``set`` holds the true class.

        Raises:
            ConfigError, RunError: HS-PREDICT-020 to -022, no such coverage can be given.
            DataError: HS-PREDICT-003 to -005, an input of an unknown kind, a folder without pictures.
            ModelError: the weights are damaged or missing.
        """
        listing = listed(inputs)
        sets = None if coverage is None else self.sets(coverage)
        rows = list(self.stream(listing, batch_size=batch_size, top=top, workers=workers, sets=sets))
        for line in remarks(Counter(row.note for row in rows)):
            warn(line)
        return rows

    def stream(
        self,
        sources: Listing | Iterable[Source],
        *,
        batch_size: int = BATCH_SIZE,
        top: int | None = None,
        workers: int | None = None,
        sets: Sets | None = None,
        always_full: bool = False,
    ) -> Iterator[Prediction]:
        """As `predict`, for sources that are listed or come one by one; holds a few batches at a time.

        Threads decode ahead while the network computes.

        Args:
            sources: Such as `headstart.deployment.sources.Walk` finds.
            batch_size, top, workers: As for `predict`.
            sets: Of the coverage that was asked for.
            always_full: Fill up a short first batch, too, as `headstart.model.answers.batched` says: the
                pictures are a part of more.
        """
        iterator = iter(sources.sources if isinstance(sources, Listing) else sources)
        first = next(iterator, None)
        if first is None:
            return
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        backend = self.backend
        prepare = self._answered if backend.side_by_side else self._prepared
        outcomes = prefetched(
            prepare,
            chain((first,), iterator),
            workers=available_cpus() + backend.side_by_side if workers is None else workers,
            ahead=2 * batch_size,
        )
        waiting: deque[tuple[str, str | UnreadableImage]] = deque()  # (path, note or fault)
        full = always_full
        for values in _groups(outcomes, waiting, batch_size):
            if not values:  # nothing but faults
                yield from _faults(waiting)
                continue
            if backend.side_by_side:
                logits, features = joined(values)
            else:
                logits, features = together(backend.answers, values, batch_size if full else 0)
                full = True
            scores = [None] * len(logits) if self.detector is None else self.detector.scores(features)
            for row, score in zip(softmax(logits, self.temperature), scores, strict=True):
                yield from _faults(waiting)
                path, note = waiting.popleft()
                yield self.prediction(path, row, score, str(note), top, sets)
            yield from _faults(waiting)

    def _prepared(self, source: Source) -> tuple[str, str | UnreadableImage, NDArray[np.float32] | None]:
        """The network's input."""
        try:
            image, note = read(source, self.preprocess)
            return source.path, note, self.preprocess(image)
        except UnreadableImage as error:
            # A new one: its tracebacks would hold what was decoded.
            return source.path, UnreadableImage(error.kind, error.reason), None

    def _answered(self, source: Source) -> tuple[str, str | UnreadableImage, Answers | None]:
        """The network's output."""
        path, outcome, array = self._prepared(source)
        return path, outcome, None if array is None else self.backend.answers(array[None])

    def sets(self, coverage: float) -> Sets:
        """What prediction sets of a coverage rest on.

        Raises:
            ConfigError, RunError: HS-PREDICT-020 to -022, no such coverage can be given.
        """
        with card_entries(self.folder):
            return sets_for(self.card, coverage, self.folder)

    def prediction(
        self,
        path: str,
        row: NDArray[np.float64],
        score: float | None,
        note: str,
        top: int | None,
        sets: Sets | None,
    ) -> Prediction:
        """What is said of a picture.

        Args:
            path: Of the picture.
            row: Probabilities float64 [C].
            score: How unknown it is; None without a detector.
            note: What else should be known.
            top: Keep only so many classes, most probable first; None: all, in the order of the model.
            sets: Of a coverage asked for.
        """
        (answer,) = self.decision.answers(row[None])
        kept = range(len(row)) if top is None else np.argsort(-row, kind="stable")[: max(0, top)]
        return Prediction(
            path,
            prediction=answer,
            confidence=float(row[self.classes.index(answer)] if answer in self.classes else row.max()),
            unknown=None if score is None else bool(score > 1),
            unknown_score=None if score is None else float(score),
            probabilities={self.classes[int(i)]: float(row[i]) for i in kept},
            note=note,
            set=None if sets is None else sets.of(self.classes, row),
        )

    def __repr__(self) -> str:
        return f"Model({str(self.folder)!r}, {len(self.classes)} classes)"


def _groups(
    outcomes: Iterable[tuple[str, str | UnreadableImage, Any]],
    waiting: deque[tuple[str, str | UnreadableImage]],
    size: int,
) -> Iterator[list[Any]]:
    """What was made of so many readable pictures at a time; what is to be said of each waits.

    A group is smaller where many pictures in a row cannot be read: their rows shall not pile up.
    """
    most = max(MOST_WAITING, 4 * size)
    group: list[Any] = []
    for path, outcome, value in outcomes:
        waiting.append((path, outcome))
        if value is not None:
            group.append(value)
        if len(group) == size or len(waiting) >= most:
            yield group
            group = []
    yield group


def _faults(waiting: deque[tuple[str, str | UnreadableImage]]) -> Iterator[Prediction]:
    """The unreadable pictures before the next readable one."""
    while waiting and isinstance(waiting[0][1], UnreadableImage):
        path, error = waiting.popleft()
        assert isinstance(error, UnreadableImage)
        yield Prediction(path, status=error.kind, reason=str(error))


def load(run: Path | str, *, device: str | None = None, backend: BackendName = "auto") -> Model:
    """Opens the model of a run folder, a bundle folder (``model/``) itself, or an exported ``model.onnx``.

    Args:
        run: The folder, or the file.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None: as for `Model`.
        backend: ``auto``, ``onnx`` or ``torch``, as for `Model`.

    Raises:
        RunError: HS-PREDICT-001, no such folder, or no finished model in it.
        ModelError, ConfigError: as `Model`.
    """
    folder = Path(run)
    for candidate in (folder / MODEL_FOLDER, folder):
        if card_path(candidate).is_file():
            return Model(candidate, device=device, backend=backend)
    if folder.is_file() and folder.suffix.lower() == Path(EXPORTED).suffix:
        return Model(folder, device=device, backend=backend)
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


def remarks(notes: Mapping[str, int]) -> list[str]:
    """What is to be said of so many pictures with each note."""
    return [f"{notes[note]} pictures: {note}." for note in (CLIPPED, RANGE_GUESSED) if notes[note]]
