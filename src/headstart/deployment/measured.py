"""Saved weights and an exported model side by side on pictures whose class is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from headstart.data.decoding import available_cpus
from headstart.data.images import UnreadableImage
from headstart.data.lock import LockRow
from headstart.data.prefetch import prefetched
from headstart.data.preprocess import Preprocess
from headstart.deployment.decision import Decision
from headstart.deployment.parity import answers
from headstart.evaluation.unknown import Detector, load_detector
from headstart.model.answers import softmax
from headstart.model.card import Card
from headstart.model.forward import BATCH_SIZE, answers_of

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from headstart.model.classifier import Classifier


@dataclass
class Side:
    """What one of the two says.

    Attributes:
        answers: A class for each picture, or ``ask``.
        unknown: How many are flagged as none of the classes; None where the model cannot tell.
    """

    answers: list[str] = field(default_factory=list)
    unknown: int | None = None


def side_by_side(
    pictures: Iterable[tuple[LockRow, bytes]],
    bundle: Path,
    model: Classifier,
    card: Card,
    session: InferenceSession,
    advance: Callable[[int], object],
) -> tuple[list[str], tuple[Side, Side]]:
    """The true classes, and what both sides answer.

    Args:
        pictures: Rows, and the bytes of their files.
        bundle: Of the saved weights.
        model, card: What it holds.
        session: The exported model.
        advance: Called with the number of pictures just done.
    """
    preprocess, detector = Preprocess.from_dict(card["preprocess"]), load_detector(bundle, card)
    rule = Decision.from_card(card)

    def read(item: tuple[LockRow, bytes]) -> tuple[str, NDArray[np.float32] | None]:
        try:
            return item[0].class_name, preprocess(preprocess.rgb(item[1]))
        except UnreadableImage:  # sound in training, so decoded by an earlier version
            return item[0].class_name, None

    truth: list[str] = []
    before, after = Side(), Side()
    rows = prefetched(read, pictures, workers=available_cpus(), ahead=2 * BATCH_SIZE)
    while batch := list(islice(rows, BATCH_SIZE)):
        read_ones = [(name, pixels) for name, pixels in batch if pixels is not None]
        if read_ones:
            truth += [name for name, _ in read_ones]
            stacked = np.stack([pixels for _, pixels in read_ones])
            for side, found in ((before, answers_of(model, stacked)), (after, answers(session, stacked))):
                _noted(side, *found, float(card.get("temperature", 1.0)), rule, detector)
        advance(len(batch))
    return truth, (before, after)


def _noted(
    side: Side,
    logits: NDArray[np.float32],
    features: NDArray[np.float32],
    temperature: float,
    rule: Decision,
    detector: Detector | None,
) -> None:
    probabilities = softmax(logits, temperature)
    side.answers += rule.answers(probabilities)
    if detector is not None:
        flagged = int(Detector.flags(detector.scores(features)).sum())
        side.unknown = flagged + (side.unknown or 0)
