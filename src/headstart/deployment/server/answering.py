"""From the bytes of a picture to its prediction, in the steps that a batch of several requests needs.

The same decoder, preprocessing, forward pass and decision as `headstart.deployment.predict.Model.predict`,
which does them for one caller at a time.
"""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from headstart.data.decoding import available_cpus
from headstart.data.images import announced_pixels
from headstart.deployment.decision import Sets
from headstart.deployment.predict import Model
from headstart.deployment.prediction import Prediction
from headstart.deployment.sources import Source, read
from headstart.model.answers import softmax

RUNS = 3
EACH_CORE = 2.5  # pictures that may be under way
WAITS = 3  # passes of a lone picture that an answer may take through the network, waiting included
LEAST = 4  # pictures that may be under way in any case

GIANT_PIXELS = 25_000_000
"""Larger pictures are decoded one at a time: 200 million transparent pixels, which fit into less than 1 MB of
PNG, take 3 GB while they are."""

_one_giant = threading.Lock()


class Prepared(NamedTuple):
    """A decoded picture: float32 [3, S, S], normalised, and what is to be noted of its intensities."""

    view: NDArray[np.float32]
    note: str


class Answered(NamedTuple):
    """What the model makes of a picture: probabilities float64 [C]; the unknown score, None without one."""

    probabilities: NDArray[np.float64]
    score: float | None
    note: str


def prepared(model: Model, content: bytes) -> Prepared:
    """Decodes a picture.

    Raises:
        UnreadableImage: The bytes give no picture.
    """
    with giants_one_by_one(content):
        image, note = read(Source("", content), model.preprocess)
        return Prepared(model.preprocess(image), note)


def giants_one_by_one(content: bytes) -> contextlib.AbstractContextManager[object]:
    """Held while a picture is decoded and made small: by one thread at a time, if it is a giant."""
    return _one_giant if announced_pixels(content) > GIANT_PIXELS else contextlib.nullcontext()


def answered(model: Model, batch: Sequence[Prepared]) -> list[Answered]:
    """One forward pass.

    Raises:
        ModelError: The weights are damaged or missing, or answer with values that are not finite.
    """
    views = batch[0].view[None] if len(batch) == 1 else np.stack([one.view for one in batch])
    found = model.backend.answers(views)
    rows = softmax(found.logits, model.temperature)
    scores = [None] * len(rows) if model.detector is None else model.detector.scores(found.features)
    return [
        Answered(row, None if score is None else float(score), one.note)
        for row, score, one in zip(rows, scores, batch, strict=True)
    ]


def at_once(model: Model, content: bytes) -> Answered:
    """From bytes to answer, in one thread.

    Raises:
        UnreadableImage, ModelError: as `prepared` and `answered`.
    """
    return answered(model, [prepared(model, content)])[0]


def prediction(
    model: Model, name: str, answer: Answered, *, top: int | None = None, sets: Sets | None = None
) -> Prediction:
    """What is said of a picture.

    Args:
        model: Whose answer it is.
        name: Of the picture.
        answer: Of the model.
        top: Keep only so many classes, most probable first; None: all, in the order of the model.
        sets: Of a coverage asked for.
    """
    return model.prediction(name, answer.probabilities, answer.score, answer.note, top, sets)


def queue_length(model: Model, batch_size: int) -> int:
    """How many pictures may be under way, so that an answer takes a few times as long as a lone one.

    Loads the network. Where cores answer side by side, `EACH_CORE` times their number. Otherwise as many as
    `WAITS` lone passes would answer, measured on grey pictures, without decoding; in half batches,
    as one half of what is under way is decoded while the other one is computed.
    """
    size = model.preprocess.img_size
    grey = Prepared(np.zeros((3, size, size), np.float32), "")
    if model.backend.side_by_side:
        answered(model, [grey])  # a model that cannot answer is found now
        return int(EACH_CORE * available_cpus())

    def seconds(n: int) -> float:
        """Of a batch, median; the first one warms up."""
        taken = []
        for _ in range(1 + RUNS):
            started = time.perf_counter()
            answered(model, [grey] * n)
            taken.append(time.perf_counter() - started)
        return statistics.median(taken[1:])

    half = max(1, batch_size // 2)
    return max(LEAST, int(WAITS * seconds(1) / (seconds(half) / half)))
