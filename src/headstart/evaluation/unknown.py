"""Pictures of none of the classes: how far their features lie from those of the training pictures.

The score is the Mahalanobis distance to the nearest class (Lee et al. 2018, "A simple unified framework for
detecting out-of-distribution samples") on features of length 1 (Mueller and Hein 2025, "Mahalanobis++"), with
one covariance for all classes, shrunk as Ledoit and Wolf (2004) say. Decision 18 has what was measured.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.errors import ModelError
from headstart.metrics import auc
from headstart.model.card import Card, amend_card, sha256
from headstart.storage import atomic_path, storage_errors

FILE = "unknown.safetensors"  # of a bundle
ENTRY = "unknown"  # of its card
DIRECTIONS = 256  # of the covariance that are kept; what lies beside them counts as equally wide
FOLDS = 5
BLOCK = 32
STORED = ("file", "sha256", "bytes", "base64")  # of the entry: where the statistics are, not what they are
NOISE = 1e-14  # least variance: what float32 resolves of a feature of length 1, squared

Floats = NDArray[np.float64]
Features = NDArray[np.float32] | NDArray[np.float64]


def of_length_one(features: Features) -> Floats:
    """Each row divided by its length; a row of zeros stays one."""
    rows = np.asarray(features, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, np.finfo(np.float32).tiny))


def shrinkage(centred: Floats) -> float:
    """Share of the mean variance in the covariance of Ledoit and Wolf (2004), 0-1.

    Equals ``sklearn.covariance.ledoit_wolf_shrinkage(centred, assume_centered=True)``.

    Args:
        centred: [n, D], of mean 0.
    """
    n, d = centred.shape
    if d == 1:  # nothing to shrink to
        return 0.0
    squares = centred**2
    # The sums over D x D entries of the covariance come from the smaller of two products.
    small = centred @ centred.T if n < d else centred.T @ centred
    delta = float((small**2).sum()) / n**2
    mean_variance = float(squares.sum()) / (n * d)
    beta = (float((squares.sum(axis=1) ** 2).sum()) / n - delta) / n
    distance = delta - d * mean_variance**2
    return 0.0 if min(beta, distance) <= 0 else min(1.0, beta / distance)


def axes(centred: Floats) -> tuple[Floats, Floats]:
    """Principal axes: variances [r], largest first, and directions [r, D]; those without width are left out.

    Args:
        centred: [n, D], of mean 0.
    """
    n, d = centred.shape
    squared, vectors = np.linalg.eigh(centred @ centred.T if n < d else centred.T @ centred)
    wide = np.flatnonzero(squared > max(float(squared[-1]), 0.0) * 1e-9)[::-1]
    directions = vectors[:, wide].T
    if n < d:
        directions = directions @ centred / np.sqrt(squared[wide])[:, None]
    return squared[wide] / n, directions


@dataclass(frozen=True, eq=False)
class Familiar:
    """What the features of the training pictures look like: the means of classes, and how they spread.

    Attributes:
        means: float32 [C', D], of the classes that have pictures, on features of length 1.
        directions: float32 [r, D], orthonormal: the widest of the common covariance, r <= 256.
        variances: float64 [r], along these.
        rest: Variance along every other direction.
    """

    means: NDArray[np.float32]
    directions: NDArray[np.float32]
    variances: Floats
    rest: float

    @classmethod
    def of(cls, features: Features, labels: NDArray[np.int64], *, directions: int = DIRECTIONS) -> Familiar:
        """From the features of training pictures.

        Args:
            features: [n, D], n >= 1.
            labels: [n], the classes.
            directions: How many are kept at most.
        """
        rows = of_length_one(features)
        _, member = np.unique(labels, return_inverse=True)
        counts = np.bincount(member)
        means = np.zeros((len(counts), rows.shape[1]))
        np.add.at(means, member, rows)
        means /= counts[:, None]
        centred = rows - means[member]
        d = centred.shape[1]
        share = shrinkage(centred)
        variances, widest = axes(centred)
        common = share * float(variances.sum()) / d
        kept = min(directions, len(variances), d - 1)
        # What is left out is spread evenly, so that the whole variance stays as it is.
        rest = common + (1 - share) * float(variances[kept:].sum()) / max(1, d - kept)
        return cls(
            means.astype(np.float32),
            np.ascontiguousarray(widest[:kept], dtype=np.float32),
            np.maximum(common + (1 - share) * variances[:kept], NOISE),
            max(rest, NOISE),
        )

    def is_whole(self) -> bool:
        """Whether the shapes belong together, and all values are finite and no variance is 0."""
        r, d = len(self.variances), self.means.shape[-1]
        return (
            (self.means.ndim, self.directions.shape, self.variances.ndim) == (2, (r, d), 1)
            and len(self.means) > 0
            and all(np.isfinite(one).all() for one in (self.means, self.directions, self.variances))
            and bool((self.variances > 0).all())
            and 0 < self.rest < math.inf
        )

    def distances(self, features: Features) -> Floats:
        """Mahalanobis distance of each picture to the nearest class, float64 [n].

        Args:
            features: [n, D].
        """
        n, d = features.shape
        blocks = np.zeros((-(-n // BLOCK) * BLOCK, d), dtype=np.float32)
        blocks[:n] = features
        return np.concatenate([np.zeros(0), *map(self._of_block, blocks.reshape(-1, BLOCK, d))])[:n]

    def _of_block(self, features: Features) -> Floats:
        """Of `BLOCK` pictures: in products of one shape, no bit of a row depends on the others."""
        rows = of_length_one(features)
        pulls, own = self._pulls
        squared = self._squared(rows)[:, None] + own - 2 * rows @ pulls.T
        return np.asarray(np.sqrt(np.maximum(squared.min(axis=1), 0)))

    @cached_property
    def _pulls(self) -> tuple[Floats, Floats]:
        """Each mean times the inverse covariance [C', D], and its product with the mean itself [C']."""
        means, directions = self.means.astype(np.float64), self.directions.astype(np.float64)
        pulls = means / self.rest + (means @ directions.T * self._weights) @ directions
        return pulls, self._squared(means)

    @cached_property
    def _weights(self) -> Floats:
        """What the inverse covariance has along each direction more than elsewhere [r]."""
        return np.asarray(1 / self.variances - 1 / self.rest)

    def _squared(self, rows: Floats) -> Floats:
        """The product of each row with itself through the inverse covariance [n]."""
        along = rows @ self.directions.astype(np.float64).T
        return np.asarray((rows**2).sum(axis=1) / self.rest + along**2 @ self._weights)


def threshold_of(distances: Floats, rate: float) -> float:
    """The distance above which a picture counts as unknown.

    A further picture like those of ``distances`` lies above it with a probability of ``rate`` at most
    (the quantile of split conformal prediction, Vovk et al. 2005). Fewer than 1 / rate - 1 pictures cannot
    promise that: then it is the largest distance, with a probability of 1 / (n + 1).

    Args:
        distances: [n] of pictures that did not make the statistics, n >= 1.
        rate: 0-1.
    """
    place = min(math.ceil((len(distances) + 1) * (1 - rate) - 1e-9), len(distances))
    return float(np.sort(distances)[max(place, 1) - 1])


def needed(rate: float) -> int:
    """How many pictures a threshold of this false-reject rate takes."""
    return math.ceil(1 / rate - 1e-9) - 1


def out_of_fold(features: Features, labels: NDArray[np.int64], *, seed: int = 0) -> Floats:
    """Distance of each picture by statistics of four fifths of the others, float64 [n].

    Args:
        features: [n, D], n >= 2.
        labels: [n], the classes; each is spread over the folds.
        seed: Of the folds.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % min(FOLDS, len(labels))
    distances = np.empty(len(labels))
    for number in range(int(fold.max()) + 1):
        held = fold == number
        distances[held] = Familiar.of(features[~held], labels[~held]).distances(features[held])
    return distances


@dataclass(frozen=True, eq=False)
class Detector:
    """Says of features whether they are those of a known class.

    Attributes:
        familiar: The statistics.
        threshold: Distance above which a picture counts as unknown.
        facts: For the card: ``false_rejects`` (the rate that was asked for), ``fitted_on``, ``pictures``.
    """

    familiar: Familiar
    threshold: float
    facts: Mapping[str, Any]

    def scores(self, features: Features) -> Floats:
        """Distance to the nearest class in units of the threshold, float64 [n]: unknown above 1."""
        return np.asarray(self.familiar.distances(features) / max(self.threshold, 1e-6))

    @staticmethod
    def flags(scores: Floats) -> NDArray[np.bool_]:
        """Which pictures count as unknown, bool [n]."""
        return np.asarray(scores > 1)


def fitted(
    train: tuple[Features, NDArray[np.int64]], held: tuple[Features, NDArray[np.int64]], rate: float
) -> Detector:
    """Statistics of training pictures, and a threshold from others, or from the same out of fold.

    Args:
        train: Features [n, D] and classes [n] of pictures that trained, n >= 2.
        held: The same of pictures that did not; where they are too few for the rate, out-of-fold distances
            of both together decide. A fine-tuned network has drawn its training pictures together, so that
            new ones are flagged more often than asked for: ``fitted_on`` says which it was.
        rate: False rejects, 0-1.
    """
    features, labels = train
    enough = len(held[0]) >= needed(rate)
    if not enough and len(held[0]):
        features = np.asarray(np.concatenate((features, held[0])), dtype=np.float32)
        labels = np.concatenate((labels, held[1]))
    familiar = Familiar.of(features, labels)
    distances = familiar.distances(held[0]) if enough else out_of_fold(features, labels)
    facts = {
        "score": "mahalanobis",
        "false_rejects": rate,
        "fitted_on": "selection" if enough else "out of fold",
        "pictures": len(distances),
        "statistics_of": len(features),
    }
    return Detector(familiar, threshold_of(distances, rate), facts)


def compared(own: Floats, other: Floats) -> dict[str, Any]:
    """How well scores tell pictures of the classes from others: the others flagged, and the AUROC.

    Args:
        own: Scores of pictures of the classes.
        other: Scores of pictures of none.
    """
    truth = np.concatenate((np.zeros(len(own), bool), np.ones(len(other), bool)))
    return {
        "n": len(other),
        "flagged": int(Detector.flags(other).sum()),
        "auroc": auc(truth, np.concatenate((own, other))) if len(own) else None,
    }


# --- in the bundle -------------------------------------------------------------------------------------


def save_detector(folder: Path, detector: Detector) -> None:
    """Writes ``unknown.safetensors`` beside the weights, and names it in the card.

    Args:
        folder: The bundle, whose card names no other one.

    Raises:
        RunError: HS-RUN-001 to -003.
    """
    from safetensors.numpy import save_file

    familiar, path = detector.familiar, folder / FILE
    tensors = {
        "means": familiar.means,
        "directions": familiar.directions,
        "variances": familiar.variances,
        "rest": np.array([familiar.rest]),
    }
    with storage_errors(path), atomic_path(path) as temporary:
        save_file(tensors, temporary)
        entry = {"file": FILE, "sha256": sha256(temporary), "bytes": temporary.stat().st_size}
    amend_card(folder, {ENTRY: {**entry, "threshold": detector.threshold, **detector.facts}})


def load_detector(folder: Path, card: Card) -> Detector | None:
    """What a bundle knows of unknown pictures; None where it was saved without.

    Args:
        folder: The bundle; not looked at where the card brings the statistics along.
        card: Its card, or that of an exported model, whose entry ``base64`` holds the bytes of the file.

    Raises:
        ModelError: HS-PREDICT-030, the file is missing, damaged, or not the one that was saved.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    entry = card.get(ENTRY)
    if not entry:
        return None
    path = folder / FILE
    try:
        inside = entry.get("base64")
        data = path.read_bytes() if inside is None else base64.b64decode(inside, validate=True)
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise ValueError("it is not the one that was saved")
        tensors = load(data)
        familiar = Familiar(
            tensors["means"], tensors["directions"], tensors["variances"], float(tensors["rest"][0])
        )
        if not familiar.is_whole():
            raise ValueError("its tables do not belong together")
        facts = {name: value for name, value in entry.items() if name not in STORED}
        return Detector(familiar, float(facts.pop("threshold")), facts)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ModelError(
            "HS-PREDICT-030",
            f"The statistics that tell unknown pictures cannot be used: {reason}.",
            where=path,
            fix="Copy the whole model/ folder again.",
        ) from error
